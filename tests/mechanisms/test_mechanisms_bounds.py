"""Bounds for any attacker: closed forms against integrals, brute force and the best attack."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from privzoo.errors import ConfigError
from privzoo.mechanisms.bounds import NONE, accepted, bounds, gaussian_bits
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.randomized_response import RandomizedResponse

SIZES, BUDGETS, RATIOS = st.integers(2, 6), st.floats(0.05, 12), st.floats(0.01, 20)


def channel(response: RandomizedResponse) -> np.ndarray:
    """float64 (true, sent)."""
    k = range(response.k)
    return np.array([[float(response.density(sent, true)) for sent in k] for true in k])


@given(SIZES, BUDGETS)
def test_response_bounds_are_those_of_its_table(k, epsilon):
    response = RandomizedResponse(k, epsilon)
    table, found = channel(response), bounds(response)
    assert 2**found.leakage == pytest.approx(table.max(0).sum(), rel=1e-9)
    assert found.information == pytest.approx(math.log2(k) - stats.entropy(table[0], base=2), abs=1e-6)
    assert found.information <= found.leakage <= epsilon / math.log(2) + 1e-9
    assert (found.epsilon, found.delta) == (epsilon, 0.0)


@given(SIZES, BUDGETS, st.data())
def test_no_guess_beats_the_bound_whoever_the_people_are(k, epsilon, data):
    """The best attacker's top-1, people's symbols drawn at random."""
    response, people = RandomizedResponse(k, epsilon), 7
    symbols = data.draw(st.lists(st.integers(0, k - 1), min_size=people, max_size=people))
    best = channel(response)[symbols].max(0).sum() / people
    assert best <= bounds(response).top1(people) + 1e-12


@given(st.integers(2, 3), BUDGETS, st.integers(1, 4), st.floats(1e-4, 0.5))
@settings(max_examples=50)
def test_true_accepts_are_those_of_the_best_test(k, epsilon, draws, far):
    """Neyman and Pearson over every sequence of answers."""
    response = RandomizedResponse(k, epsilon)
    table = channel(response)
    pairs = [
        (math.prod(table[0][y] for y in answers), math.prod(table[1][y] for y in answers))
        for answers in itertools.product(range(k), repeat=draws)
    ]
    pairs.sort(key=lambda pair: pair[0] / pair[1], reverse=True)
    left, expected = far, 0.0
    for true, false in pairs:
        part = min(1.0, left / false)
        left, expected = left - part * false, expected + part * true
    assert accepted(response, draws, far) == pytest.approx(expected, rel=1e-9)
    assert accepted(response, draws, far) <= min(1.0, math.exp(draws * epsilon) * far) + 1e-9


@given(RATIOS, st.integers(1, 12))
def test_gaussian_leakage_is_the_integral_of_the_largest_density(ratio, d):
    """In units of sigma: the ball's own volume, and the density at the distance to it outside."""
    volume = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    outside, _ = integrate.quad(
        lambda t: math.exp(-t * t / 2) * d * volume * (ratio + t) ** (d - 1), 0, 40, epsabs=0, epsrel=1e-10, limit=400
    )
    expected = (volume * ratio**d + outside) / (2 * math.pi) ** (d / 2)
    assert 2 ** gaussian_bits(ratio, d) == pytest.approx(expected, rel=1e-7)


@given(st.floats(0.05, 5))
@settings(max_examples=20, deadline=None)
def test_gaussian_information_is_above_that_of_inputs_on_the_ball(ratio):
    """Two opposite points, equally likely, in one dimension: less than the bound, by integration."""

    def density(y):
        return (stats.norm.pdf(y - ratio) + stats.norm.pdf(y + ratio)) / 2

    y = np.linspace(-ratio - 12, ratio + 12, 40_001)
    p = density(y)
    entropy = -integrate.trapezoid(p * np.log2(np.maximum(p, 1e-300)), y)
    carried = entropy - 0.5 * math.log2(2 * math.pi * math.e)
    found = bounds(Gaussian(1.0, ratio))
    assert carried <= found.information + 1e-6 and found.information <= found.leakage + 1e-9


@given(st.floats(0.1, 5), st.floats(0.1, 5), st.sampled_from([1, 10, 100]))
@settings(max_examples=30)
def test_gaussian_true_accepts_keep_the_budget(sigma, radius, queries):
    found = bounds(Gaussian(sigma, radius), queries, dimensions=4)
    for far, tar in found.true_accepts:
        assert far <= tar <= min(1.0, math.exp(min(found.epsilon, 700)) * far + found.delta) + 1e-9


def test_the_goal_at_epsilon_3_and_growth_with_queries():
    response = RandomizedResponse(2, 3.0)
    assert bounds(response).top1() == pytest.approx(0.01905, abs=1e-5)
    one, ten, hundred = (bounds(response, n) for n in (1, 10, 100))
    assert one.leakage < ten.leakage < hundred.leakage and hundred.epsilon == 300.0
    kept = bounds(response, 100, permanent=True)
    assert (kept.epsilon, kept.leakage, kept.true_accepts) == (one.epsilon, one.leakage, one.true_accepts)
    assert hundred.top1() == 1.0 and dict(hundred.rows())["top-1 of 100 people"] == NONE


def test_features_without_noise_have_no_bound():
    assert {value for _, value in bounds(None).rows()} == {NONE}


def test_what_cannot_be_is_refused():
    for arguments in ({"queries": 0}, {"dimensions": 0}, {"queries": 1.5}):
        with pytest.raises(ConfigError, match="whole numbers"):
            bounds(Gaussian(1.0, 1.0), **arguments)
    with pytest.raises(ConfigError, match="permanent"):
        bounds(Gaussian(1.0, 1.0), permanent=True)
    with pytest.raises(ConfigError, match="not a mechanism"):
        bounds("noise")


def test_features_of_any_length_have_bounds():
    """Binomials of thousands of dimensions do not fit into a float, the bound does."""
    few, many = (bounds(Gaussian(1.0, 0.01), dimensions=d) for d in (4, 18_432))
    assert 0 < few.leakage < many.leakage < 2
    assert bounds(Gaussian(0.1, 10.0), dimensions=18_432).top1() == 1.0
    assert math.isfinite(gaussian_bits(100.0, 18_432)) and gaussian_bits(100.0, 18_432) > 1024  # L is beyond a float
    assert 2 ** gaussian_bits(3.0, 1) == pytest.approx(1 + 6 / math.sqrt(2 * math.pi))
