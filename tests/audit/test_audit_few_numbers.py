"""Mixtures of a few numbers: what is likely is found where features are unlike each other, and nothing where not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privzoo.audit.attacks import few_numbers
from privzoo.errors import FeatureError


def features(count: int, seed: int, numbers: int = 6) -> np.ndarray:
    """Of two classes far apart, with little spread."""
    rng = np.random.default_rng(seed)
    centres = np.array([[4.0] + [1.0] * (numbers - 1), [1.0] + [5.0] * (numbers - 1)])
    return centres[rng.integers(0, 2, count)] + 0.1 * rng.normal(size=(count, numbers))


def test_clear_classes_are_found():
    known, sent = few_numbers.learn(features(200, 0)), features(3, 1)
    found = few_numbers.unmix(stats.ortho_group.rvs(3, random_state=1) @ sent, known)
    assert np.allclose(np.sort(found[:, 0]), np.sort(sent[:, 0]), atol=0.5)


@settings(max_examples=10)
@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 2**32 - 1))
@pytest.mark.slow
def test_a_turn_leaves_second_moments(size, numbers, seed):
    """Whatever it guesses, it is a turn of the mixtures: what no turn changes is there for everyone."""
    sent = features(size, seed, numbers)
    mixed = stats.ortho_group.rvs(size, random_state=seed) @ sent
    found = few_numbers.unmix(mixed, few_numbers.learn(features(50, 2, numbers)), seed)
    assert found.T @ found == pytest.approx(sent.T @ sent, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("mixtures", [np.zeros((1, 6)), np.zeros((3, 5)), np.full((3, 6), np.nan), np.zeros(6)])
def test_other_mixtures_are_refused(mixtures):
    with pytest.raises(FeatureError):
        few_numbers.unmix(mixtures, few_numbers.learn(features(20, 0)))
