"""Coded models from end to end: head, one byte on the wire, `privzoo serve`, and answers that know their budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coded_fakes import JOINT, exported
from export_fakes import NAME, SIZE, chips, manifest_of

from privzoo.edge import Client, Head, grpc_messages, rest
from privzoo.errors import BudgetError, ConfigError
from privzoo.mechanisms.codebook import levels
from privzoo.serving import Server


def test_a_head_sends_symbols_under_its_budget_and_nothing_else():
    path, symbols, _ = exported()
    head = Head(path, epsilon=20)
    sent = head.features(chips())
    assert sent.shape == (len(symbols), 2) == (len(symbols), *head.feature_shape) and sent.dtype == np.float32
    assert (sent[:, 0] == symbols).all() and set(symbols) == {0, 1}  # a lie has a chance of 2e-9
    assert (sent[:, 1] == 20).all() and Head(path).noise.budget == 3.0
    flips = np.concatenate([Head(path, epsilon=0.01).features(chips())[:, 0] != symbols for _ in range(20)])
    assert 0.3 < flips.mean() < 0.7


def test_a_ledger_adds_pure_budgets(tmp_path):
    path, *_ = exported()
    head = Head(path, epsilon=2, total_epsilon=7, ledger=tmp_path / "ledger.sqlite")
    head.features(chips()[:3])
    assert head.spent_epsilon() == 6.0 and head.remaining() == 0
    with pytest.raises(BudgetError, match="nothing was given out"):
        head.features(chips()[:1])


@pytest.mark.parametrize("budget", [{}, {"epsilon": 3}])
def test_a_delta_is_refused_rather_than_ignored(budget):
    with pytest.raises(
        ConfigError, match=r"^delta=1e-05 is not part of the budget of the head .* at delta 0; leave it out"
    ):
        Head(exported()[0], delta=1e-5, **budget)


@pytest.mark.parametrize("epsilon", [0, -1, 21, math.nan, "3"])
def test_budgets_that_cannot_be_are_refused(epsilon):
    with pytest.raises(ConfigError, match="not a budget for a code"):
        Head(exported()[0], epsilon=epsilon)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.slow
def test_one_tail_answers_every_budget(protocol, tmp_path):
    path, symbols, base = exported()
    prior = JOINT.sum(1)
    with Server(base / NAME, NAME) as server:
        url = server.url if protocol == "rest" else f"grpc://{server.grpc}"
        for epsilon in (20.0, 0.5):
            with Client(Head(path, epsilon=epsilon), url, timeout=60, queue=tmp_path / f"{epsilon}") as client:
                answers = client.predict(chips(), face="given")
                client.later(chips()[:2], face="given")
                answers += [answer for _, answer in client.send()]
            same = 1 / (1 + math.exp(-epsilon))
            rows = ((2 * same - 1) * JOINT + (1 - same) * prior[:, None]).T
            rows = rows / rows.sum(1, keepdims=True)
            found = np.array([list(answer.probabilities.values()) for answer in answers])
            distances = np.abs(found[:, None] - rows[None]).max(2)
            assert distances.min(1).max() < 1e-5  # each is one of the two answers of this budget
            if epsilon == 20:
                assert (distances.argmin(1)[: len(symbols)] == symbols).all()


def test_a_symbol_is_one_byte():
    sent = np.array([[1, 3.0], [255, 3.0]], np.float32)
    one, two = (len(grpc_messages.encode(sent[:n], "m", None, "s", "symbol", "epsilon")) for n in (1, 2))
    assert two - one == 1 + 4  # the symbol, and the budget that it was sent under
    assert rest.encode(sent[1:], "s", ("symbol", "epsilon")).endswith(b'"instances":[{"symbol":255,"epsilon":3.0}]}')


def test_a_code_that_does_not_fit_its_head_is_refused():
    import keras

    from privzoo.embeddings import coded
    from privzoo.export import manifests

    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="average")(image)
    head, book = keras.Model(image, x), levels(np.ones(2), 0.0, np.zeros(1))
    with pytest.raises(ConfigError, match="does not fit a head"):
        manifest_of(head, coded.tail_of(JOINT), code=manifests.Code(book, 3.0))
    with pytest.raises(ConfigError, match="not a budget"):
        manifests.Code(book, 0.0)
