"""Fitting codes: exact partitions, merging, calibrated posteriors, and accuracy near the ceiling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from privzoo.errors import ConfigError
from privzoo.evaluation.ceiling import ceiling
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.training import codes

BUDGETS = st.floats(0.1, 8)


def faces(count: int, classes: int, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = rng.normal(0, 1.5, (classes, dimensions))
    return centres[labels] + rng.normal(0, 1, (count, dimensions)), labels


@given(arrays.arrays(np.float64, (7, 2), elements=st.floats(0.01, 1)), BUDGETS, st.integers(2, 7))
@settings(max_examples=60, deadline=None)
def test_partition_is_the_best_of_all(fine, epsilon, k):
    fine = fine / fine.sum()
    cuts, worth = codes.partition(fine, epsilon, k)
    assert len(cuts) == k - 1 and cuts == sorted(set(cuts))

    def value(chosen):
        return sum(codes.gain(part.sum(0), fine.sum(0), epsilon, k) for part in np.split(fine, chosen))

    best = max(value(list(chosen)) for chosen in itertools.combinations(range(1, 7), k - 1))
    assert worth == pytest.approx(best, abs=1e-12) and value(cuts) == pytest.approx(best, abs=1e-12)


@given(arrays.arrays(np.float64, (5, 5), elements=st.floats(0.01, 1)), BUDGETS)
@settings(max_examples=40, deadline=None)
def test_merging_never_loses_and_never_beats_the_ceiling(fine, epsilon):
    fine = fine / fine.sum()
    symbols, worth = codes.merged(fine, epsilon)
    assert set(symbols) == set(range(max(symbols) + 1)) and len(set(symbols)) >= 2
    unmerged = float(codes.gain(fine, fine.sum(0), epsilon, 5).sum())
    assert worth >= unmerged - 1e-12
    assert worth <= ceiling(fine.T, epsilon) + 1e-7
    of_each = [codes.merged(fine, epsilon, k) for k in range(2, 6)]
    assert [len(set(symbols)) for symbols, _ in of_each] == [2, 3, 4, 5]
    assert worth == max(value for _, value in of_each)


def test_two_symbols_answer_best_and_near_the_ceiling():
    features, labels = faces(4000, 2, 3)
    fitted = codes.fit(features, labels, 3.0)
    assert fitted.book.k == 2
    arrived = RandomizedResponse(2, 3.0)
    table = codes.confusion(labels, fitted.book.encode(features), 2, 2)
    same = float(arrived.probability_same)
    accuracy = (same * table + (1 - same) * (table.sum(1, keepdims=True) - table)).max(0).sum() / len(labels)
    assert accuracy >= 0.995 * ceiling(table, 3.0)


def test_given_numbers_of_symbols_are_kept():
    sizes = {2: (2, 4, 16), 5: (2, 4, 5)}
    for (features, labels), k in ((faces(2000, classes, 3), k) for classes, own in sizes.items() for k in own):
        fitted = codes.fit(features, labels, 3.0, k)
        assert fitted.book.k == k == fitted.joint.shape[1] == fitted.facts["symbols"]
        assert fitted.joint.sum() == pytest.approx(1) and (fitted.joint > 0).all()


def test_more_classes_get_fewer_symbols_at_smaller_budgets():
    features, labels = faces(3000, 6, 4)
    few, many = codes.fit(features, labels, 0.5), codes.fit(features, labels, 8.0)
    assert 2 <= few.book.k < many.book.k == 6


def test_what_cannot_be_fitted_is_refused():
    features, labels = faces(128, 2, 3)
    with pytest.raises(ConfigError, match="not a budget"):
        codes.fit(features, labels, 0.0)
    with pytest.raises(ConfigError, match="cannot fit"):
        codes.fit(features, np.zeros(128, int), 1.0)
    with pytest.raises(ConfigError, match="cannot become"):
        codes.fit(features, labels, 1.0, 200)
    with pytest.raises(ConfigError, match="regions of 5 classes cannot become 6 symbols; give 2 to 5"):
        codes.fit(*faces(128, 5, 3), 1.0, 6)


@given(st.sampled_from([1e-3, 1.0, 4.0, 20.0]), st.integers(2, 9), st.integers(2, 4))
@settings(max_examples=12, deadline=None)
def test_the_tail_is_bayes_rule_at_every_budget(epsilon, k, classes):
    from privzoo.embeddings import coded

    joint = np.random.default_rng(k).uniform(0.1, 1, (classes, k))
    joint /= joint.sum()
    response, symbols = RandomizedResponse(k, epsilon), np.arange(k, dtype=np.int32)
    chances = joint @ np.array([[float(response.density(sent, true)) for sent in range(k)] for true in range(k)])
    found = np.asarray(coded.tail_of(joint)({"symbol": symbols, "epsilon": np.full(k, epsilon, np.float32)}))
    assert np.allclose(found, (chances / chances.sum(0)).T, atol=1e-4)
    assert np.allclose(found.sum(1), 1, atol=1e-6)


def test_the_tail_gives_the_prior_where_there_is_no_evidence():
    from privzoo.embeddings import coded

    joint = np.array([[0.5, 0.1], [0.1, 0.3]])
    asked = {"symbol": np.array([0, 7, -1, 7], np.int32), "epsilon": np.array([0, 3, 3, 500], np.float32)}
    found = np.asarray(coded.tail_of(joint)(asked))
    assert np.allclose(found, [[0.6, 0.4]] * 4, atol=1e-6) and math.isfinite(found.sum())
    with pytest.raises(ConfigError, match="invalid"):
        coded.tail_of(np.array([[0.0, 1.0], [1.0, 0.0]]))


def test_the_number_of_symbols_is_chosen_on_held_out_faces():
    features, labels = faces(4000, 2, 3)
    other, others = faces(2000, 2, 3, seed=0)
    found = codes.choose((features, labels), (other, others), 3.0)
    accuracy = found.facts["held_out_accuracy_by_symbols"]
    assert list(accuracy) == [str(k) for k in codes.SYMBOLS] and found.facts["held_out_faces"] == 2000
    assert accuracy[str(found.book.k)] == max(accuracy.values())
    # The closed form is the mean over draws.
    response, symbols = RandomizedResponse(found.book.k, 3.0), found.book.encode(other)
    k = found.book.k
    same, lie = math.exp(3) / (math.exp(3) + k - 1), 1 / (math.exp(3) + k - 1)
    told = (found.joint @ (lie + (same - lie) * np.eye(k))).argmax(0)
    drawn = [np.mean(told[response.send(symbols, np.random.default_rng(i).bytes)] == others) for i in range(20)]
    assert np.mean(drawn) == pytest.approx(codes.expected_accuracy(found, other, others, 3.0), abs=0.005)


def test_a_book_survives_its_weights_file(tmp_path):
    from privzoo import config, weights
    from privzoo.embeddings import coded

    for classes in (2, 5):
        features, labels = faces(1000, classes, 3)
        fitted = codes.fit(features, labels, 3.0)
        entry = weights.save(coded.arrays_of(fitted.book, fitted.joint), tmp_path / "code.npz", dtype="int16")
        code = config.CodeConfig("base", 3.0, fitted.book.k)
        model = config.ModelConfig("coded", "network", "cut", "coded", dimensions=3, code=code)
        arrays = weights.read(tmp_path / entry.file)
        assert coded.book_of(arrays, model) == fitted.book
        np.testing.assert_allclose(arrays[coded.JOINT], fitted.joint, rtol=1e-6)
