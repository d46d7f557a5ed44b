"""The load test's own arithmetic, and one second of it on a fake tail."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
loadtest = pytest.importorskip("loadtest")
WHAT = {"model": "m", "feature_bytes": 16, "protocol": "rest", "batching": False, "clients": 1}


def test_a_row_of_times():
    row = loadtest.summarise([float(k) for k in range(1000, 0, -1)], 2, 4.0, 5.678, **WHAT)
    assert (row.requests, row.failures, row.per_second, row.median_ms, row.p99_ms) == (1000, 2, 250.0, 500.5, 991.0)
    assert row.start_seconds == 5.68
    none = loadtest.summarise([], 7, 1.0, **WHAT)
    assert none.requests == 0 and math.isnan(none.median_ms)


@pytest.mark.parametrize(
    "flag", ["--clients=0", "--clients=1000", "--protocols=http", "--batching=maybe", "--seconds=9999"]
)
def test_it_is_bounded(flag):
    command = [sys.executable, ROOT / "tools" / "loadtest.py", flag, "--models="]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0


def test_one_second_of_load(tmp_path):
    for package in ("locust", "tensorflow_serving", "fastapi"):
        if subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode:
            pytest.skip(f"{package} is not installed")
    from export_fakes import NAME, served

    command = [sys.executable, ROOT / "tools" / "loadtest.py", f"--models={NAME}", f"--served={served()}"]
    command += ["--clients=2", "--seconds=1", "--batching=on", "--bare_runs=5", f"--out={tmp_path / 'rows.json'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["protocol"] for row in rows] == ["bare", "rest", "grpc"]
    for row in rows:
        assert row["requests"] > 0 and row["failures"] == 0 and row["median_ms"] > 0, done.stderr
