"""The load tests' own arithmetic, and some seconds of each of them on a small tail."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from loadtesting import large, load, report, soak, swap
from loadtesting.generator import Generator, Request, Seen
from loadtesting.processor import Sample
from loadtesting.report import Goal, Result

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
WHAT = {"model": "m", "feature_bytes": 16, "protocol": "rest", "batching": False, "clients": 1}
# Seconds of mixed load: long enough to see a leak, and less where somebody waits.
SOAK_SECONDS = int(os.environ.get("PRIVZOO_SOAK_SECONDS", "120"))


def test_a_row_of_times():
    row = load.summarise([float(k) for k in range(1000, 0, -1)], 2, 4.0, start_seconds=5.678, **WHAT)
    assert (row.requests, row.failures, row.per_second, row.median_ms, row.p99_ms) == (1000, 2, 250.0, 500.5, 991.0)
    assert row.start_seconds == 5.68
    none = load.summarise([], 7, 1.0, **WHAT)
    assert none.requests == 0 and math.isnan(none.median_ms) and math.isnan(none.p99_ms)


@pytest.mark.parametrize(
    "flag",
    [
        *("--clients=0", "--clients=1000", "--protocols=http", "--batching=maybe", "--seconds=9999", "--mode=other"),
        *("--mode=soak --clients=1,2", "--models=", "--mode=ray --replicas=0", "--count=0", "--clients=x"),
    ],
)
def test_it_is_bounded(flag):
    command = [sys.executable, ROOT / "tools" / "loadtest.py", "--served=none", "--quick", *flag.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr


class A:
    """As much of a target as goals look at."""

    def __init__(self, model: str) -> None:
        self.model, self.feature_bytes = model, 16


def test_goals_of_a_run():
    rows = [
        load.summarise([1.0], 0, 1.0, **(WHAT | {"protocol": "bare"})),
        load.summarise([2.5] * 10, 0, 1.0, start_seconds=4.0, **WHAT),
        load.summarise([3.5] * 10, 0, 1.0, start_seconds=7.0, **(WHAT | {"batching": True})),
        load.summarise([9.0] * 4000, 0, 1.0, start_seconds=7.0, **(WHAT | {"batching": True, "clients": 64})),
    ]
    many, above, start = load.goals(rows, [A("m")])
    assert many.met and "4,000 over rest" in many.found
    assert (
        above.met is False and "rest 1.50 ms, rest with batching 2.50 ms" in above.found
    )  # one of the two is too slow
    assert start.met is False and start.found.startswith("7.0 s")
    assert [goal.met for goal in load.goals(rows[:1], [A("m")])] == [None, None]


def test_requests_in_windows():
    starts, milliseconds = np.array([0.0, 1.0, 1.9, 2.5, 3.5]), np.array([100.0, 100.0, 200.0, 100.0, 100.0])
    found = swap.inside(starts, milliseconds, [(2.0, 3.0), (3.55, 3.56)])
    assert found.tolist() == [False, False, True, True, True]
    seen = Seen(milliseconds, starts, {"rest m": 5}, {"no": 2}, 4.0, 1.0)
    row = swap.row("m", "rest", 2, [(2.0, 3.0), (3.55, 3.56)], seen)
    assert (row.usual_requests, row.during_requests, row.requests, row.failures) == (2, 3, 5, 2)
    assert (row.usual_p99_ms, row.during_p99_ms, row.ratio) == (100.0, 200.0, 2.0)


def samples(memory, seconds=3600):
    return [
        Sample(float(t), int(memory(t / seconds)), 20, 30 + (t > seconds / 2))
        for t in range(0, seconds, seconds // 100)
    ]


@pytest.mark.parametrize(
    ("memory", "failures", "alive", "met"),
    [
        (lambda t: 8e8, {}, True, True),
        (lambda t: 2e8 + 6e8 * min(1, t / 0.05), {}, True, True),  # the warm-up does not count
        (lambda t: 8e8 * (1 + 0.2 * t), {}, True, False),
        (lambda t: 8e8, {"no": 1}, True, False),
        (lambda t: 8e8, {}, False, False),
    ],
)
def test_memory_that_is_flat(memory, failures, alive, met):
    result = soak.result(samples(memory), 3600, 8, {"rest m": 100}, failures, alive)
    assert result.goals[0].met is met
    assert [row[0] for row in result.rows] == ["MB", "descriptors", "threads"]
    assert soak.result(samples(lambda t: 8e8, 300), 300, 8, {"rest m": 1}, {}, True).goals[0].met is None


def test_all_kinds_stand_in_one_section_of_the_page(tmp_path):
    page, machine = tmp_path / "RESULTS.md", {"processor": "p", "cores": 2, "memory_gb": 4, "system": "s"}
    machine |= {"python": "3", "packages": {"ray": "1"}, "load": 0.1}
    page.write_text("# Results\n\nBefore.\n")
    records = [{"model": "m", "p99_ms": 1.23456789, "cores": {"server": 0.5}}]
    for found in ("1 of 2", "3 of 4"):
        for kind, data in (("million", None), ("swap", records), ("ray", None)):
            goals = [Goal("what", "asked", found, False, "why")]
            result = Result(kind, ("a",), [["b"]], goals, ["A note."], data)
            report.save(result, tmp_path / "load", "tools/loadtest.py --mode x", machine)
            report.publish(tmp_path / "load", page)
    text = page.read_text()
    assert text.count(report.SECTION.begin) == 1 and text.startswith("# Results\n\nBefore.\n") and "1 of 2" not in text
    assert text.count("| what | asked | 3 of 4 (why) | not met |") == 3
    assert "0 of 10 goals are met." in text and text.count("A note.") == 1  # of Ray alone: the others' say how
    assert text.count("not measured") == 7  # the goals of the other kinds
    saved = json.loads((tmp_path / "load" / "swap.json").read_text())
    assert {"format", "machine", "date", "git", "command", "rows", "goals"} <= set(saved)
    with (tmp_path / "docs" / "results" / "load_swap.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["p99_ms"] == "1.23456789" and row["cores_server"] == "0.5" and row["command"].endswith("--mode x")
    assert "a,processor" in (tmp_path / "docs" / "results" / "load_million.csv").read_text()
    assert Goal("w", "a", "f", None, "n").line == "not measured  w: f; a [n]"


class Odd(BaseHTTPRequestHandler):
    """Answers with the number in the path."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(int(self.path[1:]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def odd():
    """REST and gRPC addresses of servers that answer as the path says."""
    grpc = pytest.importorskip("grpc")
    if find_spec("locust") is None:  # not imported: it would make threads into greenlets, here too
        pytest.skip("locust is not installed")

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            def answer(request, context):
                code = details.method.rpartition("/")[2]
                return request if code == "OK" else context.abort(getattr(grpc.StatusCode, code), "no")

            return grpc.unary_unary_rpc_method_handler(answer)

    over_grpc = grpc.server(ThreadPoolExecutor(4))
    over_grpc.add_generic_rpc_handlers([Handler()])
    port = over_grpc.add_insecure_port("127.0.0.1:0")
    over_grpc.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as over_rest:
        threading.Thread(target=over_rest.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{over_rest.server_port}", f"127.0.0.1:{port}"
        over_rest.shutdown()
    over_grpc.stop(0)


def test_clients_tell_defects_from_refusals(odd):
    requests = [Request("right", "rest", "/200", b"x"), Request("refused", "rest", "/400", b"x")]
    requests += [Request("malformed", "rest", f"/{status}", b"x", malformed=True) for status in (400, 501, 500)]
    requests += [Request("call", "grpc", "/a/OK", b"x"), Request("refused call", "grpc", "/a/NOT_FOUND", b"x")]
    for code in ("INVALID_ARGUMENT", "INTERNAL"):
        requests.append(Request("malformed call", "grpc", f"/a/{code}", b"x", malformed=True))
    with Generator(requests, *odd, clients=4, count=180) as generator:
        seen = generator.wait()
    assert seen.requests + seen.failed == 180 and len(seen.milliseconds) == len(seen.starts) == seen.requests
    assert {"right", "malformed", "call", "malformed call"} == set(seen.answered)
    failed = {sentence.partition(":")[0] for sentence in seen.failures}
    assert failed == {"refused", "malformed", "refused call", "malformed call"}
    assert all("500" in s or "400" in s or "NOT_FOUND" in s or "INTERNAL" in s for s in seen.failures), seen.failures
    assert seen.seconds > 0 and seen.cpu > 0 and seen.milliseconds.min() > 0


def test_clients_are_stopped_and_tell_what_they_saw(odd):
    with Generator([Request("right", "rest", "/200", b"x")], *odd, clients=2, keep=False) as generator:
        generator.begun()
        assert generator.running
        seen = generator.stop()
    assert seen.answered["right"] > 0 and not seen.failures and not len(seen.milliseconds)


def test_clients_without_a_server_say_so(odd):
    with Generator([Request("right", "rest", "/200", b"x")], "http://127.0.0.1:9", "", clients=1, count=3) as generator:
        seen = generator.wait()
    assert seen.failed == 3 and not seen.requests


@pytest.fixture(scope="module")
def tool():
    """Runs the tool on a small tail; gives the JSON that it writes."""
    for package in ("locust", "hypothesis", "tensorflow_serving", "starlette", "psutil"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from export_fakes import NAME, served

    def run(folder, mode, *flags):
        command = [sys.executable, ROOT / "tools" / "loadtest.py", f"--models={NAME}", f"--served={served()}"]
        command += [f"--mode={mode}", "--quick", f"--out={folder}", f"--results={folder / 'page.md'}", *flags]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=560, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 0, done.stderr
        assert "<!-- load" in (folder / "page.md").read_text()
        return json.loads((folder / f"{mode}.json").read_text())

    return run


def test_malformed_requests_are_the_same_for_the_same_seed(tool):
    from export_fakes import NAME, served
    from loadtesting import fuzz
    from loadtesting.target import Target

    target = Target.find(served(), NAME)
    first, again, other = (list(fuzz.requests(target, 300, seed)) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 300
    assert {one.kind for one in first} == {"path", "head", "json", "bytes", "raw", "message", "tensor"}


def test_one_second_of_load(tool, tmp_path):
    found = tool(tmp_path, "load", "--clients=2", "--batching=on", "--bare_runs=5")
    assert [row["protocol"] for row in found["data"]] == ["bare", "rest", "grpc"]
    for row in found["data"]:
        assert row["requests"] > 0 and row["failures"] == 0 and row["median_ms"] > 0


def test_a_count_of_requests(tool, tmp_path):
    found = tool(tmp_path, "million", "--count=500", "--clients=16", "--protocols=rest,grpc")
    assert [(row["requests"], row["failures"]) for row in found["data"]] == [(250, 0), (250, 0)]
    assert found["goals"][0]["met"] is None and found["goals"][0]["found"] == "0 of 500"


def test_new_versions_under_load(tool, tmp_path):
    found = tool(tmp_path, "swap", "--protocols=rest", "--clients=4")
    (row,) = found["data"]
    assert row["swaps"] == 2 and row["failures"] == 0 and row["during_requests"] > 0 and row["usual_requests"] > 0


def test_some_malformed_requests(tool, tmp_path):
    found = tool(tmp_path, "malformed", "--count=500")
    assert not found["data"]["wrong"] and found["data"]["alive"] and found["data"]["right"]
    assert sum(number for *_, number in found["data"]["answers"]) == 500


@pytest.mark.timeout(SOAK_SECONDS + 500)
def test_memory_is_flat_under_mixed_load(tool, tmp_path):
    found = tool(tmp_path, "soak", f"--seconds={SOAK_SECONDS}")
    data = found["data"]
    assert data["alive"] and not data["failures"]
    assert {"rest metrics", "rest malformed", "grpc malformed"} <= set(data["answered"])
    if SOAK_SECONDS >= 120:  # a server of some seconds still grows
        assert abs(data["memory_change"]) <= soak.WITHIN


@pytest.mark.parametrize(
    ("codes", "most", "alive", "met", "small"),
    [
        ({"rest large: 429": 5, "grpc small: OK": 99, "rest small: 429": 1}, 600, True, True, True),
        ({"rest large: 429": 5, "grpc small: OK": 98, "rest small: 429": 2}, 600, True, True, False),
        ({"rest large: 429": 5, "grpc small: OK": 99}, 601, True, False, True),  # more than the budget
        ({"rest large: 429": 5, "grpc small: OK": 99}, 600, False, False, True),
        ({"rest large: 503": 1, "grpc large: RESOURCE_EXHAUSTED": 5, "grpc small: OK": 99}, 600, True, False, True),
        ({"rest large: 200": 5, "grpc small: OK": 99}, 600, True, False, True),  # nothing was ever too much
    ],
)
def test_memory_against_the_budget(codes, most, alive, met, small):
    requests = [Request(f"{p} {size}", p, "/", b"1") for p in ("rest", "grpc") for size in ("large", "small")]
    seen = Seen(np.array([]), np.array([]), {}, {}, 1.0, 1.0, codes)
    first, second = large.result(requests, seen, 100, most, 500, 256, 60, alive).goals
    assert (first.met, second.met) == (met, small)
    first, second = large.result(requests, seen, 100, most, 500, 8, 60, alive).goals
    assert (first.met, second.met) == (None if met else False, None)  # fewer clients prove nothing


def test_some_seconds_of_large_bodies(tool, tmp_path, monkeypatch):
    found = tool(tmp_path, "large", "--clients=8", "--seconds=3")
    data = found["data"]
    assert data["alive"] and not data["failures"] and data["peak"] >= data["idle"] > 0
    assert {name.rpartition(":")[0] for name in data["codes"]} == {
        f"{protocol} {size}" for protocol in ("rest", "grpc") for size in ("large", "small")
    }


@pytest.mark.timeout(900)
def test_replicas(tool, tmp_path):
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    found = tool(tmp_path, "ray", "--replicas=1", "--clients=4")
    assert [row["engine"] for row in found["data"]] == ["embedded", "ray"]
    for row in found["data"]:
        assert row["requests"] > 0 and row["failures"] == 0
