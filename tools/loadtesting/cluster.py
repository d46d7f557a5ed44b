"""Replicas on Ray Serve compared with the embedded server: the gain from each on this machine, and its limits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loadtesting import processor
from loadtesting.generator import START_SECONDS, Generator, p99
from loadtesting.load import batching_flags, complain
from loadtesting.report import Goal, Result
from loadtesting.target import Target, answer, pid_of
from privzoo.serving import Server

HEADER = ("engine", "replicas", "clients", "answers", "failed", "a second", "median, ms", "p99, ms", "cores taken by")


@dataclass(frozen=True)
class Row:
    """One run."""

    engine: str  # "embedded" or "ray"
    replicas: int
    clients: int
    requests: int
    failures: int
    per_second: float
    median_ms: float
    p99_ms: float
    cores: dict[str, float]  # what takes them -> seconds of the processor for each second

    @property
    def cells(self) -> list[str]:
        """As people read it."""
        return [
            self.engine,
            str(self.replicas),
            str(self.clients),
            f"{self.requests:,}",
            f"{self.failures:,}",
            f"{self.per_second:,.0f}",
            f"{self.median_ms:.3g}",
            f"{self.p99_ms:.3g}",
            ", ".join(f"{name} {used:.2f}" for name, used in self.cores.items() if used >= 0.01),
        ]


def group(name: str) -> str:
    """What a process of Ray's is."""
    for part, what in (("ServeReplica", "replicas"), ("ProxyActor", "proxy"), ("haproxy", "proxy")):
        if part in name:
            return what
    return "Ray itself"


def one(target: Target, engine: str, replicas: int, clients: Sequence[int], seconds: int) -> list[Row]:
    """Runs of one engine.

    Args:
        target: that is asked over REST.
        engine: "embedded" or "ray".
        replicas: of Ray's.
        clients: counts of clients.
        seconds: of each run.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        flags = batching_flags(Path(scratch), True)
        if engine == "ray":
            file = Path(scratch, "cluster.yaml")
            file.write_text(f"replicas: {replicas}\ncpus: 0.5\n", encoding="utf-8")
            flags += ["--engine", "ray", "--engine_config_file", str(file)]
        with Server(target.base, target.model, flags, timeout=START_SECONDS) as server:
            answer(server.url, target.request("rest"))
            for count in clients:
                groups = (group,) if engine == "ray" else ()
                before = processor.seconds_of(pid_of(server), *groups)
                with Generator([target.request("rest")], server.url, server.grpc, count, seconds) as generator:
                    seen = generator.wait()
                complain(seen)
                used = processor.seconds_of(pid_of(server), *groups)
                used.subtract(before)
                cores = {name: round(value / seen.seconds, 2) for name, value in used.most_common()}
                rows.append(
                    Row(
                        engine,
                        replicas,
                        count,
                        seen.requests,
                        seen.failed,
                        round(seen.requests / seen.seconds, 1),
                        float(np.median(seen.milliseconds)) if seen.requests else float("nan"),
                        p99(seen.milliseconds),
                        cores | {"clients": round(seen.cpu / seen.seconds, 2)},
                    )
                )
                print("  ".join(f"{n}: {c}" for n, c in zip(HEADER, rows[-1].cells, strict=True)), flush=True)
    return rows


def run(target: Target, replicas: Sequence[int], clients: Sequence[int], seconds: int) -> Result:
    """The embedded server, then Ray with each count of replicas.

    Args:
        target: that is asked over REST, with batching.
        replicas: counts of replicas.
        clients: counts of clients.
        seconds: of each run.
    """
    rows = one(target, "embedded", 1, clients, seconds)
    for count in replicas:
        rows += one(target, "ray", count, clients, seconds)
    failed = sum(row.failures for row in rows)
    goal = Goal("Ray Serve, errors under load", "none", f"{failed} of {sum(r.requests for r in rows):,}", failed == 0)
    cores = len(os.sched_getaffinity(0))
    full = max((row for row in rows if row.engine == "ray"), key=lambda row: row.per_second)
    taken = sum(full.cores.values())
    most = max((name for name in full.cores if name != "clients"), key=lambda name: full.cores[name])
    how = "they fill the machine" if taken > 0.9 * cores else "they do not fill the machine"
    note = (
        f"What limits it, at its best ({full.replicas} replicas, {full.clients} clients): all processes together take "
        f"{taken:.2f} of {cores} cores, so {how}; the {most} take{'s' if most == 'proxy' else ''} most, "
        f"{full.cores[most]:.2f} cores, {full.cores[most] / full.per_second * 1e3:.2f} ms for each request."
    )
    return Result("ray", HEADER, [row.cells for row in rows], [goal], [note], [asdict(row) for row in rows])
