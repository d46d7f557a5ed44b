"""Pairs, curves and verifiers on made-up people with known answers."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.audit import limits
from privzoo.audit.attacks import pairs, verification
from privzoo.audit.attacks.pairs import AUC, EER, tar_name
from privzoo.audit.attacks.verification import FRESH, LINKED, ONE_SECRET, TWO_SECRETS, Protocol
from privzoo.errors import ConfigError, DataError
from privzoo.evaluation.drawn import Coded
from privzoo.mechanisms.codebook import levels
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.randomized_response import RandomizedResponse

SMALL = Protocol(folds=4, matched=150, mismatched=3000, learnt=1500, candidates=20)
attack = functools.partial(verification.attack, seeds=(1,), protocol=SMALL)


def people(count: int = 100, photographs: int = 4) -> np.ndarray:
    return np.repeat(np.arange(count), photographs)


def leaky(dimensions: int = 4, scatter: float = 0.1) -> np.ndarray:
    """Features of `people()`: photographs of one lie near each other."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(100, dimensions))[people()] + scatter * rng.normal(size=(400, dimensions))


def code(epsilon: float = 3.0, k: int = 2) -> Coded:
    return Coded(levels(np.array([1.0, 0, 0, 0]), 0.0, np.linspace(-1, 1, k - 1)), RandomizedResponse(k, epsilon))


@given(
    st.lists(st.integers(1, 5), min_size=8, max_size=40).filter(lambda c: sum(n > 1 for n in c) >= 8),
    st.integers(0, 99),
)
@settings(max_examples=40)
def test_pairs_are_what_they_are_called_and_folds_are_disjoint(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rng, fold_of = np.random.default_rng(seed), pairs.folds(labels, 4)
    assert set(fold_of[np.isin(labels, np.flatnonzero(np.array(counts) == 1))]) <= {-1}
    for person in np.unique(labels):
        assert len(set(fold_of[labels == person])) == 1
    for fold in range(4):
        scored = np.flatnonzero(fold_of == fold)
        crowd = pairs.crowd(labels, scored)
        same = crowd.matched(30, rng)
        assert (labels[same[:, 0]] == labels[same[:, 1]]).all() and (same[:, 0] != same[:, 1]).all()
        assert len(np.unique(np.sort(same, axis=1), axis=0)) == len(same) <= min(30, crowd.total)
        other = crowd.mismatched(50, rng)
        assert len(other) == 50 and (labels[other[:, 0]] != labels[other[:, 1]]).all()
        assert np.isin(np.concatenate([same, other]), scored).all()
        each = crowd.one_each(2, False, rng)
        assert len(set(labels[each[:, 0]])) == 2 and (labels[each[:, 0]] == labels[each[:, 1]]).all()
        assert (each[:, 0] != each[:, 1]).all()
        alone = crowd.one_each(2, True, rng)
        assert (alone[:, 0] == alone[:, 1]).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_curves_rise_and_count_ties_as_a_random_decision(genuine, impostor):
    true_scores, false_scores = np.array(genuine, float), np.array(impostor, float)
    false, true = pairs.roc(true_scores, false_scores)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    wins = np.sign(true_scores[:, None] - false_scores[None])
    found = pairs.rates(true_scores, false_scores)
    assert found[AUC] == pytest.approx((wins + 1).mean() / 2)
    assert 0 <= found[EER] <= 1 and found[tar_name(1e-3)] <= found[tar_name(1e-2)] + 1e-12


def test_rates_of_scores_that_say_nothing_and_all():
    none = pairs.rates(np.zeros(10), np.zeros(1000))
    assert none == pytest.approx({tar_name(1e-2): 0.01, tar_name(1e-3): 0.001, EER: 0.5, AUC: 0.5})
    every = pairs.rates(np.ones(10), np.zeros(1000))
    assert every == pytest.approx({tar_name(1e-2): 1, tar_name(1e-3): 1, EER: 0, AUC: 1})


def test_features_that_say_nothing_get_chance():
    features = np.random.default_rng(0).normal(size=(400, 4))
    for name, found in attack(features, people()).items():
        assert abs(found[AUC].mean() - 0.5) < 0.06, name
        assert found[tar_name(1e-2)].mean() < 0.05 and found[LINKED].mean() < 0.15
        assert found[AUC].shape == (1, 4)


@pytest.mark.parametrize("dimensions", [4, 60])
def test_a_leak_is_found(dimensions):
    found = attack(leaky(dimensions), people())
    assert ("learnt" in found) == (dimensions == 4) and "bayes" not in found
    for name, rates in found.items():
        assert rates[AUC].mean() > 0.95 and rates[LINKED].mean() > 0.7, name


def test_two_covariances_know_what_differs_between_people():
    """One number tells people apart, another is ten times as large and does not: it misleads distance alone."""
    rng = np.random.default_rng(0)
    features = np.stack(
        [rng.normal(size=100)[people()] + 0.05 * rng.normal(size=400), 10 * rng.normal(size=400)], axis=1
    )
    found = attack(features, people())
    assert found["distance"][AUC].mean() < 0.65
    assert all(found[name][AUC].mean() > 0.9 for name in ("two covariances", "learnt"))


@pytest.mark.slow
def test_noise_hides_and_averaging_brings_back():
    noise = Noise(3.0, 4.0)
    once, often = (attack(leaky(), people(), noise=noise, queries=q)["two covariances"][AUC].mean() for q in (1, 900))
    assert once < 0.75 and often > 0.95


def test_the_likelihood_ratio_is_no_worse_than_what_is_learnt():
    found = attack(leaky(), people(), noise=code(k=8), queries=100)
    assert found["bayes"][AUC].mean() > max(found[name][AUC].mean() for name in ("distance", "learnt")) - 0.03


@given(st.floats(0.2, 4), st.integers(2, 6))
@settings(max_examples=6)
def test_true_accepts_stay_below_the_bound(epsilon, k):
    noise, protocol = code(epsilon, k), Protocol(folds=4, matched=150, mismatched=20_000, learnt=500, candidates=20)
    found = attack(leaky(), people(), noise=noise, protocol=protocol, verifiers=("bayes", "distance"))
    most = limits.true_accepts(noise, 1, 4)[1e-2]
    for rates in found.values():
        values = rates[tar_name(1e-2)]
        assert values.mean() - 4 * values.std() / 2 <= most


@pytest.mark.slow
def test_one_secret_links_what_two_hide():
    """A device's answers repeat: with one secret for two services the photograph's answer is the same at both."""
    share = {
        service: attack(leaky(), people(), noise=code(0.2, 8), service=service, photographs=True)
        for service in (FRESH, TWO_SECRETS, ONE_SECRET)
    }
    found = {service: max(rates[AUC].mean() for rates in own.values()) for service, own in share.items()}
    assert found[FRESH] < 0.6 and found[TWO_SECRETS] < 0.6 and found[ONE_SECRET] > 0.85
    assert all(rates[AUC].mean() > 0.8 for name, rates in share[ONE_SECRET].items() if name != "two covariances")


def test_answers_of_one_device_repeat():
    labels, rng = people(50, 4), np.random.default_rng(0)
    rows = leaky()[:200]
    left, right = verification.sides(rows, labels, code(), ONE_SECRET, rng)
    assert left is right
    symbols = code().book.encode(rows)
    for person in range(50):
        for symbol in (0, 1):
            own = left[(labels == person) & (symbols == symbol)]
            assert len(np.unique(own, axis=0)) <= 1
    left, right = verification.sides(rows, labels, code(0.1), TWO_SECRETS, rng)
    assert not np.array_equal(left, right)


def test_same_seed_same_rates():
    one, again = (attack(leaky(), people(), noise=code())["bayes"][AUC] for _ in range(2))
    assert np.array_equal(one, again)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"verifiers": ("magic",)}, ConfigError, "no attacker 'magic'"),
        ({"service": ONE_SECRET}, ConfigError, "only codes have permanent answers"),
        ({"service": "carrier pigeon", "noise": code()}, ConfigError, "no service 'carrier pigeon'"),
        ({"protocol": Protocol(folds=60)}, DataError, "100 people have two photographs or more"),
    ],
)
def test_bad_input_is_one_sentence(options, error, words):
    with pytest.raises(error, match=words) as caught:
        attack(leaky(), people(), **options)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_fit():
    with pytest.raises(DataError, match="give each its person"):
        attack(leaky(), people()[:-1])
