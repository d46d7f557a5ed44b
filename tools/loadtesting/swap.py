"""New versions of a model appear under load: do requests fail, and how much longer do they take?"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loadtesting.generator import START_SECONDS, Generator, Request, Seen, p99
from loadtesting.load import batching_flags, complain
from loadtesting.report import WANTED, Goal, Result
from loadtesting.target import Target, answer
from privzoo.errors import ServerError
from privzoo.serving import Server

RATIO = 2.0
POLL_SECONDS = 0.2  # how often the server looks for new versions
LONGEST_SECONDS = 120  # time limit of one swap
HEADER = ("model", "over", "clients", "swaps", "each, s", "requests", "failed", "p99, ms", "p99 in swaps, ms", "ratio")


@dataclass(frozen=True)
class Row:
    """Figures of one run."""

    model: str
    protocol: str
    clients: int
    swaps: int
    swap_seconds: float  # median, from the new version's appearance to the end of the previous one
    requests: int
    failures: int
    usual_requests: int
    usual_p99_ms: float
    during_requests: int
    during_p99_ms: float

    @property
    def ratio(self) -> float:
        """The 99th percentile during swaps divided by the usual one."""
        return self.during_p99_ms / self.usual_p99_ms

    @property
    def cells(self) -> list[str]:
        """The row formatted for people."""
        return [
            self.model,
            self.protocol,
            str(self.clients),
            str(self.swaps),
            f"{self.swap_seconds:.2f}",
            f"{self.requests:,}",
            f"{self.failures:,}",
            f"{self.usual_p99_ms:.3g} ({self.usual_requests:,})",
            f"{self.during_p99_ms:.3g} ({self.during_requests:,})",
            f"{self.ratio:.2f}",
        ]


def inside(starts: np.ndarray, milliseconds: np.ndarray, windows: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which requests overlapped with one of the time windows.

    Args:
        starts: start of each request in seconds.
        milliseconds: duration of each request.
        windows: begin and end of each window in seconds.

    Returns:
        Booleans, one for each request.
    """
    ends, found = starts + milliseconds / 1e3, np.zeros(len(starts), bool)
    for begin, end in windows:
        found |= (starts < end) & (ends > begin)
    return found


def bring(folder: Path, base: Path, version: int) -> None:
    """Adds a copy of a version atomically, as export does."""
    temporary = base / f".{version}.{os.getpid()}.part"
    shutil.copytree(folder, temporary)
    os.rename(temporary, base / str(version))


def states(server: Server, model: str) -> dict[int, str]:
    """The state of each version."""
    told = json.loads(answer(server.url, Request("status", "rest", f"/v1/models/{model}")))
    return {int(one["version"]): one["state"] for one in told["model_version_status"]}


def swap(server: Server, target: Target, base: Path, version: int) -> tuple[float, float]:
    """Adds a version, and waits until the previous one is unloaded.

    Returns:
        Begin and end, in seconds of time.time().

    Raises:
        ServerError: it takes too long.
    """
    begin = time.time()
    bring(target.folder, base, version)
    while states(server, target.model).get(version - 1) != "END":
        if time.time() - begin > LONGEST_SECONDS:
            raise ServerError(
                f"Version {version} of {target.model} was not in use within {LONGEST_SECONDS} s; look at the server's "
                "output."
            )
        time.sleep(0.05)
    end = time.time()
    shutil.rmtree(base / str(version - 1))
    return begin, end


def one(target: Target, protocol: str, clients: int, swaps: int, pause: float) -> Row:
    """Runs clients on one tail while its versions are swapped.

    Args:
        target: the tail.
        protocol: "rest" or "grpc".
        clients: number of concurrent clients.
        swaps: number of swaps.
        pause: seconds between two swaps.
    """
    windows = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        base = Path(scratch, target.model)
        base.mkdir()
        bring(target.folder, base, 1)
        flags = [*batching_flags(Path(scratch), True), "--file_system_poll_wait_seconds", str(POLL_SECONDS)]
        with Server(base, target.model, flags, START_SECONDS) as server:
            answer(server.url, target.request("rest"))
            with Generator([target.request(protocol)], server.url, server.grpc, clients) as generator:
                generator.begun()
                time.sleep(1 + pause)  # until all clients are running, and then for usual load
                for version in range(2, swaps + 2):
                    windows.append(swap(server, target, base, version))
                    time.sleep(pause)
                seen = generator.stop()
    complain(seen)
    return row(target.model, protocol, clients, windows, seen)


def row(model: str, protocol: str, clients: int, windows: Sequence[tuple[float, float]], seen: Seen) -> Row:
    """The figures of one run, from what clients saw and when versions were swapped."""
    during = inside(seen.starts, seen.milliseconds, windows)
    return Row(
        model,
        protocol,
        clients,
        len(windows),
        float(np.median([end - begin for begin, end in windows])),
        seen.requests,
        seen.failed,
        int((~during).sum()),
        p99(seen.milliseconds[~during]),
        int(during.sum()),
        p99(seen.milliseconds[during]),
    )


def run(targets: Sequence[Target], protocols: Sequence[str], clients: int, swaps: int, pause: float) -> Result:
    """All runs: each tail over each protocol.

    Args:
        targets: the tails.
        protocols: "rest", "grpc" or both.
        clients: number of concurrent clients.
        swaps: number of swaps in each run.
        pause: seconds between two swaps.
    """
    rows = []
    for target in targets:
        for protocol in protocols:
            rows.append(one(target, protocol, clients, swaps, pause))
            print("  ".join(f"{name}: {cell}" for name, cell in zip(HEADER, rows[-1].cells, strict=True)), flush=True)
    ((what, asked),) = WANTED["swap"]
    failed, worst = sum(r.failures for r in rows), max(rows, key=lambda r: r.ratio)
    found = f"{failed} of {sum(r.requests for r in rows) + failed:,} failed, p99 {worst.ratio:.2f} times the usual"
    note = f"the worst of {len(rows)} runs: {worst.model} over {worst.protocol}"
    goal = Goal(what, asked, found, failed == 0 and worst.ratio < RATIO, note)
    return Result("swap", HEADER, [r.cells for r in rows], [goal], (), [asdict(r) | {"ratio": r.ratio} for r in rows])
