"""What a card says that no attacker can exceed, next to what attackers reached."""

from __future__ import annotations

import dataclasses
import json

import pytest

import privzoo
from privzoo.mechanisms.bounds import bounds
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.randomized_response import RandomizedResponse

CODED, NOISY, PLAIN = (f"vgg16_gender_{embedding}_conv5_3" for embedding in ("coded", "advanced", "simple"))


def test_a_codes_bounds_are_its_mechanisms():
    card = privzoo.show(CODED)
    response = RandomizedResponse(card.model.code.symbols, card.model.code.epsilon)
    assert card.bounds() == (
        *(bounds(response, queries) for queries in (1, 10, 100)),
        bounds(response, 100, permanent=True),
    )
    assert "| 100 of one photograph, permanent | 3 at delta 0 | 0.9299 bits | 1.91% |" in str(card)
    unfitted = dataclasses.replace(card.model, code=dataclasses.replace(card.model.code, symbols=None))
    assert dataclasses.replace(card, model=unfitted).bounds() == ()


def test_noises_bounds_stand_next_to_the_attacks():
    card = privzoo.show(NOISY)
    noise, measured = card.model.noise, card.attack_of(100)
    assert card.bounds()[2] == bounds(Gaussian(noise.sigma, noise.clip), 100, dimensions=4)
    assert measured.variant.endswith("100 queries") and f"| {measured.value:.2%} (" in str(card)
    assert card.attack_of(1).value <= card.bounds()[0].top1()


def test_features_without_noise_have_no_bound():
    card = privzoo.show(PLAIN)
    assert str(card).count(" no bound | no bound |") >= 3
    entries = json.loads(json.dumps(card.to_dict(), allow_nan=False))["bounds"]
    assert [entry["epsilon"] for entry in entries] == [None] * 3


@pytest.mark.all_models
def test_no_measured_attack_exceeds_its_bound():
    for name in privzoo.list_models():
        card = privzoo.show(name)
        for one in card.bounds():
            measured = card.attack_of(one.queries)
            assert measured is None or measured.low <= one.top1(card.among().people), (name, one.queries)
