"""New versions of a model appear while clients ask: does a request fail, and how much longer do they take?"""

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
POLL_SECONDS = 0.2  # of the server, for new versions
LONGEST_SECONDS = 120  # of one swap
HEADER = ("model", "over", "clients", "swaps", "each, s", "requests", "failed", "p99, ms", "p99 in swaps, ms", "ratio")


@dataclass(frozen=True)
class Row:
    """One run."""

    model: str
    protocol: str
    clients: int
    swaps: int
    swap_seconds: float  # median, from the version's appearance to the end of the one before it
    requests: int
    failures: int
    usual_requests: int
    usual_p99_ms: float
    during_requests: int
    during_p99_ms: float

    @property
    def ratio(self) -> float:
        """Of the two 99th percentiles."""
        return self.during_p99_ms / self.usual_p99_ms

    @property
    def cells(self) -> list[str]:
        """As people read it."""
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
    """Which requests ran, in part at least, in one of some windows of time.

    Args:
        starts: of the requests, seconds.
        milliseconds: that they took.
        windows: begin and end, seconds.

    Returns:
        Booleans, one for each request.
    """
    ends, found = starts + milliseconds / 1e3, np.zeros(len(starts), bool)
    for begin, end in windows:
        found |= (starts < end) & (ends > begin)
    return found


def bring(folder: Path, base: Path, version: int) -> None:
    """Puts a copy of a version there at once, as export does."""
    temporary = base / f".{version}.{os.getpid()}.part"
    shutil.copytree(folder, temporary)
    os.rename(temporary, base / str(version))


def states(server: Server, model: str) -> dict[int, str]:
    """Version -> its state."""
    told = json.loads(answer(server.url, Request("status", "rest", f"/v1/models/{model}")))
    return {int(one["version"]): one["state"] for one in told["model_version_status"]}


def swap(server: Server, target: Target, base: Path, version: int) -> tuple[float, float]:
    """Brings a version, and waits until the one before it has gone.

    Returns:
        Begin and end, in seconds as time.time() has them.

    Raises:
        ServerError: it takes too long.
    """
    begin = time.time()
    bring(target.folder, base, version)
    while states(server, target.model).get(version - 1) != "END":
        if time.time() - begin > LONGEST_SECONDS:
            raise ServerError(f"Version {version} of {target.model} did not come within {LONGEST_SECONDS} s.")
        time.sleep(0.05)
    end = time.time()
    shutil.rmtree(base / str(version - 1))
    return begin, end


def one(target: Target, protocol: str, clients: int, swaps: int, pause: float) -> Row:
    """One run.

    Args:
        target: whose versions appear.
        protocol: "rest" or "grpc".
        clients: at once.
        swaps: how often.
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
                time.sleep(1 + pause)  # until all clients ask, and then as usual
                for version in range(2, swaps + 2):
                    windows.append(swap(server, target, base, version))
                    time.sleep(pause)
                seen = generator.stop()
    complain(seen)
    return row(target.model, protocol, clients, windows, seen)


def row(model: str, protocol: str, clients: int, windows: Sequence[tuple[float, float]], seen: Seen) -> Row:
    """The row of what clients saw, and when versions were swapped."""
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
        protocols: of "rest" and "grpc".
        clients: at once.
        swaps: of each run.
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
