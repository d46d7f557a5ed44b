"""The benchmark: rounds, medians, goals, tables; and all of it on small files."""

from __future__ import annotations

import csv
import dataclasses
import json
import os

import numpy as np
import pytest
from benchmarking import files, goals, install, machine, onnx_files, plots, report, runs, wire, worker
from export_fakes import exported

import privzoo
from privzoo.errors import MissingExtraError, PrivzooError
from privzoo.evaluation import variants

pytestmark = pytest.mark.server


def candidate(part="conv5_3", size=96, quantization="int8", runtime="litert", path=None) -> runs.Candidate:
    return runs.Candidate(part, size, quantization, runtime, path or exported("int8"))


CANDIDATES = [
    candidate(),
    candidate("whole", quantization="float32"),
    candidate(size=224),
    candidate("whole", 224, "float32"),
    candidate("published whole", 224, "float32"),
    candidate(quantization="float32", runtime="onnxruntime"),
    candidate(runtime="onnxruntime"),
]
COSTS = {"whole": 50.0, "published whole": 900.0, "conv5_3": 10.0}


@pytest.fixture
def results():
    """Invented figures: each round is slower than the one before, and all of it by the same factor."""
    calls = []

    def once(asked: runs.Candidate, inferences: int) -> dict[str, float]:
        calls.append(asked.key)
        factor = 1 + (len(calls) - 1) // len(CANDIDATES)
        cost = COSTS[asked.part] * (asked.size / 96) ** 2 * (1.05 if asked.runtime != "litert" else 1) * factor
        return {"inference_ms": cost, "load_ms": cost, "first_ms": cost, "peak_mb": 40 + cost, "before_mb": 30.0}

    found = runs.run(CANDIDATES, 4, 3, lambda line: None, once)
    return found, calls


def test_rounds_are_whole_and_change_their_order(results):
    found, calls = results
    rounds = [calls[i : i + len(CANDIDATES)] for i in range(0, len(calls), len(CANDIDATES))]
    assert len(rounds) == 4 and all(sorted(r) == sorted(found) for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1
    assert list(found) == [c.key for c in CANDIDATES]
    assert all(len(values) == 4 for r in found.values() for values in r.rounds.values())


def test_ratios_are_taken_within_rounds(results):
    found, _ = results
    ratio = runs.ratio(found[CANDIDATES[0].key], found[CANDIDATES[1].key], "inference_ms")
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.2, 0.2, 0.2))  # however slow a round was
    spread = found[CANDIDATES[0].key].summary("inference_ms")
    assert spread.low < spread.value < spread.high


def test_median_and_its_interval():
    values = np.random.default_rng(0).normal(5, 1, 200)
    found = runs.median(values)
    assert found.value == np.median(values)
    assert 4.7 < found.low < found.value < found.high < 5.3
    assert runs.median([3.0]).ends() == {"value": 3.0, "low": 3.0, "high": 3.0}


def test_goals_on_costs(results):
    rows = {(row.what, row.goal): row for row in goals.cost_rows(results[0], "conv5_3", [96, 224])}
    met = {f"{what}; {goal}": row.verdict for (what, goal), row in rows.items()}
    assert met["latency, int8 head of conv5_3 / float32 whole network, 96 px; at most 1/4"] == "met"
    loading = "loading, int8 head of conv5_3 at 224 px / published whole network at 224 px"
    assert met[f"{loading}; at most 1/6.3"] == "met" == met[f"{loading}; goal 1/20"]
    memory = "peak memory, int8 head of conv5_3 at 224 px / published whole network at 224 px"
    assert met[f"{memory}; at most 1/3.2"] == "met" == met[f"{memory}; goal 1/10"]
    assert met["latency, int8 head of conv5_3 on LiteRT / the best of ONNX Runtime, 96 px; within 5%"] == "met"
    assert met["latency, slim head / the best of ONNX Runtime; at most 0.4"] == "not measured"
    assert met["peak memory of the process with an int8 head of conv5_3, 96 px; under 100 MB"] == "met"


def test_goals_without_their_files_are_not_measured():
    rows = goals.cost_rows({}, "conv5_3", [96])
    assert rows and all(row.verdict == "not measured" for row in rows)
    assert {row.note for row in rows} == {"not in this run", goals.NO_SLIM}


def test_goals_from_the_cards():
    name = "vgg16_gender_simple_conv5_3"
    rows = goals.card_rows({name: privzoo.show(name), "vgg_s_emotion_none_conv5": None})
    known, unknown, *slim = rows
    assert known.verdict != "not measured" and "LFW" in known.what and known.at_least
    assert unknown.verdict == "not measured" and "FER2013" in unknown.what and "no such model" in unknown.note
    assert len(slim) == 3 and all(row.verdict == "not measured" for row in slim)


@pytest.mark.parametrize(
    ("name", "drawn"), [("vgg16_gender_advanced_conv5_3", "noise"), ("vgg16_gender_coded_conv5_3", "code")]
)
def test_labels_are_compared_before_the_noise_that_changes_them_by_design(name, drawn):
    card = privzoo.show(name)
    made = [m for m in card.measurements if "agreement" not in m.metric]
    one = next(m for m in made if m.metric == "accuracy")
    variant = {"variant": variants.INT8, "low": 0.95, "value": 0.96, "high": 0.97}
    noisy = dataclasses.replace(one, metric=variants.AGREEMENT, **variant)
    plain = dataclasses.replace(noisy, metric=variants.AGREEMENT_UNDRAWN, low=0.996, value=0.997, high=0.998)

    def row(*figures):
        return goals.card_rows({name: dataclasses.replace(card, measurements=(*made, *figures))})[0]

    before, only = row(noisy, plain), row(noisy)
    assert before.what.endswith(f"{name}, before its {drawn}") and before.verdict == "met"
    assert only.what.endswith(f"{name}, with its {drawn}, which changes labels")
    assert before.limit == only.limit and goals.about(before.what) == goals.about(only.what)
    # The later figure takes the place of the earlier one, whatever it is named.
    assert report.renewed(dataclasses.replace(a_report({}), rows=[only]), [before]).rows == [before]


def test_slim_heads_are_judged_in_points_by_their_worst_figure():
    card = privzoo.show("vgg16_gender_advanced_conv5_3", "slim")
    lost = next(m for m in card.measurements if m.metric == goals.LOST)
    for values, verdict in (((0.002, 0.0099), "met"), ((0.0101, 0.002), "not shown")):
        found = tuple(dataclasses.replace(lost, value=value, low=0.0, high=value) for value in values)
        share, lost_points, identity = goals.slim_rows(dataclasses.replace(card, measurements=found))
        assert (
            share.found.value == pytest.approx(100 * card.cost.head_share)
            and share.verdict == "met"
            and share.unit == "%"
        )
        assert lost_points.found.value == pytest.approx(100 * max(values)) and lost_points.unit == "points"
        assert lost_points.verdict == verdict and identity.verdict == "not measured"


def test_the_plain_install():
    megabytes = install.plain_megabytes()
    rows = goals.install_rows([0.1, 0.2, 0.15], megabytes)
    assert rows[0].verdict == "met" and rows[0].found.value == 0.15
    assert megabytes is None or rows[1].verdict == "met", f"the plain install has {megabytes} MB"
    assert goals.install_rows([0.1], None)[1].verdict == "not measured"


def a_report(results) -> report.Report:
    rows = goals.cost_rows(results, "conv5_3", [96, 224])
    return report.Report(
        machine=machine.describe(),
        date="2026-11-21",
        git="test",
        command="tools/benchmark.py",
        rounds=4,
        inferences=3,
        results=results,
        transfers=wire.transfers("vgg16", 224),
        rows=rows,
    )


def test_json_holds_everything(results):
    found = json.loads(json.dumps(a_report(results[0]).to_dict()))
    assert found["machine"]["processor"] and found["machine"]["cores"] >= 1 and found["machine"]["packages"]["numpy"]
    assert len(found["results"]) == len(CANDIDATES)
    assert found["results"][0]["rounds"]["inference_ms"] == [10, 20, 30, 40]
    assert {row["verdict"] for row in found["bar"]} <= {"met", "not met", "not shown", "not measured"}
    assert any(t["paper"] for t in found["transfers"])


def test_a_run_is_shown_again_with_newer_cards(results, tmp_path):
    made = a_report(results[0])
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(made.to_dict()))
    again = report.read(path)
    assert again.to_dict() == made.to_dict()
    assert report.text(again) == report.text(made)
    changed = [dataclasses.replace(made.rows[0], found=None), goals.Row("something new", "1", 1.0, None)]
    rows = report.renewed(again, changed).rows
    assert [row.what for row in rows] == [*(row.what for row in made.rows), "something new"]
    assert rows[0].found is None and rows[1] == made.rows[1]
    path.write_text(path.read_text()[:1000])
    with pytest.raises(PrivzooError, match="holds no benchmark"):
        report.read(path)


def test_of_two_measurements_that_on_more_faces_counts():
    card = privzoo.show("vgg16_gender_simple_conv5_3")
    one = next(m for m in card.measurements if m.metric == "accuracy")
    few = dataclasses.replace(one, value=0.5, count=10, data="a part")
    for measurements in ((few, one), (one, few)):
        assert dataclasses.replace(card, measurements=measurements).figure(one.metric, one.variant) == one


def test_the_section_stands_between_its_marks_with_its_csv(results, tmp_path):
    page, out = tmp_path / "RESULTS.md", tmp_path / "docs" / "benchmark"
    page.write_text("# Results\n\nbefore\n\n<!-- accuracy -->\n")
    other = out / "other_machine"
    other.mkdir(parents=True)
    for path in (out / "inference_time.png", other / "README.md", other / report.BENCHMARK):
        path.write_text("")
    made = a_report(results[0])
    report.publish(page, made, out)
    first = page.read_text()
    report.publish(page, made, out)
    assert page.read_text() == first
    assert first.startswith("# Results\n\nbefore\n\n<!-- accuracy -->\n")
    assert "![inference time](docs/benchmark/inference_time.png)" in first
    assert "[the same run on other machine](docs/benchmark/other_machine/README.md)" in first
    page.write_text(first + "\nafter\n")
    report.publish(page, made, out)
    assert page.read_text() == first + "\nafter\n"
    missed = [row for row in made.rows if row.verdict != "met"]
    assert f"{len(made.rows) - len(missed)} of {len(made.rows)} goals are met" in first
    assert all(f"| {row.what} |" in first for row in missed)
    tables = {
        name: list(csv.DictReader((tmp_path / "docs" / "results" / f"{name}.csv").open()))
        for name in ("benchmark", "benchmark_goals", "wire")
    }
    assert len(tables["benchmark"]) == len(CANDIDATES) and tables["benchmark"][0]["inference_ms"] == "25.0"
    assert [row["verdict"] for row in tables["benchmark_goals"]] == [row.verdict for row in made.rows]
    assert ("93", "0.4", "0.3") in {tuple(list(row.values())[-3:]) for row in tables["wire"]}
    lines = [row.line for row in made.rows]
    assert len(lines) == len(made.rows)
    assert all(line.split()[0] in ("met", "not") for line in lines)


def test_a_page_that_is_not_results_has_its_tables_beside_it(results, tmp_path):
    report.publish(tmp_path / "README.md", a_report(results[0]), tmp_path)
    assert (tmp_path / "benchmark.csv").exists() and "[benchmark.csv](benchmark.csv)" in (
        tmp_path / "README.md"
    ).read_text()


def test_plots(results, tmp_path):
    pytest.importorskip("matplotlib")
    written = plots.write(results[0], tmp_path / "plots")
    assert [path.name for path in written] == ["inference_time.png", "loading_time.png", "peak_memory.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in written)
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


def test_a_file_in_a_process_of_its_own():
    """Its peak memory is its own: not that of this process, which may have TensorFlow in it."""
    ballast = np.ones(2**26)  # 0.5 GB
    found = runs.measure_once(candidate(), 3)
    assert set(found) == set(runs.FIGURES) and all(value > 0 for value in found.values())
    assert found["before_mb"] <= found["peak_mb"] < ballast.nbytes / 1e6


def test_a_file_that_cannot_be_measured(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    with pytest.raises(PrivzooError, match="Measuring conv5_3, 96 px, int8, litert failed"):
        runs.measure_once(candidate(path=tmp_path / "broken.tflite"), 1)


def test_peak_memory_grows_with_what_is_held():
    before = worker.peak_bytes()
    held = np.ones(2**23)  # 67 MB
    assert worker.peak_bytes() >= before and held.sum() == 2**23


def test_onnx_runtime_is_asked_for(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"privzoo\[benchmark\].*--noonnx"):
        onnx_files.require()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Every file of a run on the smallest network, without those of ONNX where that is not installed."""
    try:
        onnx_files.require()
        onnx = True
    except MissingExtraError:
        onnx = False
    folder = tmp_path_factory.mktemp("files")
    return list(files.build(folder, "vgg_s", [48], ["float32", "int8"], False, onnx, lambda line: None)), onnx


def test_files_of_a_run(built):
    candidates, onnx = built
    keys = {c.key for c in candidates}
    assert len(keys) == len(candidates) == (6 + 3 * onnx)
    assert {c.part for c in candidates} == {"whole", "conv5", "conv5 reduced"}
    sizes = {c.key: c.path.stat().st_size for c in candidates}
    assert sizes["conv5, 48 px, int8, litert"] < sizes["conv5, 48 px, float32, litert"] / 3
    assert len({os.fspath(c.path) for c in candidates}) == len(candidates)


def test_one_round_over_them(built):
    candidates, onnx = built
    chosen = [c for c in candidates if c.part == "conv5"]
    results = runs.run(chosen, 1, 1, lambda line: None)
    assert all(value > 0 for r in results.values() for values in r.rounds.values() for value in values)


def test_onnx_file_computes_the_head(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from export_fakes import SIZE, chips, pair

    head, _, _ = pair()
    images = chips().astype(np.float32)
    onnx_files.write_float(head, SIZE, tmp_path / "head.onnx")
    expected = np.asarray(head(images))
    for kind in (None, *files.ONNX_ACTIVATIONS.values()):
        path = tmp_path / "head.onnx"
        if kind:
            path = tmp_path / f"{kind}.onnx"
            onnx_files.write_int8(tmp_path / "head.onnx", path, images, kind)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
        spread = np.abs(found - expected).max() / np.abs(expected).max()
        assert spread < (0.05 if kind else 1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["QInt8.onnx", "QUInt8.onnx", "head.onnx"]
