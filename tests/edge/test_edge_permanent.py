"""Permanent answers on the device: drawn once in a slot and repeated, and counted once by the ledger."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from coded_fakes import exported
from export_fakes import NAME, chips
from export_fakes import exported as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from released_fakes import NOISY, heads

from privzoo.edge import AsyncClient, Client, Head
from privzoo.errors import BudgetError, ConfigError
from privzoo.mechanisms.ledger import Ledger
from privzoo.mechanisms.permanent import PermanentResponse, read_secret
from privzoo.mechanisms.randomized_response import RandomizedResponse

EPSILON = 0.5  # lies are frequent: an answer drawn anew would not repeat


@pytest.fixture
def secret(tmp_path):
    return tmp_path / "secret"


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledger.sqlite"


def head_of(secret, **options):
    return Head(exported()[0], epsilon=EPSILON, permanent=secret, **options)


def test_answers_repeat_in_their_slot_and_after_a_restart(secret):
    symbols = exported()[1]
    head = head_of(secret)
    assert head.permanent and not Head(exported()[0]).permanent
    first = head.features(chips(), slot="anna")
    assert first.shape == (len(chips()), 2) and first.dtype == np.float32 and (first[:, 1] == EPSILON).all()
    for again in (head, head_of(secret)):
        np.testing.assert_array_equal(again.features(chips(), slot="anna"), first)
        np.testing.assert_array_equal(again.features(chips()[::-1], slot="anna"), first[::-1])
    book = head.manifest["noise"]["codebook"]
    assert book and stat.S_IMODE(secret.stat().st_mode) == 0o600
    for symbol in (0, 1):  # equal symbols, equal answers
        assert len(set(first[symbols == symbol, 0])) == 1
    slots = np.array([head.features(chips()[:1], slot=f"slot {k}")[0, 0] for k in range(60)])
    assert 0 < (slots != symbols[0]).mean() < 0.8  # each slot is a draw of its own
    assert len({head_of(secret.with_name(f"{k}")).features(chips()[:1], slot="anna")[0, 0] for k in range(40)}) == 2


def test_they_are_the_mechanisms_own(secret):
    from privzoo.mechanisms import codebook

    head = head_of(secret)
    book = codebook.from_manifest(head.manifest["noise"]["codebook"], "head")
    own = PermanentResponse(RandomizedResponse(2, EPSILON), read_secret(secret), "anna", book.name)
    np.testing.assert_array_equal(head.features(chips(), slot="anna")[:, 0], own.send(exported()[1]))


def test_the_ledger_counts_each_symbol_once_in_a_slot(secret, ledger):
    symbols = exported()[1]
    one, other = chips()[symbols == 0][:1], chips()[symbols == 1][:1]
    head = head_of(secret, total_epsilon=4 * EPSILON, ledger=ledger, owner="anna")
    for _ in range(100):
        head.features(one, slot="Monday")
    assert head.spent_epsilon() == EPSILON and head.remaining() == 3 and head.queries == 100
    head.features(np.concatenate([other, one, other]), slot="Monday")
    assert head.spent_epsilon() == 2 * EPSILON  # k epsilon: a slot's most
    again = head_of(secret, total_epsilon=4 * EPSILON, ledger=ledger, owner="anna")
    again.features(chips(), slot="Monday")
    assert again.spent_epsilon() == 2 * EPSILON
    again.features(chips(), slot="Tuesday")
    assert again.spent_epsilon() == 4 * EPSILON and again.remaining() == 0
    again.features(chips(), slot="Monday")  # spent, and repeated all the same
    with pytest.raises(BudgetError):
        again.features(one, slot="Wednesday")
    assert again.spent_epsilon() == 4 * EPSILON
    (entry,) = Ledger(ledger).entries()
    assert entry.queries == 4 and entry.cost.pure == 4 * EPSILON


asked = st.lists(st.tuples(st.sampled_from(["anna", "ben"]), st.lists(st.integers(0, 4), max_size=4)), max_size=12)


@settings(max_examples=20)
@given(asked)
def test_a_total_is_epsilon_for_each_different_symbol_of_each_slot(tmp_path_factory, asked):
    ledger, response = Ledger(tmp_path_factory.mktemp("ledger") / "l"), RandomizedResponse(5, EPSILON)
    for slot, symbols in asked:
        permanent = PermanentResponse(response, bytes(32), slot, "book")
        ledger.spend(response, len(symbols), tags=permanent.tags(symbols))
    different = {(slot, symbol) for slot, symbols in asked for symbol in symbols}
    assert ledger.spent() == pytest.approx(EPSILON * len(different))
    slots = {slot: {symbol for name, symbol in different if name == slot} for slot, _ in asked}
    bound = sum((response.cost * min(len(symbols), response.k)).pure for symbols in slots.values())
    assert ledger.spent() == pytest.approx(bound)  # what the mechanism's proof says


def test_a_refused_batch_leaves_no_answer_behind(secret, ledger):
    symbols = exported()[1]
    head = head_of(secret, total_epsilon=EPSILON, ledger=ledger)
    with pytest.raises(BudgetError, match=r"Sending 2 more .*\(1 more would fit\)"):
        head.features(chips(), slot="s")
    assert head.spent_epsilon() == 0 and head.queries == 0
    head.features(chips()[symbols == 1][:3], slot="s")
    with pytest.raises(BudgetError):
        head.features(chips()[symbols == 0][:1], slot="s")
    assert head.spent_epsilon() == EPSILON


def test_other_owners_secrets_and_budgets_cost_anew(secret, ledger):
    symbols = exported()[1]
    one = chips()[symbols == 0][:1]
    for options in ({}, {"owner": "ben"}, {"permanent": secret.with_name("other")}, {"epsilon": 1.0}):
        opened = Head(exported()[0], **{"epsilon": EPSILON, "permanent": secret, "ledger": ledger, **options})
        opened.features(one, slot="s")
        opened.features(one, slot="s")
    assert Ledger(ledger).spent() == 2 * EPSILON + 1.0 and Ledger(ledger).spent("ben") == EPSILON


def test_the_ledger_names_neither_slot_nor_symbol(secret, ledger):
    head = head_of(secret, ledger=ledger)
    head.features(chips(), slot="a slot that nobody else has")
    content = ledger.read_bytes()
    assert b"a slot that" not in content and read_secret(secret) not in content
    with closing(sqlite3.connect(ledger)) as base:
        tags = [tag for (tag,) in base.execute("SELECT tag FROM answered")]
    assert len(tags) == 2 and {len(tag) for tag in tags} == {16}


def test_threads_pay_once(secret, ledger):
    head = head_of(secret, ledger=Ledger(ledger, timeout=60), total_epsilon=2 * EPSILON)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: head.features(chips(), slot="s").tobytes(), range(12)))
    assert len(set(found)) == 1 and head.spent_epsilon() == 2 * EPSILON


def test_without_a_ledger_what_was_drawn_is_counted(secret):
    head = head_of(secret)
    for slot in ("a", "a", "b"):
        head.features(chips(), slot=slot)
    assert head.queries == 3 * len(chips()) and head.spent_epsilon() == 4 * EPSILON


def test_a_slot_needs_permanent_answers_and_they_need_one(secret, ledger):
    path = exported()[0]
    head = head_of(secret, ledger=ledger)
    with pytest.raises(ConfigError, match="give slot=NAME"):
        head.features(chips())
    for slot in ("", 3, b"anna", "\ud800", ["a"]):
        with pytest.raises(ConfigError, match="slot=.* is invalid; give a non-empty string"):
            head.features(chips(), slot=slot)
    with pytest.raises(ConfigError, match="give permanent=FILE"):
        Head(path).features(chips(), slot="anna")
    assert head.spent_epsilon() == 0 == head.queries
    for uncoded in (plain("float32"), heads() / f"{NOISY}_int8.tflite"):
        with pytest.raises(ConfigError, match="has no code"):
            Head(uncoded, permanent=secret.with_name("none"))
    assert not secret.with_name("none").exists()
    for odd in (3, "", "a\0b", secret.parent):
        with pytest.raises(ConfigError):
            Head(path, permanent=odd)
    with pytest.raises(AttributeError):
        head.permanent = False


@pytest.mark.server
def test_clients_pass_slots_on(secret, ledger, tmp_path):
    from privzoo.serving import Server

    images, base = list(chips()), exported()[2]
    with Server(base / NAME, NAME) as server:
        head = head_of(secret, ledger=ledger, total_epsilon=2 * EPSILON)
        with Client(head, server.url, timeout=60, queue=tmp_path / "queue") as client:
            first = client.predict(images * 3, face="given", slot="s")  # more than one request, and than the total
            again = client.predict(images, face="given", slot="s")
            assert [a.probabilities for a in again] == [a.probabilities for a in first[: len(images)]]
            tickets = client.later(images, face="given", slot="s")
            assert client.later(images, face="given", slot="s") == tickets and len(client.queue) == len(images)
            assert [a.probabilities for _, a in client.send()] == [a.probabilities for a in again]
            with client.stream(images[:1], face="given", slot="s") as answers:
                assert next(answers).probabilities == first[0].probabilities
            for ask in (client.predict, client.later):
                with pytest.raises(ConfigError, match="give slot=NAME"):
                    ask(images, face="given")
                with pytest.raises(BudgetError):
                    ask(images, face="given", slot="another")

        async def ask():
            async with AsyncClient(head, server.url, timeout=60) as client:
                return await client.predict(images, face="given", slot="s")

        assert [a.probabilities for a in asyncio.run(ask())] == [a.probabilities for a in again]
        assert head.spent_epsilon() == 2 * EPSILON
