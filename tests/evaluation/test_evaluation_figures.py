"""Bars, figures by class and by subgroup, seeded draws, and what an epsilon means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo import faces
from privzoo.errors import DataError, FaceNotFoundError
from privzoo.evaluation import bars, classes, detected, drawn, epsilon, subgroups
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.gaussian import Noise

SETTINGS = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("found", "limit", "at_least", "verdict"),
    [
        (Estimate(0.23, -1.41, 1.68), 0.3, False, "not shown"),
        (Estimate(0.1, 0.0, 0.3), 0.3, False, "met"),
        (Estimate(0.5, 0.31, 0.9), 0.3, False, "not met"),
        (Estimate(0.5, 0.31, 0.9), 0.3, True, "met"),
        (Estimate(0.5, 0.2, 0.9), 0.3, True, "not shown"),
        (Estimate(0.1, 0.0, 0.2), 0.3, True, "not met"),
        (Estimate(float("nan"), 0, 0), 0.3, False, "not measured"),
        (None, 0.3, False, "not measured"),
    ],
)
def test_a_goal_is_met_by_the_worse_end(found, limit, at_least, verdict):
    assert bars.judge(found, limit, at_least) == verdict


def test_what_it_would_take_to_tell():
    found = Estimate(0.0, -0.6, 0.6, count=816, clusters=100)
    assert bars.needed(found, 0.3) == 4 and "about 400 people" in bars.undecided(found, 0.3)
    assert bars.needed(Estimate(0.4, -1, 1), 0.3) is None and "beyond" in bars.undecided(Estimate(0.4, -1, 1), 0.3)
    assert bars.undecided(Estimate(0.1, 0.0, 0.2), 0.3) == ""
    # Without their number it is said how many times as many: of people, not how narrow an interval.
    stored = Estimate(0.0, -0.6, 0.6)
    words = "showing it would take about 4 times as many people or seeds"
    assert bars.undecided(stored, 0.3, of="people or seeds") == words


def test_always_the_most_frequent_class_is_no_good_by_class():
    truth = np.repeat([0, 1], [776, 224])
    found = classes.figures(np.zeros(1000, int), truth, ["male", "female"])
    assert found["accuracy"].value == 0.776 and found["balanced accuracy"].value == 0.5
    assert found["recall of male"].value == 1 and found["recall of female"].value == 0
    assert found["macro F1"].value == pytest.approx(0.776 / 1.776)
    name, got = classes.most_frequent(truth, ["male", "female"])
    assert name == "male" and got.value == 0.776 and got.low < 0.776 < got.high


@SETTINGS
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 3))
def test_figures_by_class_are_those_of_scikit_learn(seed, count, draws):
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(count), rng.integers(0, count, 40)])
    told = rng.integers(0, count, (draws, len(truth)))
    found = classes.figures(told, truth, [str(i) for i in range(count)])
    flat = np.tile(truth, draws), told.reshape(-1)
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(*flat))
    assert found["balanced accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(*flat))
    assert found["macro F1"].value == pytest.approx(metrics.f1_score(*flat, average="macro", zero_division=0))
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_macro_f1_holds_the_truth():
    rng = np.random.default_rng(0)
    large = rng.integers(0, 3, 200_000)

    def told(truth, rng):
        return np.where(rng.random(len(truth)) < np.array([0.9, 0.7, 0.5])[truth], truth, 0)

    exact = classes.macro_f1(told(large, rng)[None], large).value
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, 300)
        found = classes.macro_f1(told(truth, rng)[None], truth)
        held += found.low <= exact <= found.high
    assert held >= 182


def a_population():
    rng = np.random.default_rng(0)
    labels = {"gender": rng.integers(0, 2, 3000), "race": rng.integers(0, 2, 3000), "age": rng.integers(0, 90, 3000)}
    right = np.where((labels["gender"] == 1) & (labels["age"] < 10), 0.6, 0.95)
    names = {"gender": ("male", "female"), "race": ("white", "asian")}
    return rng.random(3000) < right, labels, names


def test_subgroups_and_their_widest_gap():
    hits, labels, names = a_population()
    found = subgroups.figures(hits, labels, names)
    assert {s.count for s in subgroups.by(found, "gender")} == set(np.bincount(labels["gender"]).tolist())
    for traits in (["gender"], ["race", "age"], ["gender", "race", "age"]):
        assert sum(s.count for s in subgroups.by(found, *traits)) == 3000
    worst, best = subgroups.widest_gap(found)
    assert worst.gender == "female" and worst.age in ("0-2", "3-9") and worst.value < 0.8 < best.value
    line = subgroups.sentence(found)
    assert line.startswith("widest gap") and worst.name in line and "\n" not in line
    small = [s for s in found if s.value is None]
    assert all(s.count < 30 and "too small" in s.shown for s in small)
    table = subgroups.table(found).splitlines()
    assert len(table) == 2 + 9 and len({line.count("|") for line in table}) == 1


def test_ages_go_into_their_groups():
    ages = np.array([0, 2, 3, 9, 10, 19, 20, 39, 40, 59, 60, 116])
    assert subgroups.age_groups(ages).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_subgroups_need_their_labels():
    with pytest.raises(DataError, match="no label age"):
        subgroups.figures(np.ones(3, bool), {"gender": np.zeros(3, int), "race": np.zeros(3, int)}, {})


def test_draws_are_the_same_again_and_differ_from_each_other():
    features, noise = np.zeros((200, 3)), Noise(1.0, 1.0)

    def classify(sent):
        assert sent.dtype == np.float32
        return np.stack([sent[:, 0], -sent[:, 0]], axis=1)

    one, two = (drawn.labels(classify, features, noise, (1, 2, 3)) for _ in range(2))
    assert one.shape == (3, 200) and (one == two).all() and (one[0] != one[1]).any()
    assert drawn.labels(classify, features, None, (1, 2, 3)).shape == (1, 200)


def test_the_best_distinguisher_is_right_as_often_as_said():
    rng = np.random.default_rng(0)
    sigma, clip = 0.5, 0.4
    ends = np.array([[clip, 0.0], [-clip, 0.0]])
    which = rng.integers(0, 2, 100_000)
    sent = ends[which] + rng.normal(0, sigma, (len(which), 2))
    told = (np.linalg.norm(sent - ends[1], axis=1) < np.linalg.norm(sent - ends[0], axis=1)).astype(int)
    assert (told == which).mean() == pytest.approx(epsilon.best_guess(sigma, clip), abs=0.005)
    assert "99.9%" in epsilon.words(0.1, 0.3) and "not by the budget" in epsilon.words(0.1, 0.3)
    assert "not by the budget" not in epsilon.words(2.0, 0.3)


def test_what_the_detector_misses_counts_as_wrong(monkeypatch):
    def chips(image, size, face):
        assert face == "detect"
        if image.max() == 0:
            raise FaceNotFoundError("There is no face.")
        return np.full((1, size, size, 3), 7, np.uint8), [], []

    monkeypatch.setattr(faces, "chips", chips)
    images = [lambda value=value: np.full((30, 30, 3), value, np.uint8) for value in (9, 0, 9)]
    cut, found = detected.chips(images, 8)
    assert cut.shape == (3, 8, 8, 3) and found.tolist() == [True, False, True] and cut[1].max() == 0
    told = detected.with_misses(np.array([[0, 0, 1]]), found)
    assert classes.figures(told, np.zeros(3, int), ["male"])["accuracy"].value == pytest.approx(1 / 3)
