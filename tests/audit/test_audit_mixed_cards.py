"""What a DataMix model's card says first: that it was broken, by what, and how far."""

from __future__ import annotations

import dataclasses

import pytest
from image_helpers import drawings
from tiny_zoo import MIXED, PARENT, model

from privzoo import config, costs
from privzoo.audit import mixed_cards, mixtures, unmixed
from privzoo.audit.features import Faces, keep
from privzoo.card import IDENTITY_ATTACK, Card
from privzoo.config import MixingConfig, WeightsFile
from privzoo.errors import ConfigError
from privzoo.measurement import Measurement

FACTS = {"git": "abc", "command": "tools/unmixing.py --model NAME --data_dir DIR"}
RELEASED = dataclasses.replace(MIXED, weights=WeightsFile("x.npz", "f" * 64, 1))


@pytest.fixture
def pooled(monkeypatch):
    """Drawings in place of what a network's first blocks make of faces."""
    sides = [Faces(name, drawings(40, seed), {}, ()) for name, seed in (("sent", 0), ("own", 5))]
    monkeypatch.setattr(mixtures, "pool", lambda *_: mixtures.Pool(*sides))
    monkeypatch.setattr(mixtures, "features", lambda one, _, __, cache: keep({"n": one.name}, lambda: one.chips, cache))


def measured(network: config.NetworkConfig, tmp_path, requests: int = 3) -> list[Measurement]:
    return mixed_cards.measure(model("datamix"), network, "x", tmp_path, requests, 40, 1, "local", FACTS)


def test_what_comes_back_is_measured_in_the_models_own_groups(pooled, tmp_path):
    [found] = measured(RELEASED, tmp_path)
    assert found.value > 0.9 and found.low < found.value <= found.high <= 1
    assert (found.count, found.clusters, found.seeds) == (12, 3, (1,))  # three requests of four
    assert found.sha256 == "f" * 64 and (found.git, found.command) == tuple(FACTS.values())


def test_people_are_named_in_groups_of_the_papers_size(pooled, monkeypatch, tmp_path):
    row = {"blocks": 1, "photographs": 9, "people": 4}
    for name, value in (("raw", 0.9), ("unmixed", 0.8)):
        row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
    rows = [{**row, "judge": "identity, lda on pixels"}, {**row, "judge": "gender, vgg16"}]
    monkeypatch.setattr(unmixed, "measure", lambda *_: rows)
    papers = dataclasses.replace(RELEASED, mixing=MixingConfig(blocks=1, group=8))
    _, feature, pixels = found = measured(papers, tmp_path, requests=2)
    assert feature.metric == pixels.metric == IDENTITY_ATTACK and (feature.value, pixels.value) == (0.8, 0.9)
    assert (feature.count, feature.clusters) == (9, 4)
    card = Card(model("datamix"), papers, costs.cost(model("datamix"), papers), tuple(found), None)
    assert card.identity_attack() == feature  # raw pixels are not what is sent
    title, _, first, *_ = str(card).split("\n")
    assert title == f"# {card.model.name}" and first.startswith("**Broken: never rely on it.**")
    assert f"recovers {100 * card.unmixed().value:.1f}% (" in first and "80.0% (70.0 to 90.0) of 100 people" in first


def test_a_card_that_was_not_measured_says_so_and_others_say_nothing():
    mixed = model("datamix")
    card = Card(mixed, MIXED, costs.cost(mixed, MIXED), (), None)
    assert str(card).split("\n")[2].endswith("not measured on this model yet.")
    plain = model("simple")
    assert "Broken" not in str(Card(plain, PARENT, costs.cost(plain, PARENT), (), None))


def test_what_cannot_be_unmixed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="mixes no faces, so there is nothing to unmix"):
        mixed_cards.measure(model("simple"), PARENT, "x", tmp_path, 1, 1, 1, "local", FACTS)
    with pytest.raises(ConfigError, match="has no weights"):
        measured(dataclasses.replace(MIXED, weights=None), tmp_path)
