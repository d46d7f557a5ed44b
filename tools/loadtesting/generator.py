"""Runs locust's clients in a separate process."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from privzoo.errors import PrivzooError

MOST_CLIENTS = 256
LONGEST_SECONDS = 4 * 3600  # time limit of any run, including those that end after a number of requests
START_SECONDS = 400.0  # time limit for servers and clients to start, on a busy machine


@dataclass(frozen=True)
class Request:
    """One request that clients send repeatedly."""

    name: str
    protocol: str  # "rest" or "grpc"
    path: str
    body: bytes = b""
    method: str = "POST"
    malformed: bool = False  # may be refused


@dataclass(frozen=True)
class Seen:
    """What the clients saw."""

    milliseconds: np.ndarray  # duration of each answered request, in the order of their ends; empty if not kept
    starts: np.ndarray  # start of the same requests, in seconds of time.time()
    answered: dict[str, int]  # name of the request -> count
    failures: dict[str, int]  # error message -> count
    seconds: float  # from the first request's start to the last one's end
    cpu: float  # processor seconds that the clients used
    codes: dict[str, int] = field(default_factory=dict)  # "<name>: <HTTP status or gRPC code>" -> count

    @property
    def requests(self) -> int:
        """Number of answered requests."""
        return sum(self.answered.values())

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(self.failures.values())


class Generator:
    """Clients that send requests from the beginning of a `with` block on.

    Args:
        requests: sent one after the other by every client of their protocol.
        url: address of the REST interface.
        grpc: address of the gRPC interface, host:port.
        clients: number of concurrent clients.
        seconds: duration; 0: until the count is reached, or until `stop`.
        count: total number of requests; 0: no limit.
        keep: whether to keep the time of each request.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        url: str,
        grpc: str,
        clients: int,
        seconds: float = 0,
        count: int = 0,
        keep: bool = True,
    ) -> None:
        self.requests, self.url, self.grpc, self.clients = requests, url, grpc, clients
        self.seconds, self.count, self.keep = seconds, count, keep
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Generator:
        """Starts the clients."""
        self._folder = tempfile.TemporaryDirectory(prefix="privzoo-load-")
        plan = {
            "rest": self.url,
            "grpc": self.grpc,
            "count": self.count,
            "keep": self.keep,
            "out": str(self._out),
            "requests": [vars(one) | {"body": base64.b64encode(one.body).decode()} for one in self.requests],
        }
        file = self._inside("plan")
        file.write_text(json.dumps(plan))
        command = [sys.executable, "-m", "locust", "--locustfile", str(Path(__file__).with_name("users.py"))]
        command += ["--headless", "--only-summary", "--skip-log", "--exit-code-on-error", "0"]
        command += ["--users", str(self.clients), "--spawn-rate", str(self.clients), "--stop-timeout", "10"]
        if self.seconds:
            command += ["--run-time", f"{max(1, round(self.seconds))}s"]
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PRIVZOO_LOAD": str(file)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=open(self._errors, "w", encoding="utf-8"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the clients."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def running(self) -> bool:
        """Whether the clients are still running."""
        return self._started.poll() is None

    def begun(self) -> None:
        """Waits for the first answer to a request.

        Raises:
            PrivzooError: there was none within `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while not Path(f"{self._out}.begun").exists():
            if not self.running or time.monotonic() > deadline:
                raise self._failed()
            time.sleep(0.05)

    def stop(self) -> Seen:
        """Stops the clients, and returns what they saw."""
        self._started.terminate()
        return self.wait()

    def wait(self) -> Seen:
        """Waits until the clients have ended, and returns what they saw.

        Raises:
            PrivzooError: they ended without figures.
        """
        longest = self.seconds + 120 if self.seconds else LONGEST_SECONDS
        try:
            self._started.wait(longest)
            found = json.loads(self._out.read_text())
        except (OSError, ValueError, subprocess.TimeoutExpired):
            raise self._failed() from None
        return Seen(
            np.fromfile(f"{self._out}.milliseconds"),
            np.fromfile(f"{self._out}.starts"),
            found["answered"],
            found["failures"],
            max(1e-9, found["last"] - found["first"]),
            found["cpu"],
            found["codes"],
        )

    def _failed(self) -> PrivzooError:
        lines = self._errors.read_text(errors="replace").strip().splitlines() or ["no output"]
        how = "has not started" if self.running else f"ended with code {self._started.poll()}"
        return PrivzooError(f"locust {how}, so there are no figures; its last line of output: {lines[-1]}")

    @property
    def _out(self) -> Path:
        return self._inside("out")

    @property
    def _errors(self) -> Path:
        return self._inside("errors")

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "clients run inside a `with` block"
        return self._process

    def _inside(self, name: str) -> Path:
        assert self._folder is not None, "clients run inside a `with` block"
        return Path(self._folder.name, name)


def p99(milliseconds: np.ndarray) -> float:
    """The 99th percentile of response times; NaN if there are none."""
    ordered = np.sort(milliseconds)
    return float(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]) if len(ordered) else float("nan")
