"""Randomized response and permanent answers: exact probabilities, fair draws, the bound, nothing shared."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import runpy
import stat
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.permanent import PermanentResponse, read_secret
from privzoo.mechanisms.randomized_response import (
    LEAST_EPSILON,
    MOST_EPSILON,
    RandomizedResponse,
    exponential,
    uniform,
)

ROOT = Path(__file__).resolve().parents[2]
SIZES, BUDGETS = st.integers(2, 256), st.floats(LEAST_EPSILON, MOST_EPSILON)
SECRET = bytes(range(32))


@given(SIZES, BUDGETS)
def test_probabilities_sum_to_one_and_keep_the_budget(k, epsilon):
    response = RandomizedResponse(k, epsilon)
    row = [response.density(sent, 0) for sent in range(k)]
    assert sum(row) == 1
    assert max(row) / min(row) == response.ratio
    assert 1 < response.ratio <= exponential(epsilon)
    assert math.log(response.ratio) > epsilon - max(1e-3, 0.01 * epsilon)


@given(st.floats(0, MOST_EPSILON))
def test_exponential_is_a_close_bound_from_below(epsilon):
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        exact = Decimal(epsilon).exp()
        low = exponential(epsilon)
        found = Decimal(low.numerator) / Decimal(low.denominator)
        assert exact * (1 - Decimal(2) ** -64) - Decimal("1e-45") <= found <= exact + Decimal("1e-45")


@given(SIZES, BUDGETS, st.data())
def test_any_symbols_in_valid_symbols_out(k, epsilon, data):
    symbols = data.draw(st.lists(st.integers(0, k - 1), max_size=20))
    sent = RandomizedResponse(k, epsilon).send(symbols)
    assert sent.dtype == np.uint8 and sent.shape == (len(symbols),) and (sent < k).all()


@given(st.integers(1, 300))
@settings(max_examples=30)
def test_uniform_is_uniform_over_all_bytes(bound):
    """Every first draw in turn: each value comes equally often, and the rest is drawn again."""
    size = 1 if bound <= 256 else 2
    counts = np.zeros(bound, int)
    for first in range(256**size):
        tries = iter([first.to_bytes(size, "big"), bytes(size)])
        rejected = first >= 256**size // bound * bound
        value = uniform(bound, lambda count, tries=tries: next(tries))
        counts[value] += not rejected
    assert len(set(counts.tolist())) == 1


@pytest.mark.parametrize("k,epsilon", [(2, 1.0), (7, 2.0), (256, 4.0)])
def test_a_million_draws_are_those_of_the_stated_probabilities(k, epsilon):
    response, true = RandomizedResponse(k, epsilon), k // 3
    count = 1_000_000 if k == 2 else 200_000
    block = memoryview(os.urandom(16 * count))
    at = 0

    def source(size: int) -> bytes:
        nonlocal at
        at += size
        return bytes(block[at - size : at])

    sent = np.bincount([response.draw(true, source) for _ in range(count)], minlength=k)
    expected = np.array([float(response.density(s, true)) for s in range(k)]) * count
    assert chisquare(sent, expected).pvalue > 1e-6


def test_golden_draws_are_repeated_to_the_bit():
    made = runpy.run_path(str(ROOT / "tools" / "codes_golden.py"))["golden"]()
    assert json.loads((ROOT / "tests/golden/codes.json").read_text(encoding="utf-8")) == made


def _draws(send=None):
    drawn = RandomizedResponse(256, LEAST_EPSILON).send(np.zeros(64, int)).tobytes()
    return drawn if send is None else send.send(drawn)


def test_processes_and_threads_never_share_a_draw():
    _draws()  # whatever state there might be exists before the fork
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(False) for _ in range(4)]
    children = [fork.Process(target=_draws, args=(end,)) for _, end in pipes]
    for child in children:
        child.start()
    found = [out.recv() for out, _ in pipes]
    for child in children:
        child.join()
    threads = [threading.Thread(target=lambda: found.append(_draws())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.append(_draws())
    assert len(found) == len(set(found)) == 13


@pytest.mark.parametrize("k", [1, 0, -1, 257, 2.0, True, None, "2"])
def test_sizes_that_cannot_be_are_refused(k):
    with pytest.raises(ConfigError, match="symbols from 2 to 256"):
        RandomizedResponse(k, 1.0)


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf, 21, 1e-9, True, None, "3"])
def test_budgets_that_cannot_be_are_refused(epsilon):
    with pytest.raises(ConfigError, match="not a budget for a code"):
        RandomizedResponse(2, epsilon)


@pytest.mark.parametrize("symbols", [[2], [-1], [0.5], [[0]], 1, ["a"], [None], [True]])
def test_symbols_of_another_code_are_refused(symbols):
    with pytest.raises(FeatureError, match="symbols"):
        RandomizedResponse(2, 1.0).send(symbols)


def test_costs_are_pure_and_add_up():
    response = RandomizedResponse(2, 3)
    assert response.cost.pure == 3.0 and response.cost.mu_squared == 0.0
    assert response.epsilon(10, delta=1e-9) == 30.0 and (response.cost * 10).epsilon(1e-9) == 30.0


@given(st.integers(2, 20), st.floats(0.01, 8), st.text(min_size=1), st.data())
def test_permanent_answers_repeat_in_any_order(k, epsilon, slot, data):
    if any(0xD800 <= ord(c) < 0xE000 for c in slot):
        return
    symbols = data.draw(st.lists(st.integers(0, k - 1), max_size=20))
    response = PermanentResponse(RandomizedResponse(k, epsilon), SECRET, slot, "book")
    sent = response.send(symbols)
    assert (sent < k).all()
    assert (response.send(symbols[::-1])[::-1] == sent).all()
    assert len(np.unique(np.stack([symbols, sent]), axis=1).T) == len(set(symbols))


def test_permanent_answers_over_slots_are_randomized_response():
    response = RandomizedResponse(3, 1.0)
    sent = [int(PermanentResponse(response, SECRET, f"slot {i}", "book").send([1])[0]) for i in range(20_000)]
    expected = [float(response.density(s, 1)) * len(sent) for s in range(3)]
    assert chisquare(np.bincount(sent, minlength=3), expected).pvalue > 1e-6


def test_a_hundred_permanent_answers_tell_no_more_than_one():
    """Exactly, over all tables of answers: the likelihood ratio of a constant sequence is one response's."""
    response, k = RandomizedResponse(3, 1.0), 3
    likelihood = {
        true: {answer: response.density(answer, true) for answer in range(k)} for true in range(k)
    }  # the hundred answers are one answer, repeated
    worst = max(likelihood[a][y] / likelihood[b][y] for a in range(k) for b in range(k) for y in range(k))
    assert worst == response.ratio
    permanent = PermanentResponse(response, SECRET, "anna", "book")
    assert len(set(permanent.send([2] * 100).tolist())) == 1
    assert response.cost.pure == 1.0


def test_other_slots_books_budgets_and_secrets_answer_independently():
    wanted = list(range(256))
    base = (RandomizedResponse(256, 0.01), SECRET, "slot", "book")
    others = [
        (RandomizedResponse(256, 0.011), *base[1:]),
        (base[0], bytes(32), *base[2:]),
        (*base[:2], "slo", "tbook"),  # lengths are told apart
        (*base[:3], "books"),
    ]
    answers = [PermanentResponse(*arguments).send(wanted).tolist() for arguments in (base, *others)]
    assert len({tuple(answer) for answer in answers}) == 5


def test_the_secret_is_made_once_and_for_the_owner_alone(tmp_path):
    path, found = tmp_path / "secret", []
    threads = [threading.Thread(target=lambda: found.append(read_secret(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1 and len(found[0]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_secrets_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "short").chmod(0o600)
    (tmp_path / "open").write_bytes(bytes(32))
    (tmp_path / "open").chmod(0o644)
    for path, words in (("short", "is not a secret"), ("open", "Others may read"), ("no/where", "cannot be used")):
        with pytest.raises(ConfigError, match=words):
            read_secret(tmp_path / path)
    for arguments in ((b"short", "a", "b"), (SECRET, "", "b"), (SECRET, "a", 1), (SECRET, "\ud800", "b")):
        with pytest.raises(ConfigError):
            PermanentResponse(RandomizedResponse(2, 1.0), *arguments)


def test_the_secret_is_not_shown():
    response = PermanentResponse(RandomizedResponse(2, 1.0), SECRET, "anna", "book")
    assert repr(SECRET) not in repr(response) and SECRET.hex() not in repr(response)


def test_probability_is_a_fraction_of_the_stated_denominator():
    assert (RandomizedResponse(7, 2.0).probability_same * 2**32).denominator == 1
    assert isinstance(RandomizedResponse(7, 2.0).density(0, 1), Fraction)
