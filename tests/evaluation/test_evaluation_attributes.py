"""Figures of attributes: means over them, with intervals over people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.errors import DataError
from privzoo.evaluation import attributes, intervals

NAMES = ("Smiling", "Young", "Bald")


def simulated(faces: int, seed: int, people: int = 0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((faces, 3)) < [0.5, 0.3, 0.1]).astype(int)
    flips = rng.random((faces, 3)) < 0.2
    return truth ^ flips, truth, rng.integers(0, people, faces) if people else None


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_means_are_those_of_the_attributes(seed):
    answers, truth, _ = simulated(200, seed)
    found = attributes.figures(answers, truth, NAMES)
    assert found["accuracy"].value == pytest.approx(np.mean(answers == truth))
    each = [found[attributes.balanced_of(name)].value for name in NAMES]
    assert found["balanced accuracy"].value == pytest.approx(np.mean(each))
    for k, name in enumerate(NAMES):
        assert found[attributes.accuracy_of(name)].value == pytest.approx(np.mean(answers[:, k] == truth[:, k]))
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_one_attribute_gives_the_figures_of_two_classes():
    answers, truth, people = simulated(300, 1, 40)
    found = attributes.figures(answers[:, :1], truth[:, :1], NAMES[:1], people)
    one = intervals.balanced(answers[None, :, 0] == truth[:, 0], truth[:, 0], people)
    assert found["balanced accuracy"].value == pytest.approx(one.value)
    assert found["balanced accuracy"].low == pytest.approx(one.low, abs=0.003)  # whose people count by class
    assert found["accuracy"] == found["accuracy of Smiling"]


@pytest.mark.parametrize("metric", ["accuracy", "balanced accuracy"])
def test_intervals_contain_the_truth_as_often_as_they_say(metric):
    expected = {"accuracy": 0.8, "balanced accuracy": 0.8}[metric]
    hits = []
    for seed in range(200):
        found = attributes.figures(*simulated(150, seed)[:2], NAMES)[metric]
        hits.append(found.low <= expected <= found.high)
    assert 0.9 <= np.mean(hits) <= 0.99


def test_people_make_intervals_wider():
    answers, truth, people = simulated(400, 3, 20)
    truth, answers = truth[people], answers[people]  # all faces of a person alike
    for metric in ("accuracy", "balanced accuracy"):
        alone = attributes.figures(answers, truth, NAMES)[metric]
        known = attributes.figures(answers, truth, NAMES, people)[metric]
        assert known.high - known.low > 2 * (alone.high - alone.low)
        assert known.clusters == 20 and known.count == 400


def test_draws_are_averaged():
    answers, truth, _ = simulated(100, 4)
    found = attributes.figures(np.stack([answers, truth]), truth, NAMES)
    assert found["accuracy"].value == pytest.approx((1 + np.mean(answers == truth)) / 2)


def test_what_all_or_no_faces_have_is_left_out_of_balanced_accuracy():
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    found = attributes.figures(truth, truth, NAMES[:2])
    assert found["balanced accuracy"].value == 1 and "balanced accuracy of Young" not in found
    assert "balanced accuracy" not in attributes.figures(truth[:, 1:], truth[:, 1:], NAMES[1:2])


def test_the_majority_needs_no_face():
    truth = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
    assert attributes.majority(truth).value == 0.75
    answers = np.tile([1, 0], (4, 1))
    assert attributes.figures(answers, truth, NAMES[:2])["accuracy"].value == 0.75
    assert attributes.figures(answers, truth, NAMES[:2])["balanced accuracy"].value == 0.5


def test_answers_of_other_faces_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 3, 3\) do not belong to \(4, 3\)"):
        attributes.figures(np.zeros((3, 3), int), np.zeros((4, 3), int), NAMES)
