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

HEADER = ("engine", "replicas", "clients", "answers", "failed", "per second", "median, ms", "p99, ms", "cores used by")


@dataclass(frozen=True)
class Row:
    """Figures of one run."""

    engine: str  # "embedded" or "ray"
    replicas: int
    clients: int
    requests: int
    failures: int
    per_second: float
    median_ms: float
    p99_ms: float
    cores: dict[str, float]  # what uses them -> processor seconds per second

    @property
    def cells(self) -> list[str]:
        """The row formatted for people."""
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
    """What one of Ray's processes does."""
    for part, what in (("ServeReplica", "replicas"), ("ProxyActor", "proxy"), ("haproxy", "proxy")):
        if part in name:
            return what
    return "Ray itself"


def one(target: Target, engine: str, replicas: int, clients: Sequence[int], seconds: int) -> list[Row]:
    """Runs one engine with each number of clients.

    Args:
        target: the tail that receives the requests over REST.
        engine: "embedded" or "ray".
        replicas: number of replicas on Ray Serve.
        clients: numbers of concurrent clients.
        seconds: duration of each run.
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
    """Runs the embedded server, then Ray Serve with each number of replicas.

    Args:
        target: the tail that receives the requests, over REST and with batching.
        replicas: numbers of replicas.
        clients: numbers of concurrent clients.
        seconds: duration of each run.
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
        f"What limits it, at its best ({full.replicas} replica{'s' if full.replicas > 1 else ''}, {full.clients} "
        f"clients): all processes together use {taken:.2f} of {cores} cores, so {how}; the {most} "
        f"use{'s' if most == 'proxy' else ''} most, {full.cores[most]:.2f} cores, "
        f"{full.cores[most] / full.per_second * 1e3:.2f} ms per request."
    )
    return Result("ray", HEADER, [row.cells for row in rows], [goal], [note], [asdict(row) for row in rows])
