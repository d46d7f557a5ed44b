"""The noise of the device: its variance, its bound, its source, and its budget."""

from __future__ import annotations

import dataclasses
import importlib
import math
import random
import sys

import dp_accounting
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms import gaussian as noise
from privzoo.mechanisms.gaussian import Gaussian, Noise, budget_sigma, clip, protect, spent_epsilon

anything = stn.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    stn.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5),
    elements={"allow_nan": False, "allow_infinity": False},
)
deviations = st.floats(1e-3, 1e3)
epsilons, deltas = st.floats(1e-2, 100), st.floats(1e-10, 0.4)


@given(anything, st.floats(1e-3, 1e6))
def test_the_clip_bound_holds_for_every_finite_feature(features, radius):
    clipped = clip(features, radius)
    assert clipped.shape == features.shape
    rows = clipped.reshape(len(clipped), math.prod(clipped.shape[1:]))
    assert (np.linalg.norm(rows, axis=1) <= radius * (1 + 1e-9)).all()
    before = features.astype(np.float64).reshape(rows.shape)
    short = np.abs(before).max(axis=1, initial=0) < radius / math.sqrt(max(1, rows.shape[1]))
    np.testing.assert_allclose(rows[short], before[short])  # what is inside stays
    assert (np.sign(rows) * np.sign(before) >= 0).all()  # what is outside keeps its direction


def test_clipping_reaches_the_ball_and_keeps_the_direction():
    np.testing.assert_allclose(
        clip(np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), 1.0), [[0.6, 0.8], [0.3, 0.4], [0, 0]]
    )
    huge = clip(np.array([[1e308, 1e308]]), 1.0)
    np.testing.assert_allclose(huge, [[math.sqrt(0.5)] * 2])


@given(anything.filter(lambda a: a.size), st.data())
def test_nan_and_infinity_are_refused(features, data):
    place = data.draw(st.integers(0, features.size - 1))
    features.flat[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(FeatureError, match="NaN or infinity"):
        protect(features, Noise(1.0, 1.0))


@pytest.mark.parametrize("wrong", [np.zeros(4), np.float32(1), np.array([["a"]]), np.array([[1j]]), None])
def test_what_is_no_batch_of_numbers_is_refused(wrong):
    with pytest.raises(FeatureError, match="give numbers"):
        protect(wrong, Noise(1.0, 1.0))


@settings(max_examples=20)
@given(deviations, st.floats(1e-2, 1e2), st.integers(0, 2**32))
def test_the_noise_has_the_set_deviation(sigma, radius, seed):
    features = np.full((5000, 4), radius)  # clipped to half of that in each component
    draws = protect(features, Noise(sigma, radius), random.Random(seed)).astype(np.float64) - radius / 2
    # Six standard errors of the mean and of the variance of 20,000 draws: a sound source fails once in 10^8 runs.
    assert abs(draws.mean()) < 6 * sigma / math.sqrt(draws.size) + 1e-6 * radius
    assert abs(draws.var() / sigma**2 - 1) < 6 * math.sqrt(2 / draws.size) + 1e-6 * (radius / sigma) ** 2
    correlation = np.corrcoef(draws.T) - np.eye(4)
    assert np.abs(correlation).max() < 6 / math.sqrt(5000)


@settings(max_examples=50)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**32), st.floats(0.1, 5))
def test_what_is_sent_lies_on_a_grid_that_does_not_depend_on_the_feature(sigma, seed, ratio):
    """Else the last bits of the sum tell features apart: which floats can come out must be the same for all."""
    step = noise.grid(sigma)
    assert sigma * 2**-21 < step <= sigma * 2**-20 and math.frexp(step)[0] == 0.5
    rows = np.random.default_rng(seed).normal(0, sigma, (50, 4))
    sent = protect(rows, Noise(sigma, ratio * sigma), random.Random(seed)).astype(np.float64)
    near = np.abs(sent) < 8 * sigma  # beyond, float32 is coarser than the grid
    assert near.mean() > 0.9 and (np.rint(sent[near] / step) == sent[near] / step).all()


def test_production_noise_is_gaussian():
    from scipy.stats import kstest

    draws = protect(np.zeros((2500, 4)), Noise(2.0, 1.0)).ravel()
    assert kstest(draws, "norm", args=(0, 2.0)).pvalue > 1e-8


@given(stn.arrays(np.float32, (2, 4), elements=st.floats(-10, 10, width=32)), deviations)
def test_no_two_calls_give_the_same_draw(features, sigma):
    setting = Noise(sigma, 1e3)
    random.seed(0)
    first = protect(features, setting)
    random.seed(0)  # the interpreter's own generator has no say
    np.random.seed(0)
    second = protect(features, setting)
    assert first.dtype == np.float32 and first.shape == features.shape
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0] - features[0], first[1] - features[1])


def test_production_noise_comes_from_the_operating_system(monkeypatch):
    made = []

    class Watched(random.SystemRandom):
        def __init__(self):
            made.append(self)
            super().__init__()

    monkeypatch.setattr(noise.random, "SystemRandom", Watched)
    protect(np.zeros((1, 4)), Noise(1.0, 1.0))
    assert len(made) == 1
    seeded = [protect(np.zeros((1, 4)), Noise(1.0, 1.0), random.Random(7)) for _ in range(2)]
    assert np.array_equal(*seeded) and len(made) == 1


@settings(deadline=None)
@given(epsilons, deltas, st.floats(1e-3, 1e3))
def test_epsilon_to_sigma_is_dp_accountings(epsilon, delta, radius):
    sigma = budget_sigma(epsilon, delta, radius)
    assert sigma == pytest.approx(2 * radius * dp_accounting.get_sigma_gaussian(epsilon, delta))
    assert spent_epsilon(Noise(sigma, radius), 1, delta) == pytest.approx(epsilon, rel=1e-4)
    # An independent accountant, which knows nothing of the analytic formula, finds no more than the budget spent.
    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(sigma / (2 * radius)))
    assert epsilon <= accountant.get_epsilon(delta) * 1.001


@settings(max_examples=25)
@given(st.floats(0.5, 8), st.integers(1, 50))
@pytest.mark.slow
def test_budgets_of_queries_add_up_as_dp_accounting_says(epsilon, queries):
    setting = Noise(budget_sigma(epsilon, 1e-5, 1.0), 1.0)
    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(setting.sigma / 2), queries)
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(event)
    assert spent_epsilon(setting, queries) == pytest.approx(accountant.get_epsilon(1e-5), rel=0.02)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (math.nan, 1e-5), (math.inf, 1e-5), (1, 0), (1, 1)]
)
def test_budgets_that_cannot_be(epsilon, delta):
    with pytest.raises(ConfigError, match="is not valid"):
        budget_sigma(epsilon, delta, 1.0)


@pytest.mark.parametrize("epsilon", ["4", True, None, np.True_, 4j])
def test_budgets_that_are_no_numbers(epsilon):
    with pytest.raises(ConfigError, match="not valid; give a finite number"):
        budget_sigma(epsilon, 1e-5, 1.0)


def test_a_budget_for_which_no_noise_is_enough():
    with pytest.raises(ConfigError, match="No finite noise"):
        budget_sigma(1e-320, 1e-320, 1e300)


@given(epsilons, deltas, st.floats(1e-3, 1e3))
@example(4, 1e-5, 0.3)  # whose deviation as a float kept 4.0000000000000036
def test_noise_for_a_budget_states_it_and_keeps_it(epsilon, delta, radius):
    noise = Gaussian.keeping(epsilon, delta, radius)
    assert noise.sigma == pytest.approx(budget_sigma(epsilon, delta, radius), rel=1e-9)
    assert (noise.drawn()["epsilon"], noise.drawn()["delta"]) == (epsilon, delta)
    assert epsilon * (1 - 1e-9) <= noise.epsilon(delta=delta) <= epsilon
    assert dataclasses.replace(noise, sigma=noise.sigma / 2).asked is None  # other noise, another budget


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), (-1, 1), (math.nan, 1), (1, math.inf)])
def test_noise_that_protects_nothing_cannot_be_made(wrong):
    with pytest.raises(ConfigError, match="is not valid"):
        Noise(*wrong)
    with pytest.raises(ConfigError, match="is not valid"):
        dataclasses.replace(Noise(1.0, 1.0), **dict(zip(("sigma", "clip"), wrong, strict=True)))
    with pytest.raises(AttributeError):
        Noise(1.0, 1.0).sigma = 1e-9


def test_the_mechanism_sends_and_says_its_budget():
    mechanism = Gaussian(2.0, 1.5)
    sent = [mechanism.send(np.ones((2, 4)), random.Random(7)), protect(np.ones((2, 4)), mechanism, random.Random(7))]
    assert np.array_equal(*sent)
    assert mechanism.epsilon(9) == spent_epsilon(mechanism, 9) == (mechanism.cost * 9).epsilon()
    assert mechanism.cost.mu_squared == pytest.approx(1.5**2) and mechanism.cost.pure == 0
    assert mechanism.describe() == {"kind": "gaussian", "sigma": 2.0, "clip": 1.5}


def test_the_former_module_warns_and_forwards():
    sys.modules.pop("privzoo.edge.noise", None)
    with pytest.warns(DeprecationWarning, match=r"import privzoo\.mechanisms\.gaussian instead"):
        former = importlib.import_module("privzoo.edge.noise")
    for name in former.__all__:
        assert getattr(former, name) is getattr(noise, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    JSON | st.fixed_dictionaries({"kind": st.just("gaussian"), "sigma": JSON, "clip": JSON}, optional={"budgets": JSON})
)
def test_a_manifest_that_cannot_be_kept_is_refused(entry):
    try:
        read = noise.from_manifest(entry, "it")
    except ConfigError as error:
        assert "needs noise" in str(error)
    else:
        assert all(0 < x < math.inf for x in (read.sigma, read.clip))


def test_the_manifest_states_the_noise():
    entry = noise.to_manifest(Noise(1.0, 1.5))
    assert noise.from_manifest(entry, "it") == Noise(1.0, 1.5)
    assert entry["epsilon"] == pytest.approx(spent_epsilon(Noise(1.0, 1.5), 1))
    assert list(entry["budgets"]) == ["1", "2", "4", "8", "16"]
