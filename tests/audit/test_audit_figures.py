"""What RESULTS.md, README and `list` may say of stored figures: by their intervals, from one sample and by one rule."""

from __future__ import annotations

import dataclasses

import pytest

from privzoo import card
from privzoo.audit.report import results
from privzoo.card import Card, Measurement
from privzoo.evaluation.accuracy import FLOAT, budget_name
from privzoo.mechanisms.gaussian import EPSILONS

NOISY, PLAIN, CODED = (f"vgg16_gender_{embedding}_conv5_3" for embedding in ("advanced", "simple", "coded"))


def measured(variant: str, value: float, half: float = 0.01, **changes) -> Measurement:
    """A figure with a symmetric interval."""
    facts = {"metric": "accuracy", "data": "lfw", "count": 1000, "seeds": (), "clusters": 500, "method": "Wilson"}
    facts |= {"date": "2026-11-27", "git": "abc", "command": "tools/evaluate.py", "sha256": ""}
    return Measurement(variant=variant, value=value, low=value - half, high=value + half, **facts | changes)


def card_of(name: str, *figures: Measurement) -> Card:
    return dataclasses.replace(card.read(name), measurements=figures)


@pytest.mark.parametrize(
    ("at_8", "sentence"),
    [
        (0.80, "Up to epsilon 8 no noisy gender model"),  # its interval holds no 0.776, the difference's holds 0
        (0.83, "Up to epsilon 4 no noisy gender model"),
    ],
)
def test_noise_is_judged_by_the_interval_of_the_difference(at_8, sentence):
    of_budgets = dict(zip(EPSILONS, (0.55, 0.6, 0.7, at_8, 0.9), strict=True))
    figures = [measured(budget_name(epsilon), value, 0.015) for epsilon, value in of_budgets.items()]
    page = results.accuracy([card_of(NOISY, measured(FLOAT, 0.95), measured("always male", 0.776, 0.03), *figures)], "")
    assert sentence in page


def test_a_budget_below_useful_ones_does_not_hide_a_useless_one_above():
    values = zip(EPSILONS, (0.55, 0.95, 0.55, 0.55, 0.55), strict=True)
    figures = [measured(budget_name(epsilon), value) for epsilon, value in values]
    page = results.accuracy([card_of(NOISY, measured(FLOAT, 0.95), measured("always male", 0.776), *figures)], "")
    assert f"Up to epsilon {EPSILONS[0]} no noisy" in page
