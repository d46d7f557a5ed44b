"""Throughput and latency with several numbers of clients, compared with the bare tail in the same run."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtesting import processor
from loadtesting.generator import START_SECONDS, Generator, Seen, p99
from loadtesting.report import WANTED, Goal, Result
from loadtesting.target import Target, answer, pid_of
from privzoo.serving import Server

BATCHING = "max_batch_size { value: 64 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 1000 }"
MANY, PER_SECOND, ABOVE_BARE_MS, STARTED_SECONDS = 64, 3000.0, 2.0, 6.0
MILLION = 1_000_000
HEADER = (
    *("model", "feature, bytes", "over", "batching", "clients", "answers", "failed", "per second", "median, ms"),
    *("p99, ms", "server, cores", "clients, cores", "start, s"),
)


@dataclass(frozen=True)
class Row:
    """Figures of one run."""

    model: str
    feature_bytes: int
    protocol: str  # "rest", "grpc", or "bare": the tail in this process
    batching: bool
    clients: int
    requests: int
    failures: int
    per_second: float
    median_ms: float
    p99_ms: float
    start_seconds: float = 0.0  # from the start of the server's process to its first answer; 0 for the bare tail
    server_cores: float = 0.0  # processor seconds per second
    client_cores: float = 0.0

    @property
    def cells(self) -> list[str]:
        """The row formatted for people."""
        return [
            self.model,
            f"{self.feature_bytes:,}",
            self.protocol,
            "on" if self.batching else "",
            str(self.clients),
            f"{self.requests:,}",
            f"{self.failures:,}",
            f"{self.per_second:,.0f}",
            f"{self.median_ms:.3g}",
            f"{self.p99_ms:.3g}",
            *("" if self.protocol == "bare" else f"{cores:.2f}" for cores in (self.server_cores, self.client_cores)),
            "" if self.protocol == "bare" else f"{self.start_seconds:.1f}",
        ]

    @property
    def line(self) -> str:
        """The row as the command prints it."""
        batching = "batching" if self.batching else ""
        return (
            f"{self.model:40} {self.feature_bytes:9,} B {self.protocol:5} {batching:9} {self.clients:4} clients "
            f"{self.requests:8,} answers {self.failures:5,} failed {self.per_second:9,.1f}/s "
            f"median {self.median_ms:8.3f} ms p99 {self.p99_ms:8.3f} ms"
        )


def summarise(times: Sequence[float] | np.ndarray, failures: int, seconds: float, **what: Any) -> Row:
    """Summarises the requests of one run.

    Args:
        times: milliseconds of each answered request.
        failures: number of requests that were not answered.
        seconds: duration of the run.
        what: the other fields of `Row`.
    """
    others: dict[str, Any] = {
        key: round(value, 2) if isinstance(value, float) else value for key, value in what.items()
    }
    return Row(
        requests=len(times),
        failures=failures,
        per_second=round(len(times) / seconds, 1) if seconds else 0.0,
        median_ms=round(statistics.median(times), 3) if len(times) else float("nan"),
        p99_ms=round(p99(np.asarray(times)), 3),
        **others,
    )


def bare(target: Target, runs: int) -> list[float]:
    """Milliseconds of each run of a tail in this process, after some runs that are not counted.

    Args:
        target: the tail.
        runs: number of runs.
    """
    from privzoo.serving.models.saved_model import SavedModel

    model, feature, times = SavedModel(target.folder), target.feature, []
    signature = model.signatures["serving_default"]
    for number in range(runs + 10):
        start = time.perf_counter()
        model.run(signature, {"features": feature})
        if number >= 10:
            times.append((time.perf_counter() - start) * 1e3)
    model.close()
    return times


def batching_flags(folder: Path, batching: bool) -> list[str]:
    """Flags of a server with or without batching; the parameters are written to a file in the folder."""
    file = folder / "batching"
    file.write_text(BATCHING, encoding="utf-8")
    return ["--enable_batching", "--batching_parameters_file", str(file)] if batching else []


def one(
    target: Target, server: Server, protocol: str, clients: int, seconds: float = 0, count: int = 0, **what: Any
) -> Row:
    """Runs clients on a server once.

    Args:
        target: the tail that receives the requests.
        server: the running server.
        protocol: "rest" or "grpc".
        clients: number of concurrent clients.
        seconds: duration; 0: until `count` is reached.
        count: number of requests; 0: until `seconds` have passed.
        what: further fields of `Row`.
    """
    before = processor.seconds_of(pid_of(server))
    with Generator([target.request(protocol)], server.url, server.grpc, clients, seconds, count) as generator:
        seen = generator.wait()
    used = processor.seconds_of(pid_of(server))["server"] - before["server"]
    complain(seen)
    return summarise(
        seen.milliseconds,
        seen.failed,
        seen.seconds,
        model=target.model,
        feature_bytes=target.feature_bytes,
        protocol=protocol,
        clients=clients,
        server_cores=used / seen.seconds,
        client_cores=seen.cpu / seen.seconds,
        **what,
    )


def complain(seen: Seen) -> None:
    """Prints the errors of failed requests."""
    for sentence, number in seen.failures.items():
        print(f"{number} failed: {sentence}", file=sys.stderr)


def run(
    targets: Sequence[Target],
    protocols: Sequence[str],
    batching: Sequence[bool],
    clients: Sequence[int],
    seconds: int,
    bare_runs: int,
) -> Result:
    """All runs of all models, and a profile of the server if it misses the goal for throughput.

    Args:
        targets: the tails, the one with small features first.
        protocols: "rest", "grpc" or both.
        batching: off, on or both.
        clients: numbers of concurrent clients.
        seconds: duration of each run.
        bare_runs: number of runs of the bare tail.
    """
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        print(row.line, flush=True)

    notes = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        for target in targets:
            times = bare(target, bare_runs)
            what = {"model": target.model, "feature_bytes": target.feature_bytes}
            add(summarise(times, 0, sum(times) / 1e3, protocol="bare", batching=False, clients=1, **what))
            for batches in batching:
                begin = time.perf_counter()
                with Server(target.base, target.model, batching_flags(Path(scratch), batches), START_SECONDS) as server:
                    answer(server.url, target.request("rest"))
                    started = time.perf_counter() - begin
                    for protocol in protocols:
                        for count in clients:
                            add(
                                one(
                                    *(target, server, protocol, count, seconds),
                                    batching=batches,
                                    start_seconds=started,
                                )
                            )
        best = max(_of(rows, targets[0], MANY, True), key=lambda row: row.per_second, default=None)
        if best is not None and best.per_second < PER_SECOND:
            flags = batching_flags(Path(scratch), True)
            with Server(targets[0].base, targets[0].model, flags, START_SECONDS) as server:
                notes = why(targets[0], server, best, max(5, seconds))
    return Result("load", HEADER, [row.cells for row in rows], goals(rows, targets), notes, [asdict(r) for r in rows])


def _of(rows: Sequence[Row], target: Target, clients: int, batching: bool | None = None) -> list[Row]:
    return [
        row
        for row in rows
        if row.model == target.model
        and row.clients == clients
        and row.protocol != "bare"
        and batching in (None, row.batching)
    ]


def goals(rows: Sequence[Row], targets: Sequence[Target]) -> list[Goal]:
    """Judges the goals by the rows."""
    (many, asked), (_, under), (start, seconds) = WANTED["load"]
    found = []
    best = max(_of(rows, targets[0], MANY, True), key=lambda row: row.per_second, default=None)
    if best is None:
        found.append(Goal(many, asked, "", None, "not in this run"))
    else:
        fast = best.per_second >= PER_SECOND and best.failures == 0
        note = "" if fast else "the profile is below"
        found.append(
            Goal(many, asked, f"{best.per_second:,.0f} over {best.protocol}, {best.failures} failed", fast, note)
        )
    for target in targets:
        what = f"1 client, features of {target.feature_bytes:,} bytes: median above the bare tail's"
        single = _of(rows, target, 1)
        alone = next((row for row in rows if row.model == target.model and row.protocol == "bare"), None)
        if not single or alone is None:
            found.append(Goal(what, under, "", None, "not in this run"))
            continue
        above = {
            f"{row.protocol}{' with batching' if row.batching else ''}": row.median_ms - alone.median_ms
            for row in single
        }
        text = ", ".join(f"{name} {value:.2f} ms" for name, value in above.items())
        found.append(Goal(what, under, text, max(above.values()) < ABOVE_BARE_MS, f"bare {alone.median_ms:.2f} ms"))
    started = [row.start_seconds for row in rows if row.start_seconds]
    if started:
        text = f"{max(started):.1f} s, the slowest of {len(set(started))} starts"
        found.append(Goal(start, seconds, text, max(started) < STARTED_SECONDS))
    return found


def why(target: Target, server: Server, best: Row, seconds: int) -> list[str]:
    """Explains in sentences what limits a server under load.

    Args:
        target: the tail that receives the requests.
        server: the running server, with batching.
        best: the run that is too slow.
        seconds: duration of each of the two recordings.
    """
    request = target.request(best.protocol)
    with Generator([request], server.url, server.grpc, best.clients, 3 * seconds + 20) as generator:
        generator.begun()
        time.sleep(1)  # until all clients are running
        most, locked = processor.profile(pid_of(server), seconds)
        generator.stop()
    each = best.server_cores / best.per_second * 1e3 if best.per_second else float("nan")
    cores, taken = len(os.sched_getaffinity(0)), best.server_cores + best.client_cores
    full = f"which fills the machine's {cores} cores" if taken > 0.9 * cores else f"of the machine's {cores}"
    notes = [
        f"What limits it: over {best.protocol} the server used {best.server_cores:.2f} cores and the {best.clients} "
        f"clients {best.client_cores:.2f}, {full}; that is {each:.2f} ms of the server's time per request. Under "
        f"py-spy one of the server's threads held Python's global lock {locked:.0%} of the time."
    ]
    if most:
        shares = ", ".join(f"{where} {share:.1%}" for where, share in most)
        notes.append(f"Where its threads ran (py-spy, {processor.RATE} samples per second for {seconds} s): {shares}.")
    else:
        notes.append("py-spy has no permission to profile the server here; run the test as root for a profile.")
    return notes


def million(target: Target, protocols: Sequence[str], clients: int, count: int) -> Result:
    """Sends many requests, to see whether any fails.

    Args:
        target: the tail that receives the requests, with batching.
        protocols: used one after the other, each for an equal share of the requests.
        clients: number of concurrent clients.
        count: total number of requests.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        begin = time.perf_counter()
        with Server(target.base, target.model, batching_flags(Path(scratch), True), START_SECONDS) as server:
            answer(server.url, target.request("rest"))
            started = time.perf_counter() - begin
            for protocol in protocols:
                share = -(-count // len(protocols))
                rows.append(one(target, server, protocol, clients, count=share, batching=True, start_seconds=started))
                print(rows[-1].line, flush=True)
    ((what, asked),) = WANTED["million"]
    done, failed = sum(row.requests for row in rows), sum(row.failures for row in rows)
    met = failed == 0 if done + failed >= MILLION else (False if failed else None)
    goal = Goal(what, asked, f"{failed:,} of {done + failed:,}", met, "" if met is not None else "a shorter run")
    return Result("million", HEADER, [row.cells for row in rows], [goal], (), [asdict(row) for row in rows])
