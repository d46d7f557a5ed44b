"""Attacks on codes: what arrives of them, Bayes' rule, and the bound that no attacker may pass."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.audit import cells, limits, model_audit
from privzoo.audit.attacks import attributes, identity, symbols
from privzoo.audit.attacks.scored import scored
from privzoo.errors import ConfigError
from privzoo.evaluation.drawn import Coded, arrived, averaged
from privzoo.mechanisms.codebook import levels
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.randomized_response import RandomizedResponse


def code(k: int = 2, epsilon: float = 3.0, **options) -> Coded:
    """Levels of the first of two numbers."""
    return Coded(levels(np.array([1.0, 0.0]), 0.0, np.arange(1.0, k)), RandomizedResponse(k, epsilon), **options)


def faces(symbol: np.ndarray) -> np.ndarray:
    """Features that have these symbols."""
    return np.stack([symbol + 0.5, np.zeros(len(symbol))], axis=1)


def population(people: int, photographs: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and people: most photographs of a person have that person's symbol."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), photographs)
    usual = rng.integers(k, size=people)[labels]
    return faces(np.where(rng.random(len(labels)) < 0.9, usual, rng.integers(k, size=len(labels)))), labels


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


@given(st.integers(2, 6), st.integers(1, 8), st.floats(0.01, 8))
@settings(max_examples=40)
def test_outcomes_are_all_and_their_chances_are_the_draws(k, queries, epsilon):
    own = code(k, epsilon, queries=queries)
    shares, chances = own.outcomes()
    assert shares.shape == (comb(queries + k - 1, k - 1), k) and chances.shape == (k, len(shares))
    assert np.allclose(shares.sum(1), 1) and len({tuple(row) for row in np.rint(shares * queries)}) == len(shares)
    assert np.allclose(chances.sum(1), 1)
    # The mean share of a symbol is its chance in one draw.
    assert np.allclose(chances @ shares, own.chances(), atol=1e-6)


def test_outcomes_are_left_to_draws_where_they_are_too_many():
    assert code(8, queries=100).outcomes() is None
    judged = scored(faces(np.arange(8)), code(8, queries=100), np.random.default_rng(0))
    assert judged.chances is None and judged.rows.shape == (8, 8)


def test_counts_arrive_as_shares():
    own = averaged(code(4, 2.0), 50)
    sent = arrived(faces(np.repeat([1], 4000)), own, np.random.default_rng(0))
    assert sent.dtype == np.float32 and np.allclose(sent.sum(1), 1, atol=1e-6)
    assert np.allclose(sent.mean(0), own.chances()[1], atol=0.005)
    assert np.array_equal(np.rint(sent * 50), np.round(sent * 50, 3))


def test_permanent_answers_are_one_draw_whatever_is_asked():
    own = averaged(code(2, 1.0, permanent=True), 100)
    sent = arrived(faces(np.repeat([0], 2000)), own, np.random.default_rng(0))
    assert set(np.unique(sent)) == {0.0, 1.0} and own.draws == 1
    assert abs(sent[:, 0].mean() - float(own.response.probability_same)) < 0.03


def test_mean_of_noise_is_as_it_was():
    assert averaged(Noise(8.0, 8.0), 100) == Noise(0.8, 8.0) and averaged(None, 10) is None


@given(st.integers(2, 5), st.floats(0.1, 6), st.integers(2, 12), st.integers(0, 1000))
@settings(max_examples=25)
def test_no_attacker_passes_the_bound(k, epsilon, people, seed):
    """Whatever people and book: figures of one query are expectations, and luck is no excuse."""
    (train, known), (test, truth) = (population(people, 4, k, seed + i) for i in (0, 1))
    own = code(k, epsilon)
    options = {"noise": own, "seeds": (seed,), "train_ids": ids("a", len(train)), "test_ids": ids("b", len(test))}
    usual = identity.attack(train, known, test, truth, attackers=("lda",), **options)
    bayes = {symbols.NAME: symbols.attacker(own, train)}
    best = identity.attack(train, known, test, truth, attackers=bayes, prepared=False, **options)
    most = limits.top1(own, 1, 2, people) or 1.0
    for figure in (usual.figure("lda"), best.figure(symbols.NAME)):
        assert figure.value <= most + 1e-9


def test_bayes_reaches_the_bound_where_people_are_their_symbols():
    labels = np.repeat(np.arange(4), 5)
    own, rows = code(4, 2.0), faces(labels)
    found = identity.attack(
        rows,
        labels,
        rows,
        labels,
        noise=own,
        seeds=(1,),
        attackers={symbols.NAME: symbols.attacker(own, rows)},
        prepared=False,
        train_ids=ids("a", 20),
        test_ids=ids("b", 20),
    )
    assert found.figure(symbols.NAME).value == pytest.approx(limits.top1(own, 1, 2, 4), abs=1e-9)


def test_averaging_finds_what_one_answer_hides_and_permanent_answers_do_not():
    """The leak is there, and attackers find it: two people with two symbols, at a budget that says little."""
    labels = np.repeat(np.arange(2), 10)
    rows = faces(labels)
    value = {}
    for name, own, queries in (
        ("one", code(2, 0.5), 1),
        ("many", code(2, 0.5), 100),
        ("permanent", code(2, 0.5, permanent=True), 100),
    ):
        left = averaged(own, queries)
        options = {"seeds": (1,), "train_ids": ids("a", 20), "test_ids": ids("b", 20), "noise": own, "queries": queries}
        fit = {symbols.NAME: symbols.attacker(left, rows)}
        value[name] = identity.attack(rows, labels, rows, labels, attackers=fit, prepared=False, **options)
        value[name] = value[name].figure(symbols.NAME).value
    assert value["one"] == pytest.approx(value["permanent"]) == pytest.approx(0.622, abs=0.01)
    assert value["many"] > 0.95


def test_symbols_that_say_nothing_give_chance():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 6)
    train, test = faces(rng.integers(2, size=120)), faces(rng.integers(2, size=120))
    options = {"noise": code(), "seeds": (1, 2), "train_ids": ids("a", 120), "test_ids": ids("b", 120)}
    found = identity.attack(train, labels, test, labels, attackers=("lda", "knn"), **options)
    assert all(abs(found.figure(name).value - 0.05) < 0.03 for name in ("lda", "knn"))


def test_errors_of_numbers_are_expectations():
    rng = np.random.default_rng(0)
    symbol = rng.integers(2, size=400)
    train, values = faces(symbol), symbol * 40.0 + 20
    found = attributes.regress(
        train, values, train, values, noise=code(2, 3.0), seeds=(1,), attackers=("chance", "ridge")
    )
    assert found["ridge"].mean() < found["chance"].mean()
    same = float(code(2, 3.0).response.probability_same)
    assert found["ridge"].mean() == pytest.approx(2 * 40 * same * (1 - same), rel=0.2)


def test_mechanisms_survive_as_plain_data():
    for noise in (None, Noise(0.5, 2.0), code(3, 1.5), code(3, 1.5, permanent=True)):
        assert limits.mechanism(limits.described(noise)) == noise
    assert limits.entry(code(3, 1.5), 1.5) == {
        "kind": "randomized_response",
        "k": 3,
        "epsilon": 1.5,
        "permanent": False,
    }


def test_a_figure_above_its_bound_is_a_defect():
    figure = {
        **{"attack": "identity", "metric": "top-1", "attacker": "lda", "variant": "float head"},
        **{"noise": {"epsilon": 3.0}, "queries": 1, "value": 0.03, "low": 0.01, "high": 0.05},
    }
    exact, drawn = limits.judged(figure, 0.0191, exact=True), limits.judged(figure, 0.0191)
    assert exact["defect"] and "defect" not in drawn and drawn["bound"] == 0.0191
    assert "defect" in limits.judged({**figure, "low": 0.02}, 0.0191)
    assert limits.judged(figure, None)["bound"] is None
    (words,) = limits.defects([exact, drawn])
    assert "3.00% where 1.91%" in words and "\n" not in words


def test_bounds_are_the_mechanisms():
    assert limits.top1(code(2, 3.0), 1, 4, 100) == pytest.approx(0.0191, abs=1e-4)
    assert limits.top1(code(2, 3.0, permanent=True), 100, 4, 100) == limits.top1(code(2, 3.0), 1, 4, 100)
    assert limits.top1(code(2, 3.0), 100, 4, 100) is None and limits.top1(None, 1, 4, 100) is None
    assert limits.true_accepts(None, 1, 4) == {1e-2: None, 1e-3: None}
    assert limits.true_accepts(code(2, 3.0), 1, 4)[1e-2] == pytest.approx(0.01 * np.exp(3), rel=1e-3)
    with pytest.raises(ConfigError):
        limits.of(code(), 0, 4)


def test_merged_documents_keep_what_was_not_run():
    def document(date: str, *attacks: tuple[str, str]) -> dict:
        figures = [{"attack": attack, "sha256": sha} for attack, sha in attacks]
        return {"date": date, "git": "g", "command": "c", "figures": figures}

    earlier = document("1", ("identity", "a"), ("reconstruction", "a"), ("verification", "a"), ("rank", "old weights"))
    found = model_audit.merged(document("2", ("verification", "a")), earlier, ["pairs"])
    assert [(f["attack"], f.get("date")) for f in found["figures"]] == [
        *(("identity", "1"), ("reconstruction", "1"), ("verification", None))
    ]
    assert model_audit.merged(found, None, ["pairs"]) == found


def test_merged_documents_keep_heads_that_were_not_looked_at():
    def document(date: str, *attacks: tuple[str, str, str]) -> dict:
        figures = [{"attack": attack, "variant": head, "sha256": sha} for attack, head, sha in attacks]
        return {"date": date, "git": "g", "command": "c", "figures": figures}

    def kept(heads: dict[str, str], ran: str, *attacks: tuple[str, str, str]) -> list[tuple[str, str]]:
        found = model_audit.merged(document("2", *attacks), earlier, [ran], heads)["figures"]
        return [(f["attack"], f["variant"]) for f in found if "date" in f]

    earlier = document("1", ("identity", "float", "a"), ("identity", "int8", "b"), ("verification", "float", "a"))
    people = [("identity", "float"), ("identity", "int8")]
    # Pairs are attacked on the float head alone: what is known of the exported one's people stays.
    assert kept({"float": "a"}, "pairs", ("verification", "float", "a")) == people
    assert kept({"float": "a", "int8": "b"}, "pairs", ("verification", "float", "a")) == people
    assert kept({"float": "a", "int8": "new"}, "pairs", ("verification", "float", "a")) == people[:1]
    assert kept({"float": "new"}, "pairs", ("verification", "float", "new")) == []
    again = kept({"float": "a"}, "people", ("identity", "float", "a"))
    assert again == [("identity", "int8"), ("verification", "float")]
    assert kept({"int8": "b"}, "people", ("identity", "int8", "b")) == [
        ("identity", "float"),
        ("verification", "float"),
    ]


def test_plans_have_no_further_budgets_unless_asked():
    assert cells.Plan(None).epsilons == ()
