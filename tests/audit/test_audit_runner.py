"""The grid: each cell is computed once, resumed after a kill, and the same on every engine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from privzoo.audit import runner
from privzoo.errors import ConfigError, DataError, MissingExtraError


def add(settings, inputs):
    """Leaves a trace of each call, and fails or dies where it is told to."""
    if settings["seed"] in inputs.get("dies", ()):
        os._exit(1)
    if settings["seed"] in inputs.get("fails", ()):
        raise DataError("Seed that fails.")
    with open(inputs["trace"], "a", encoding="utf-8") as file:
        file.write(f"{settings['seed']}\n")
    return {"sum": settings["seed"] + settings["plus"]}


def cells(tmp_path, count=4, plus=10, **inputs):
    trace = {"trace": str(tmp_path / "trace"), **inputs}
    return [runner.Cell(add, {"seed": seed, "plus": plus}, trace) for seed in range(count)]


def calls(tmp_path):
    return (tmp_path / "trace").read_text(encoding="utf-8").split()


def test_cells_are_computed_once(tmp_path):
    wanted = [{"sum": 10 + seed} for seed in range(4)]
    for _ in range(2):
        assert runner.run(cells(tmp_path), tmp_path, progress=False) == wanted
    assert calls(tmp_path) == ["0", "1", "2", "3"]
    assert runner.run([*cells(tmp_path, 2)] * 2, tmp_path, progress=False) == wanted[:2] * 2
    assert runner.run(cells(tmp_path, 1, plus=11), tmp_path, progress=False) == [{"sum": 11}]
    assert len(calls(tmp_path)) == 5


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(DataError):
        runner.run(cells(tmp_path, fails=(2,)), tmp_path, progress=False)
    assert calls(tmp_path) == ["0", "1"]
    assert not list(tmp_path.rglob("*.part"))
    assert runner.run(cells(tmp_path), tmp_path, progress=False)[3] == {"sum": 13}
    assert calls(tmp_path) == ["0", "1", "2", "3"]


def test_results_are_json_with_their_settings(tmp_path):
    (cell,) = cells(tmp_path, 1)
    runner.run([cell], tmp_path, progress=False)
    kept = json.loads(cell.path(tmp_path).read_text(encoding="utf-8"))
    assert kept["settings"] == {"seed": 0, "plus": 10} and kept["result"] == {"sum": 10} and kept["seconds"] >= 0


def test_a_damaged_result_is_named(tmp_path):
    (cell,) = cells(tmp_path, 1)
    runner.run([cell], tmp_path, progress=False)
    cell.path(tmp_path).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is damaged; delete it"):
        runner.run([cell], tmp_path, progress=False)


def test_unknown_engine(tmp_path):
    with pytest.raises(ConfigError, match="'spark'; there are local, processes, ray"):
        runner.run([], tmp_path, "spark")


def test_processes_give_the_same(tmp_path):
    for name in "abcd":
        (tmp_path / name).mkdir()
    found = runner.run(cells(tmp_path / "a"), tmp_path / "a", "processes", progress=False)
    assert found == runner.run(cells(tmp_path / "b"), tmp_path / "b", progress=False)
    assert sorted(calls(tmp_path / "a")) == calls(tmp_path / "b")
    with pytest.raises(DataError, match="Seed that fails"):
        runner.run(cells(tmp_path / "c", fails=(3,)), tmp_path / "c", "processes", progress=False)
    with pytest.raises(DataError, match="was killed.*which resumes it"):
        runner.run(cells(tmp_path / "d", dies=(3,)), tmp_path / "d", "processes", progress=False)
    assert runner.run(cells(tmp_path / "d"), tmp_path / "d", progress=False) == found


def test_ray_is_an_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"privzoo\[ray\]"):
        runner.run(cells(tmp_path), tmp_path, "ray", progress=False)


def test_ray_gives_the_same(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    for name in "abc":
        (tmp_path / name).mkdir()
    folder = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{folder.parents[1]}")  # of the workers
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:
        found = runner.run(cells(tmp_path / "a"), tmp_path / "a", "ray", progress=False)
        assert found == runner.run(cells(tmp_path / "b"), tmp_path / "b", progress=False)
        with pytest.raises(DataError, match="Seed that fails"):
            runner.run(cells(tmp_path / "c", fails=(0,)), tmp_path / "c", "ray", progress=False)
    finally:
        ray.shutdown()
