"""What is measured of slim heads beside full ones, and where it is written."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import slim_fakes as fakes
import tiny_zoo
from benchmarking import files, goals
from evaluating import accuracy
from slimming import report

import privzoo
from privzoo import config
from privzoo.audit import features, model_audit
from privzoo.card import IDENTITY_ATTACK
from privzoo.data import Dataset
from privzoo.errors import ConfigError
from privzoo.evaluation import bars
from privzoo.evaluation.intervals import Estimate
from privzoo.provenance import write_json
from privzoo.slim import fit, measure, release

pytestmark = pytest.mark.training


class FewPeople:
    """People in place of LFW-100's, and of those on whom is decided."""

    quick = False

    def people(self, size: int):
        return self._people("lfw100", 3)

    def choosing(self, size: int):
        return self._people("lfw101to200", 5)

    def _people(self, people: str, seed: int):
        sides = []
        for name, own, count in (("train", seed, 8), ("test", seed + 1, 4)):
            chips, _ = tiny_zoo.chips(6 * count, own)
            ids = tuple(f"{name}{i}" for i in range(len(chips)))
            sides.append(features.Faces(f"{people}-{name}", chips, {"identity": np.arange(len(chips)) % 6}, ids))
        return tuple(sides)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    with fakes.installed(tmp_path_factory.mktemp("zoo")) as zoo:
        run, cache = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("cache")
        model = privzoo.load(fakes.NAME)
        fit.make(model, *fakes.faces(), run, cache, fakes.PRUNING, fakes.TRAINING)
        release.release(model, run)
        pair = [privzoo.load(fakes.NAME, head=head) for head in config.HEADS]
        validation = Dataset("others", fakes.faces()[0].samples, fakes.faces()[0].classes)
        found = measure.measure(*pair, fakes.faces()[1], validation, FewPeople(), cache, (1, 2), ("lda",))
        page = zoo / "RESULTS.md"
        page.write_text("# Results\n\nbefore\n")
        report.write(found, "the command", page)
        yield {"found": found, "page": page.read_text(), "cache": cache, "pair": pair, "run": run, "zoo": zoo}


def test_every_goal_is_stated(measured):
    rows = measured["found"]["bar"]
    assert [row["goal"] for row in rows] == [
        "multiply-adds on the device / the network's",
        "accuracy lost, float",
        "accuracy lost, int8",
        *(f"identity attack above the full head's, {q}, {n} averaged" for q in ("float", "int8") for n in (1, 100)),
    ]
    assert rows[0]["value"] == measured["pair"][1].card.cost.head_share
    for row, line in zip(rows, report.lines(measured["found"]), strict=True):
        assert row["verdict"] == (
            "met" if row["high"] <= row["limit"] else "not shown" if row["low"] <= row["limit"] else "not met"
        )
        assert row["low"] <= row["value"] <= row["high"]
        assert line.strip().startswith(row["verdict"]) and row["goal"] in line


def test_differences_are_paired(measured):
    figures = {(f["metric"], f["variant"], f["head"]): f for f in measured["found"]["figures"]}
    for quantization in ("float", "int8"):
        of = measure.variant(quantization)
        full, slender = (figures["accuracy", of, head]["value"] for head in config.HEADS)
        assert figures[goals.LOST, of, "slim"]["value"] == pytest.approx(full - slender, abs=2e-6)
    hashes = {f["sha256"] for f in measured["found"]["figures"]}
    assert len(hashes) == 4  # two heads, float and int8


def test_figures_go_into_the_card_the_record_and_the_page(measured):
    card = privzoo.show(fakes.NAME, "slim")
    assert card.figure("accuracy", accuracy.FLOAT).command == "the command"
    assert not privzoo.show(fakes.NAME).measurements
    people = [m for m in card.measurements if m.metric == IDENTITY_ATTACK]
    assert card.identity_attack().value == max(m.value for m in people) and len({m.variant for m in people}) == 4
    assert all(", feature, epsilon " in m.variant and m.data == "lfw100-test" for m in people)
    page, found = measured["page"], measured["found"]
    assert report.SECTION.begin in page and "before" in page
    assert all(f"| {row['goal']}, {report.unit(row)} |" in page for row in found["bar"])
    assert "The goals are decided on others-validation and lfw101to200-test." in page
    with (measured["zoo"] / "docs" / "results" / "slim.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["figures"]) + len(found["deciding_figures"])
    assert {row["data"] for row in rows if row["use"] == "deciding"} == {"others-validation", "lfw101to200-test"}
    assert float(rows[0]["value"]) == found["figures"][0]["value"]
    record = json.loads(report.record_path(fakes.NAME).read_text())
    assert record["measured"]["bar"] == measured["found"]["bar"]
    rows = goals.slim_rows(card)
    assert all(row.verdict != bars.NOT_MEASURED for row in rows)


def test_goals_are_decided_on_what_is_not_published(measured):
    found = measured["found"]
    lost = {(f["metric"], f["variant"]): f["value"] for f in found["deciding_figures"] if f["head"] == "slim"}
    by_goal = {row["goal"]: row for row in found["bar"]}
    for quantization in ("float", "int8"):
        value = lost[goals.LOST, measure.variant(quantization)]
        assert by_goal[f"accuracy lost, {quantization}"]["value"] == pytest.approx(value, abs=1e-6)
    assert {f["data"] for f in map(dataclasses.asdict, privzoo.show(fakes.NAME, "slim").measurements)} == {
        found["data"],
        "lfw100-test",
    }


def test_a_record_from_before_says_by_which_rule_it_was_judged(measured):
    old = {key: value for key, value in measured["found"].items() if key not in ("decided_on", "deciding_figures")}
    assert "The goals were decided by an earlier rule" in report.text([old], "")


def test_evaluate_and_audit_take_the_slim_head(measured):
    slender, cache = measured["pair"][1], measured["cache"]
    [(model, found)] = accuracy.evaluate([slender], fakes.faces()[1], [], str, cache, progress=False)
    assert model is slender
    values = {m.variant: m.value for m in found if m.metric == "accuracy"}
    assert values[accuracy.FLOAT] == pytest.approx(
        privzoo.show(fakes.NAME, "slim").figure("accuracy", accuracy.FLOAT).value
    )
    [view] = model_audit.views(slender, ["float"], cache)
    faces = features.read(fakes.faces()[1], "validation", tiny_zoo.SIZE, "gender")
    expected = np.asarray(slender.head(faces.chips.astype(np.float32)))
    np.testing.assert_allclose(view.extract(faces).read(), expected, atol=1e-5)
    assert view.sha256 == slender.manifest()["head"]["weights_sha256"]


def test_the_benchmark_builds_the_slim_head(measured, tmp_path):
    card = privzoo.show(fakes.NAME, "slim")
    found = files.build(tmp_path, "vgg_s", [tiny_zoo.SIZE], [], False, False, lambda line: None, card)
    size = {(c.part, c.quantization): c.path.stat().st_size for c in found}
    assert set(size) == {("whole", "float32"), ("whole", "int8"), ("slim", "int8")}
    assert size["slim", "int8"] < size["whole", "int8"]


def test_a_run_of_another_parent_is_not_released(measured, tmp_path):
    for name in (fit.RECORD, fit.FINISHED):
        (tmp_path / name).write_bytes((measured["run"] / name).read_bytes())
    record = json.loads((tmp_path / fit.RECORD).read_text())
    write_json(tmp_path / fit.RECORD, {**record, "parent_head_weights_sha256": "0" * 64})
    with pytest.raises(ConfigError, match="an earlier head of"):
        release.release(measured["pair"][0], tmp_path)


def test_goals_without_a_slim_head_are_not_measured():
    assert {row.note for row in goals.slim_rows(None)} == {goals.NO_SLIM}
    rows = measure.bar(
        0.2, {"float": Estimate(0.02, 0.011, 0.03)}, {("float", 1): Estimate(0.001, -0.001, 0.005, 816, 100)}
    )
    assert [row["verdict"] for row in rows] == ["met", "not met", "not shown"]
    assert "400 people" in rows[2]["takes"] and not rows[0]["takes"]
