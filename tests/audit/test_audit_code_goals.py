"""The goals of codes: each is judged by the worse end of what was stored, and none is left out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import privzoo
from privzoo.audit.report import code_goals
from privzoo.card import IDENTITY_ATTACK
from privzoo.evaluation import bars
from privzoo.evaluation.bars import Row
from privzoo.evaluation.intervals import Estimate, exact
from privzoo.measurement import Measurement

ROOT = Path(__file__).resolve().parents[2]
GENDER, EMOTION = "vgg16_gender_coded_conv5_3", "vgg_s_emotion_coded_conv5"


def figure(epsilon: float, accuracy: float, share: float, half: float = 0.001, symbols: int = 2) -> dict:
    return {
        **{"epsilon": epsilon, "symbols": symbols, "faces": 13225, "people": 5744, "method": "Wilson"},
        **{"accuracy": accuracy, "low": accuracy - half, "high": accuracy + half},
        **{"share_of_ceiling": share, "share_low": share - half, "share_high": share + half},
    }


def attack(variant: str, value: float, metric: str = IDENTITY_ATTACK) -> Measurement:
    ends = {"value": value, "low": value - 0.0005, "high": value + 0.0005}
    facts = {"count": 816, "seeds": (1,), "date": "2026-11-27", "git": "abc", "command": "audit", "sha256": "0"}
    return Measurement(metric, variant, "lfw100-test", **ends, **facts)


def goals(figures: list[dict], measured: tuple[Measurement, ...] = (), name: str = GENDER, **found) -> dict[str, Row]:
    card = dataclasses.replace(privzoo.show(name), measurements=measured)
    return {goal.worst.what: goal.worst for goal in code_goals.goals_of({"figures": figures, **found}, card)}


def find(rows: dict[str, Row], *words: str) -> Row:
    (row,) = [row for what, row in rows.items() if all(word in what for word in words)]
    return row


def test_accuracy_is_judged_by_the_worse_end():
    found = [figure(2.0, 0.8415, 1.0), figure(3.0, 0.9055, 0.9895), figure(4.0, 0.9, 0.98)]
    rows = goals(found)
    verdicts = [find(rows, "accuracy", f"epsilon {e},").verdict for e in (2, 3, 4, 6)]
    assert verdicts == [bars.MET, bars.NOT_SHOWN, bars.NOT_MET, bars.NOT_MEASURED]
    row = find(rows, "share of the ceiling")
    assert row.verdict == bars.NOT_MET and "epsilon 4; 1 of 3 met" in row.what


def test_any_attacker_is_bounded_by_proof_and_the_measured_ones_stand_beside():
    one, many = "float head, feature, epsilon 3, 1 query", "float head, feature, epsilon 3, 100 queries"
    linked = "linkability of a photograph attack, linked of 100"
    measured = (
        attack(one, 0.0185),
        attack(one.replace("float", "int8 TFLite"), 0.019),
        attack(f"{many}, permanent answers", 0.019),
        attack(many, 0.4),
        attack(one, 0.0177, linked),
        attack(one, 0.9, "identity attack, top-5"),
        attack(f"{one}, attackers too weak on raw pixels", 0.9),
    )
    rows = goals([figure(3.0, 0.9, 1.0)], measured)
    assert find(rows, "any attacker").verdict == bars.MET and find(rows, "any attacker").found.value < 1.9052
    named = find(rows, "strongest measured", "identity")
    assert named.verdict == bars.NOT_SHOWN and named.found.value == pytest.approx(1.9)
    assert find(rows, "strongest measured", "another service").verdict == bars.MET
    above = find(rows, "permanent answers")
    assert above.verdict == bars.MET and above.found.value == 0 and "40.00% from 100 fresh draws" in above.note
    worse = (attack(one, 0.0185), attack(f"{many}, permanent answers", 0.03))
    assert find(goals([figure(3.0, 0.9, 1.0)], worse), "permanent answers").verdict == bars.NOT_MET
    rows = goals([figure(3.0, 0.9, 1.0)])
    assert {find(rows, word).verdict for word in ("identity attack", "another", "permanent")} == {bars.NOT_MEASURED}


def test_more_symbols_tell_more_at_the_same_epsilon():
    rows = goals([figure(8.0, 0.63, 0.98, symbols=6)], name=EMOTION)
    assert find(rows, "any attacker").verdict == bars.NOT_MET and find(rows, "any attacker").found.value > 4
    assert find(rows, "accuracy", "epsilon 8").verdict == bars.MET


def test_a_symbol_takes_one_byte_of_a_request():
    assert {code_goals.symbol_bytes(k) for k in (2, 7, 256)} == {(1, 4)}
    assert find(goals([figure(3.0, 0.9, 1.0)]), "wire").verdict == bars.MET


def test_time_is_that_of_the_slower_way():
    ms = {"fresh": {"value": 0.02, "low": 0.02, "high": 0.03}, "permanent": {"value": 0.04, "low": 0.03, "high": 0.06}}
    row = find(goals([figure(3.0, 0.9, 1.0)], device={"ms": ms}), "on the device")
    assert row.verdict == bars.NOT_SHOWN and "permanent answers; 1 of 2 met" in row.what
    assert find(goals([figure(3.0, 0.9, 1.0)]), "on the device").verdict == bars.NOT_MEASURED


def test_draws_that_show_more_than_is_stated_miss_the_goal():
    row = {"mechanism": "a code", "draws": 1_000_000, "confidence": 0.95, "stated": 3.0, "bound": 2.98}
    assert code_goals.of_draws({"rows": [row, row]}).worst.verdict == bars.MET
    found = code_goals.of_draws({"rows": [row, {**row, "bound": 3.01, "mechanism": "another"}]}).worst
    assert found.verdict == bars.NOT_MET and "another; 1 of 2 met" in found.what


def test_a_goal_that_was_not_measured_is_worse_than_one_that_is_met():
    met, unknown = Row("a", "", 1.0, exact(0.5)), Row("b", "", 1.0, None)
    assert code_goals.Goal((met, unknown)).worst.what == "b; 1 of 2 met" and code_goals.Goal((met,)).worst is met
    unclear = Row("c", "", 1.0, Estimate(0.9, 0.8, 1.1))
    assert code_goals.Goal((unclear, unknown, met)).worst.what == "c; 1 of 3 met"


@pytest.mark.all_models
def test_every_goal_of_every_coded_model_stands_in_the_tables():
    rows = code_goals.all_rows(ROOT / "docs")
    coded = [
        name for name in privzoo.list_models("*_coded_*") if privzoo.show(name).network.task in code_goals.ACCURACY
    ]
    assert {GENDER, EMOTION} <= set(coded)
    for name in coded:
        own = [row.what for row in rows if row.what.startswith(f"{name}: ")]
        task = privzoo.show(name).network.task
        for epsilon in code_goals.ACCURACY[task]:
            assert f"{name}: {task} accuracy, epsilon {epsilon:g}, delta 0" in own
        words = (
            "share of the ceiling",
            "any attacker",
            "identity attack",
            "permanent answers",
            "wire",
            "on the device",
        )
        assert [word for word in words if not any(word in what for what in own)] == []
    page = (ROOT / "RESULTS.md").read_text("utf-8")
    models, draws = code_goals.read(ROOT / "docs")
    assert draws is not None and set(models) == set(coded)
    for name in (GENDER, EMOTION):
        for goal in models[name]:
            worst = goal.worst
            assert f"| {worst.what} | {worst.goal} | {worst.shown} | {worst.verdict} |" in page, "run tools/tables.py"
    kept = json.loads((ROOT / "docs" / "mechanisms" / "draws.json").read_text("utf-8"))
    assert len(draws.rows) == len(kept["rows"])
