"""What RESULTS.md, README and `list` may say of stored figures: by their intervals, from one sample and by one rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from evaluating import results

import privzoo
from privzoo import card
from privzoo.audit.report import summary
from privzoo.card import Card
from privzoo.evaluation.variants import FLOAT, budget_name
from privzoo.measurement import Measurement
from privzoo.mechanisms.gaussian import EPSILONS

ROOT = Path(__file__).resolve().parents[2]
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


def both(variant: str, value: float, **changes) -> list[Measurement]:
    return [measured(variant, value, metric=metric, **changes) for metric in ("accuracy", "balanced accuracy")]


ON_A_PART = {"data": "lfw, one face in 8", "count": 125}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (both(FLOAT, 0.9) + both(results.INT8, 0.8), 0.8),
        (both(FLOAT, 0.9) + both(results.INT8, 0.8, **ON_A_PART), 0.9),
        # An accuracy of int8 on all faces beside a balanced accuracy on a part of them: two samples.
        (both(FLOAT, 0.9) + [measured(results.INT8, 0.7), *both(results.INT8, 0.8, **ON_A_PART)], 0.9),
        (both(results.INT8, 0.8, **ON_A_PART), 0.8),
    ],
)
def test_accuracy_and_balanced_accuracy_are_of_one_head_and_the_same_faces(figures, told):
    accuracy, balanced = card_of(PLAIN, *figures).told()
    assert (accuracy.variant, accuracy.data) == (balanced.variant, balanced.data)
    assert accuracy.value == balanced.value == told


def test_a_card_without_balanced_accuracy_still_has_its_accuracy():
    assert card_of(PLAIN, measured(FLOAT, 0.9)).told() == (measured(FLOAT, 0.9), None)
    assert card_of(PLAIN).told() == (None, None)


@pytest.mark.all_models
def test_no_model_mixes_samples_in_one_row():
    for name in privzoo.list_models():
        figures = privzoo.show(name).told()
        assert len({(m.variant, m.data) for m in figures}) == 1, name


def test_results_and_list_name_the_same_share_of_people():
    results_of = [r for r in summary.read(ROOT / "docs" / "audit") if r["model"] not in summary.YARDSTICKS]
    assert len(results_of) > 10
    for row in (summary.row(result, card.read(result["model"])) for result in results_of):
        if attack := privzoo.show(row.model).identity_attack():
            assert row.leak.value == attack.value, row.model


def test_a_codes_identification_is_its_bound_not_unmeasured():
    assert privzoo.show(CODED).identified() == "at most 1.91%"
    assert card_of(PLAIN).identified() == "not measured"
