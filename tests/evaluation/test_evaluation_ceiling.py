"""The ceiling of private accuracy: closed form, linear programme, and mechanisms that must not exceed it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.errors import ConfigError
from privzoo.evaluation.ceiling import best, binary, ceiling, programme, reached
from privzoo.mechanisms.randomized_response import RandomizedResponse

BUDGETS = st.floats(0.05, 10)


def tables(classes: int, findings: int):
    row = st.lists(st.integers(0, 1000), min_size=findings, max_size=findings)
    table = st.lists(row, min_size=classes, max_size=classes).map(np.array)
    return table.filter(lambda t: t.sum() > 0)


@given(tables(2, 2), BUDGETS)
@settings(max_examples=60, deadline=None)
def test_closed_form_is_the_linear_programme(confusion, epsilon):
    found = [reached(confusion, way(confusion, epsilon)) for way in (binary, programme)]
    assert found[0] == pytest.approx(found[1], abs=1e-7)


@given(st.one_of(tables(2, 2), tables(3, 5)), BUDGETS)
@settings(max_examples=40, deadline=None)
def test_what_reaches_it_keeps_the_budget(confusion, epsilon):
    mechanism = best(confusion, epsilon)
    assert mechanism.shape == confusion.T.shape and np.allclose(mechanism.sum(1), 1, atol=1e-7)
    assert (mechanism.max(0) <= math.exp(epsilon) * mechanism.min(0) + 1e-6).all()
    assert reached(confusion, mechanism) == ceiling(confusion, epsilon)


@given(tables(4, 4), BUDGETS)
@settings(max_examples=40, deadline=None)
def test_no_response_on_the_label_beats_it_and_it_beats_the_majority(confusion, epsilon):
    joint = confusion / confusion.sum()
    most = ceiling(confusion, epsilon)
    response = RandomizedResponse(4, epsilon)
    same = float(response.probability_same)
    arrived = joint * same + (joint.sum(1, keepdims=True) - joint) * (1 - same) / 3
    assert arrived.max(0).sum() <= most + 1e-7
    assert joint.sum(1).max() - 1e-7 <= most <= joint.max(0).sum() + 1e-7


@given(tables(3, 5))
@settings(max_examples=20, deadline=None)
def test_it_grows_with_the_budget_to_what_the_network_finds(confusion):
    found = [ceiling(confusion, epsilon) for epsilon in (0.1, 1, 3, 9, 30)]
    assert all(a <= b + 1e-7 for a, b in zip(found, found[1:], strict=False))
    assert found[-1] == pytest.approx(confusion.max(0).sum() / confusion.sum(), abs=1e-6)


def test_what_cannot_be_is_refused():
    for confusion in ([[0, 0], [0, 0]], [1, 2], [[1, -1], [1, 1]], [[math.nan, 1], [1, 1]]):
        with pytest.raises(ConfigError, match="confusion"):
            ceiling(np.array(confusion), 1.0)
    for epsilon in (0, -1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="not a budget"):
            ceiling(np.eye(2), epsilon)
