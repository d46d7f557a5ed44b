"""Mixing: what is drawn, that unmixing inverts it, and that a key serves one request."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms import mixing
from privzoo.mechanisms.mixing import Key

DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32")
kinds = st.sampled_from(mixing.KINDS)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(2, 16), st.sampled_from(DTYPES), kinds, st.integers(0, 2**32))
def test_unmixing_inverts_mixing(groups, size, dtype, kind, seed):
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(groups * size, 3, 2)) * 20).clip(0, 100).astype(dtype)
    key = Key.drawn(groups, size, kind, random.Random(seed))
    mixtures = key.mix(features)
    assert mixtures.dtype == np.float32 and mixtures.shape == features.shape
    found = key.unmix(mixtures)
    assert found.dtype == np.float64
    largest = max(1.0, float(np.abs(features.astype(np.float64)).max()))
    np.testing.assert_allclose(found / largest, features.astype(np.float64) / largest, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 9), kinds, st.integers(0, 2**32))
def test_linear_main_is_undone_exactly(groups, size, kind, seed):
    rng = np.random.default_rng(seed)
    features, main = rng.normal(size=(groups * size, 6)), rng.normal(size=(6, 4))
    key = Key.drawn(groups, size, kind, random.Random(seed))
    np.testing.assert_allclose(key.unmix(key.mix(features) @ main), features @ main, atol=1e-4)


@given(st.integers(2, 24), kinds, st.integers(0, 2**32))
def test_coefficients_can_be_inverted(size, kind, seed):
    drawn = mixing.draw(size, kind, random.Random(seed))
    assert np.linalg.cond(drawn) <= mixing.WORST_CONDITION * size
    if kind == "orthogonal":
        np.testing.assert_allclose(drawn @ drawn.T, np.eye(size), atol=1e-6)
    if kind == "dirichlet":
        assert (drawn > 0).all()
        np.testing.assert_allclose(drawn.sum(1), 1, atol=1e-6)


def test_orthogonal_coefficients_follow_the_haar_measure():
    """Each entry has mean 0, variance 1/n and fourth moment 3/(n(n+2)), and both determinants are as frequent."""
    n, rng = 4, random.Random(1)
    drawn = np.stack([mixing.draw(n, rng=rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.04)
    np.testing.assert_allclose((drawn**2).mean(0), 1 / n, atol=0.02)
    np.testing.assert_allclose((drawn**4).mean(0), 3 / (n * (n + 2)), atol=0.02)
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 0.04
    # The trace of a Haar matrix has mean 0 and variance 1; without the sign fix it has neither.
    traces = np.trace(drawn, axis1=1, axis2=2)
    assert abs(traces.mean()) < 0.06 and abs(traces.var() - 1) < 0.1


def test_draws_come_from_the_operating_system():
    assert not np.array_equal(mixing.draw(4), mixing.draw(4))
    random.seed(1)
    first = mixing.draw(4)
    random.seed(1)
    assert not np.array_equal(first, mixing.draw(4))


def test_mixtures_of_groups_leave_in_one_shuffled_order():
    """A mixture of group g has only that group's features in it: here those that are not zero in column g."""
    features = np.zeros((12, 3))
    for i in range(12):
        features[i, i // 4] = i + 1.0
    seen = {tuple((Key.drawn(3, 4, rng=random.Random(s)).mix(features) != 0).argmax(1)) for s in range(20)}
    assert len(seen) > 15 and all(sorted(one) == [0] * 4 + [1] * 4 + [2] * 4 for one in seen)


def key(**changed):
    given = {"coefficients": np.eye(4)[None].repeat(2, 0), "order": np.arange(8), **changed}
    return Key(**given)


def test_key_mixes_once_and_unmixes_once():
    used = key()
    with pytest.raises(ConfigError, match="nothing to unmix"):
        used.unmix(np.ones((8, 3)))
    mixtures = used.mix(np.ones((8, 3)))
    with pytest.raises(ConfigError, match="has mixed before"):
        used.mix(np.ones((8, 3)))
    used.unmix(mixtures)
    for again in (used.unmix, used.mix):
        with pytest.raises(ConfigError):
            again(mixtures)


def test_key_is_overwritten_after_use():
    coefficients, order = np.stack([mixing.draw(4)] * 2), np.arange(8)
    with Key(coefficients, order) as used:
        used.mix(np.ones((8, 3)))
        kept = [getattr(used, name) for name in ("_Key__coefficients", "_Key__order")]
        assert all(one.any() for one in kept)
    assert not any(one.any() for one in kept)
    assert coefficients.any()  # the caller's own stays


def test_key_is_never_printed_copied_or_stored():
    secret = key()
    assert repr(secret) == str(secret) == "Key(groups=2, size=4, fresh)"
    for store in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            store(secret)
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"coefficients": np.ones((1, 1, 1)), "order": [0]}, "group=1 is not valid"),
        ({"coefficients": np.ones((2, 4, 4))}, "cannot be inverted well"),
        ({"coefficients": np.full((2, 4, 4), np.nan)}, "cannot be inverted well"),
        ({"coefficients": np.eye(4)}, "are no groups"),
        ({"order": np.arange(7)}, "no permutation"),
        ({"order": np.array([0, 1, 2, 3, 4, 5, 6, 6])}, "no permutation"),
        ({"order": np.arange(8) + 0.5}, "no permutation"),
    ],
)
def test_invalid_key_is_refused(changed, words):
    with pytest.raises(ConfigError, match=words):
        key(**changed)


def test_invalid_draw_is_refused():
    with pytest.raises(ConfigError, match="group=1 is not valid"):
        Key.drawn(1, 1)
    with pytest.raises(ConfigError, match="groups=0 is not valid"):
        Key.drawn(0, 8)
    with pytest.raises(ConfigError, match="is unknown"):
        mixing.draw(8, "uniform")


def test_other_lengths_are_refused():
    with pytest.raises(FeatureError, match=r"need numbers of shape \(8, ...\)"):
        key().mix(np.ones((7, 3)))
    with pytest.raises(FeatureError, match="NaN or infinity"):
        key().mix(np.full((8, 3), np.inf))
    used = key()
    used.mix(np.ones((8, 3)))
    with pytest.raises(FeatureError, match=r"outputs are float64 of shape \(9, 3\)"):
        used.unmix(np.ones((9, 3)))
