"""What processes use: processor time, memory, descriptors and threads; and where a server spends its time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RATE = 100  # samples per second
SHOWN = 15  # number of functions shown of a profile


@dataclass(frozen=True)
class Sample:
    """What a process used at one moment."""

    seconds: float  # since the first sample
    memory: int  # resident, in bytes
    files: int  # open descriptors
    threads: int


def sample(pid: int, start: float) -> Sample | None:
    """Takes a sample of a process; None if it has ended.

    Args:
        pid: process ID.
        start: `time.monotonic()` of the first sample.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    except psutil.Error:
        return None
    return Sample(time.monotonic() - start, memory, files, threads)


def peak(pid: int) -> int | None:
    """Peak resident memory of a process in bytes; None if the system does not report it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def seconds_of(pid: int, group: Callable[[str], str] = lambda name: "server") -> Counter[str]:
    """Processor seconds used by a process and its descendants.

    Args:
        pid: process ID of the first one.
        group: maps a process's name, as the system shows it, to the name under which it is counted.
    """
    import psutil

    taken: Counter[str] = Counter()
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it may end meanwhile
                times = process.cpu_times()
                taken[group((process.cmdline() or [process.name()])[0])] += times.user + times.system
    return taken


def profile(pid: int, seconds: int) -> tuple[list[tuple[str, float]], float]:
    """Profiles a Python process with py-spy.

    Args:
        pid: process ID.
        seconds: duration of each of the two recordings.

    Returns:
        Function and file with their share of the samples of running threads, the most frequent first; and the share of
        the time in which a thread held Python's global lock.
    """
    with tempfile.TemporaryDirectory(prefix="privzoo-profile-") as folder:
        shares = _record(pid, seconds, Path(folder, "all"), [])
        locked = _record(pid, seconds, Path(folder, "locked"), ["--gil"])
    total = sum(shares.values())
    own: Counter[str] = Counter()
    for stack, count in shares.items():
        own[stack.rpartition(";")[2]] += count
    most = [(where, count / total) for where, count in own.most_common(SHOWN)]
    return most, min(1.0, sum(locked.values()) / (RATE * seconds))


def _record(pid: int, seconds: int, out: Path, flags: list[str]) -> Counter[str]:
    """Stacks, written `function (file);...`, with their numbers of samples; empty if py-spy lacks permission."""
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", "raw"]
    command += ["--function", "--rate", str(RATE), "--duration", str(seconds), "--output", str(out), *flags]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=seconds + 60)
    stacks: Counter[str] = Counter()
    if out.exists():
        for line in out.read_text(encoding="utf-8", errors="replace").splitlines():
            stack, _, count = line.rpartition(" ")
            stacks[stack] += int(count)
    return stacks
