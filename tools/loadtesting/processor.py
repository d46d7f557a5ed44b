"""What processes take of the machine: processor, memory, descriptors, threads; and where a server spends its time."""

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

RATE = 100  # samples a second
SHOWN = 15  # functions of a profile


@dataclass(frozen=True)
class Sample:
    """A process at one moment."""

    seconds: float  # since the first sample
    memory: int  # resident, in bytes
    files: int  # open descriptors
    threads: int


def sample(pid: int, start: float) -> Sample | None:
    """Looks at a process; None if it has ended.

    Args:
        pid: of the process.
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
    """The most memory that a process has had, in bytes; None if the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def seconds_of(pid: int, group: Callable[[str], str] = lambda name: "server") -> Counter[str]:
    """Seconds of the processor that a process and those it started have taken.

    Args:
        pid: of the first process.
        group: the name of a process, as the system shows it -> the name under which it counts.
    """
    import psutil

    taken: Counter[str] = Counter()
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it ends while it is looked at
                times = process.cpu_times()
                taken[group((process.cmdline() or [process.name()])[0])] += times.user + times.system
    return taken


def profile(pid: int, seconds: int) -> tuple[list[tuple[str, float]], float]:
    """Looks with py-spy where a process of Python spends its time.

    Args:
        pid: of the process.
        seconds: to look for.

    Returns:
        Function and file, with its share of the samples of threads that ran, the most frequent first; and the share
        of the time in which a thread held Python's lock.
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
    """Stacks, as `function (file);...`, with their samples; none if py-spy may not look."""
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
