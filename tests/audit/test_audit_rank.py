"""Rank privacy against a reference that follows the paper's equations word by word."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.audit.attacks.rank import rank_privacy
from privzoo.errors import ConfigError, DataError, FeatureError


def reference(features, people, sigma, seed):
    """Equations 2 to 4, one feature at a time, with scipy's density and mean ranks."""
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal, rankdata

    noisy = features + np.random.default_rng(seed).normal(0, sigma, features.shape)
    classes = sorted(set(people))
    privacy = []
    for z, person in zip(noisy, people, strict=True):
        likelihoods = []
        for c in classes:
            points = [f for f, p in zip(features, people, strict=True) if p == c]
            logs = [multivariate_normal.logpdf(z, f, sigma**2 * np.eye(len(f))) for f in points]
            likelihoods.append(logsumexp(logs) - math.log(len(points)))
        ranks = rankdata(-np.round(likelihoods, 9), method="average")
        privacy.append(ranks[classes.index(person)] / len(classes))
    return float(np.mean(privacy))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 12),
    people=st.integers(1, 5),
    dimensions=st.integers(1, 3),
    sigma=st.sampled_from([0.05, 0.5, 3.0]),
    whole=st.booleans(),
)
def test_equals_the_reference(seed, count, people, dimensions, sigma, whole):
    """Whole numbers make equal features, and so ties."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, dimensions))
    features = np.round(features) if whole else features
    labels = rng.integers(0, people, count).tolist()
    assert rank_privacy(features, labels, sigma, seeds=(seed,)).value == pytest.approx(
        reference(features, labels, sigma, seed), abs=1e-9
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_many_dimensions_equal_few(seed):
    """Distances by dot products and by differences rank alike."""
    rng = np.random.default_rng(seed)
    few, labels = rng.normal(5, 1, (40, 6)), rng.integers(0, 7, 40)
    # Orthogonal columns keep all distances; noise is left out, since its dimensions are as many as the features'.
    turn, _ = np.linalg.qr(rng.normal(size=(100, 6)))
    assert rank_privacy(few @ turn.T, labels, 0).value == pytest.approx(rank_privacy(few, labels, 0).value)


def test_features_without_identity_get_the_middle():
    """On average over people, 0.5 + 1 / (2 T), where the cloud does not know the very feature that was sent."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 30)
    for sigma in (0, 0.1, 1.0):
        found = rank_privacy(
            rng.normal(size=(600, 4)), people, sigma, queries=(rng.normal(size=(600, 4)), people), seeds=(1, 2, 3)
        )
        assert found.blind == 0.5 + 1 / 40
        assert found.low - 0.02 <= found.blind <= found.high + 0.02
        assert found.value == pytest.approx(found.blind, abs=0.03)


def test_much_noise_hides_the_own_feature_too():
    rng = np.random.default_rng(0)
    found = rank_privacy(rng.normal(size=(1000, 2)), np.repeat(np.arange(10), 100), 100.0)
    assert found.value == pytest.approx(found.blind, abs=0.04)


def test_identity_without_noise_has_rank_one():
    features = np.repeat(np.eye(8), 3, axis=0)
    found = rank_privacy(features, np.repeat(np.arange(8), 3), 0)
    assert found.value == found.low == found.high == 1 / 8
    assert found.seeds == ()


@pytest.mark.parametrize("sigma", [0, 1e-9, 1.0, 1e6])
@pytest.mark.parametrize("dimensions", [3, 200])
def test_equal_features_tie(sigma, dimensions):
    """All people are equally likely, so that each gets the mean rank, exactly."""
    people = [0, 0, 0, 1, 2, 2]
    found = rank_privacy(np.full((6, dimensions), 0.1), people, sigma)
    assert found.value == pytest.approx(found.blind, abs=1e-12)


def test_zero_noise_is_the_limit_of_little_noise():
    rng = np.random.default_rng(3)
    known, asked = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    people = rng.permutation(np.arange(60) % 6)
    limit = rank_privacy(known, people, 0, queries=(asked, people))
    assert limit.value == rank_privacy(known, people, 1e-7, queries=(asked, people)).value
    # Two people share a feature: it is half of what is known of the first, and all of the second.
    shared = np.array([[0.0], [5.0], [0.0]])
    for sigma in (0, 1e-6):
        assert rank_privacy(shared, ["a", "a", "b"], sigma).by_person == pytest.approx([(1.0 + 0.5) / 2, 0.5])


def test_far_people_are_still_ranked():
    """Likelihoods of exp(-10,000) would all be zero: their logarithms are compared."""
    known, people = np.array([[0.0], [100.0], [200.0]]), [0, 1, 2]
    found = rank_privacy(known, people, 0.5, queries=(np.array([[0.0]]), [2]))
    assert found.value == 1.0


def test_one_image_per_person_is_the_per_sample_variant():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(50, 3))
    one_each = rank_privacy(features, np.arange(50), 0.7)
    per_sample = rank_privacy(features, np.arange(50) % 5, 0.7, per_sample=True)
    assert one_each.value == per_sample.value
    assert per_sample.people == 50
    assert len(per_sample.by_person) == 5


def test_clips_as_the_head_does():
    features = np.array([[10.0, 0], [20.0, 0], [0, 1.0]])
    assert rank_privacy(features, [0, 1, 2], 0, radius=1.0).value == pytest.approx((1.5 + 1.5 + 1) / 9)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"features": np.array([[1.0], [np.nan]])}, FeatureError, "NaN"),
        ({"features": np.array([["a"], ["b"]])}, FeatureError, "give numbers"),
        ({"features": np.ones((3, 1))}, FeatureError, "for 2 people"),
        ({"features": np.ones((0, 1)), "people": []}, DataError, "no features"),
        ({"classes": [0, 1, 2]}, DataError, "1 people have no feature, the first is 2"),
        ({"queries": (np.ones((1, 1)), [7])}, DataError, "Person 7 is not among"),
        ({"queries": (np.ones((1, 2)), [0])}, FeatureError, "2 numbers each"),
        ({"queries": (np.ones((1, 1)), [0]), "per_sample": True}, ConfigError, "no queries"),
        ({"sigma": -1.0}, ConfigError, "sigma=-1.0"),
        ({"sigma": math.nan}, ConfigError, "sigma=nan"),
        ({"seeds": ()}, ConfigError, "one or more seeds"),
    ],
)
def test_refuses(change, error, says):
    arguments = {"features": np.array([[0.0], [1.0]]), "people": [0, 1], "sigma": 1.0} | change
    with pytest.raises(error, match=says):
        rank_privacy(**arguments)


def test_ten_thousand_features_take_seconds():
    """Processor time: other work may share the machine's cores."""
    rng = np.random.default_rng(0)
    features, people = rng.normal(size=(10_000, 8)), np.arange(10_000) % 100
    begin = time.process_time()
    rank_privacy(features, people, 0.5, seeds=(1,))
    assert time.process_time() - begin < 10
