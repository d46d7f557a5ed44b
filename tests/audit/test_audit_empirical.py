"""The empirical lower bound on epsilon: true mechanisms pass, faulty programs of them are caught."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from privzoo.audit.attacks import empirical
from privzoo.evaluation import intervals
from privzoo.mechanisms import gaussian
from privzoo.mechanisms.gaussian import Gaussian, budget_sigma
from privzoo.mechanisms.randomized_response import RandomizedResponse


@pytest.mark.parametrize("k, epsilon", [(2, 1.0), (2, 3.0), (8, 2.0)])
def test_a_code_keeps_its_epsilon_and_comes_close_to_it(k, epsilon):
    found = empirical.measure(RandomizedResponse(k, epsilon), draws=60_000)
    assert found.kept and found.delta == 0
    assert found.bound > 0.85 * epsilon


@pytest.mark.parametrize("dimensions", [1, 3])
def test_gaussian_noise_keeps_its_epsilon(dimensions):
    noise = Gaussian(budget_sigma(1.0, 1e-5, 0.3), 0.3)
    found = empirical.measure(noise, draws=40_000, dimensions=dimensions)
    assert found.kept and math.isclose(found.stated, 1.0, rel_tol=1e-6)
    assert found.bound > 0.2


def test_a_program_that_lies_too_seldom_is_caught(monkeypatch):
    """As one that rounds the chance of the truth up, or forgets that a lie may be drawn as the truth."""
    response = RandomizedResponse(2, 2.0)
    object.__setattr__(response, "_lie", int(response._lie * 0.8))
    assert not empirical.measure(response, draws=60_000).kept


def test_a_program_that_does_not_clip_is_caught(monkeypatch):
    noise = Gaussian(budget_sigma(1.0, 1e-5, 0.3), 0.3)
    monkeypatch.setattr(gaussian, "clip", lambda features, radius: 12 * np.asarray(features))
    assert not empirical.measure(noise, draws=20_000).kept


def test_a_source_that_repeats_itself_is_caught(monkeypatch):
    """Noise from a list of 50 values, as of a generator that is seeded anew for each request."""
    kept = [random.Random(1).gauss(0, 1) for _ in range(50)]

    class Stuck(random.SystemRandom):
        def normalvariate(self, mu=0.0, sigma=1.0):
            return mu + sigma * self.choice(kept)

    monkeypatch.setattr(random, "SystemRandom", Stuck)
    noise = Gaussian(budget_sigma(0.5, 1e-5, 0.3), 0.3)
    assert not empirical.measure(noise, draws=40_000).kept


def test_draws_that_show_nothing_give_zero():
    rng = np.random.default_rng(1)
    assert empirical.lower_bound(rng.normal(size=2000), rng.normal(size=2000))[0] < 0.2
    assert empirical.lower_bound(np.zeros(10), np.zeros(10)) == (0.0, "none")


def test_the_bound_is_seldom_wrong():
    """Of many repetitions with the mechanism at its budget, at most the stated share may exceed it."""
    rng, epsilon = np.random.default_rng(2), 1.0
    same = math.exp(epsilon) / (1 + math.exp(epsilon))
    wrong = 0
    for _ in range(300):
        first = np.where(rng.random(400) < same, 1, -1)
        second = np.where(rng.random(400) < same, -1, 1)
        wrong += empirical.lower_bound(first, second)[0] > epsilon
    assert wrong <= 0.05 * 300


def test_limits_are_those_of_clopper_and_pearson():
    from scipy.stats import binomtest

    for count, of in ((0, 10), (3, 10), (10, 10), (480, 1000)):
        exact = binomtest(count, of).proportion_ci(0.95, "exact")
        assert intervals.clopper_pearson(count, of, 0.025) == pytest.approx((exact.low, exact.high))


def test_the_section_says_what_was_kept_and_what_was_broken(tmp_path):
    from drawing import report

    row = {"delta": 0.0, "event": "e", "draws": 1000, "confidence": 0.95}
    good, bad = ({**row, "mechanism": name, "stated": 1.0, "bound": bound} for name, bound in (("a", 0.9), ("b", 1.1)))
    facts = {"date": "2026-11-27", "git": "abc", "command": "tools/draws.py"}
    kept, page = tmp_path / "draws.json", tmp_path / "RESULTS.md"
    for rows, said in (([good], "refute no stated epsilon"), ([good, bad], "refute the stated epsilon of b.")):
        kept.write_text(json.dumps({**facts, "rows": rows}))
        report.write(page, kept)
        assert said in page.read_text()
    assert "| b | 0 | 1 | 1.1 | **refuted** |" in page.read_text()
    assert "| a | 0 | 1 | 0.9 | not refuted |" in page.read_text()
    assert (tmp_path / "docs/results/draws.csv").read_text().count("\n") == 3


def test_larger_budgets_get_their_bound_in_a_sentence():
    from drawing import report

    row = {"mechanism": "a", "delta": 0.0, "draws": 1000, "confidence": 0.95}
    small, large = {**row, "stated": 1.0, "bound": 0.9}, {**row, "stated": 40.0, "bound": 10.83}
    facts = {"date": "2026-11-27", "git": "abc", "command": "tools/draws.py"}
    text = report.text({**facts, "rows": [small, large]}, "csv")
    assert "1 larger budget cannot be tested with so few draws; its bound is at least 10.8." in text
    text = report.text({**facts, "rows": [small, large, {**large, "bound": 11.2}]}, "csv")
    assert "2 larger budgets cannot be tested with so few draws; their bounds are at least 10.8." in text
