"""The arithmetic of budgets: against dp-accounting, against exact sums, and against its own laws."""

from __future__ import annotations

import math
from fractions import Fraction

import dp_accounting
import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privzoo.mechanisms.budget import Cost, gaussian_delta, gaussian_epsilon, gaussian_mu, rounded_up

mus, epsilons, deltas = st.floats(1e-3, 100), st.floats(1e-3, 1e4), st.floats(1e-12, 0.4)
costs = st.builds(Cost, st.floats(0, 100), st.floats(0, 20))


@given(mus, deltas)
def test_epsilon_is_dp_accountings(mu, delta):
    expected = dp_accounting.get_epsilon_gaussian(1 / mu, delta)
    assert gaussian_epsilon(mu, delta) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(epsilons, deltas)
def test_mu_is_dp_accountings(epsilon, delta):
    mu = gaussian_mu(epsilon, delta)
    assert 1 / mu == pytest.approx(dp_accounting.get_sigma_gaussian(epsilon, delta), rel=1e-9, abs=1e-9)
    assert gaussian_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9)


@given(mus, st.floats(0, 1e4))
def test_delta_is_that_of_a_finer_arithmetic(mu, epsilon):
    with mpmath.workdps(60):
        above = lambda x: mpmath.erfc(x / mpmath.sqrt(2)) / 2  # noqa: E731
        m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)
        exact = float(above(e / m - m / 2) - mpmath.exp(e) * above(e / m + m / 2))
    assert gaussian_delta(mu, epsilon) == pytest.approx(exact, rel=1e-8, abs=1e-15)


@pytest.mark.parametrize(
    ("mu", "epsilon"), [(0.0, 0.0), (1e-300, 0.0), (1e-12, 0.0), (1e12, 1e20), (1e200, math.inf), (math.inf, math.inf)]
)
def test_extreme_noise(mu, epsilon):
    found = gaussian_epsilon(mu, 1e-5)
    assert found == epsilon or epsilon < found < math.inf


@given(st.floats(1e-9, 1e9), st.integers(1, 17))
def test_an_epsilon_is_shown_as_no_less_than_it_is(epsilon, digits):
    shown = rounded_up(epsilon, digits)
    assert Fraction(shown) >= Fraction(epsilon) and "e" not in shown.lower()
    assert float(shown) <= epsilon * (1 + 10.0 ** (1 - digits)) * (1 + 1e-15)


@pytest.mark.parametrize(("epsilon", "shown"), [(42.8359, "42.9"), (4, "4"), (3.0, "3"), (100.0, "100"), (0.5, "0.5")])
def test_an_epsilon_is_short(epsilon, shown):
    assert rounded_up(epsilon) == shown and rounded_up(math.inf) == "inf"


@given(mus, mus, deltas, deltas)
def test_more_noise_and_more_delta_cost_less(one, other, delta, further):
    assert gaussian_epsilon(min(one, other), delta) <= gaussian_epsilon(max(one, other), delta)
    assert gaussian_epsilon(one, max(delta, further)) <= gaussian_epsilon(one, min(delta, further))


@given(costs, costs, costs, deltas)
def test_composition_is_monotone_and_at_most_the_sum(one, other, third, delta):
    both = (one + other).epsilon(delta)
    assert both >= max(one.epsilon(delta), other.epsilon(delta)) * (1 - 1e-9)
    # The Gaussian parts' mu is a norm; two pure parts, or one of each, add exactly.
    assert math.sqrt((one + other).mu_squared) <= math.sqrt(one.mu_squared) + math.sqrt(other.mu_squared) + 1e-9
    assert (one + other) == (other + one)
    assert ((one + other) + third).epsilon(delta) == pytest.approx((one + (other + third)).epsilon(delta), rel=1e-9)


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=8), deltas)
def test_pure_budgets_add(budgets, delta):
    total = sum((Cost(pure=epsilon) for epsilon in budgets), Cost())
    assert total.epsilon(delta) == pytest.approx(float(sum(map(Fraction, budgets))))


@given(st.floats(0.1, 3), st.floats(0.1, 3), deltas)
def test_pure_and_gaussian_add(mu, pure, delta):
    mixed = (Cost(mu_squared=mu * mu) + Cost(pure=pure)).epsilon(delta)
    assert mixed == pytest.approx(gaussian_epsilon(mu, delta) + pure)


def test_the_mixed_bound_holds_for_randomized_response_after_gaussian_noise():
    """The exact delta of both together, by the likelihood ratios: never above the bound's."""
    for mu, pure, delta in ((0.5, 1.0, 1e-3), (1.0, 0.3, 1e-5), (2.0, 3.0, 1e-2)):
        epsilon = Cost(mu * mu, pure).epsilon(delta)
        keep = math.exp(pure) / (1 + math.exp(pure))
        # Given the response, the Gaussian part has to exceed what the response's ratio leaves of epsilon.
        exact = keep * gaussian_delta(mu, epsilon - pure) + (1 - keep) * gaussian_delta(mu, epsilon + pure)
        assert 0 < exact <= delta


@given(st.floats(0.05, 2), st.integers(1, 30))
def test_many_gaussian_queries_are_one_of_less_noise(mu, queries):
    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(1 / mu), queries)
    found = (Cost(mu_squared=mu * mu) * queries).epsilon(1e-5)
    assert found == pytest.approx(gaussian_epsilon(mu * math.sqrt(queries), 1e-5))
    assert found <= accountant.get_epsilon(1e-5) * (1 + 1e-6)  # an accountant that knows only moments finds no less
