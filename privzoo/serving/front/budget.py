"""One memory budget for the requests in flight, over REST and gRPC; memory is counted before it is allocated."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from types import TracebackType

from privzoo.errors import ConfigError
from privzoo.serving.waiting import Turns
from privzoo.serving.wire.refusal import Refusal

# Bytes of memory that a byte of a body takes until it is answered: text and JSON objects, or message and tensors, then
# arrays and their copies in a batch. `tools/loadtest.py --mode large` measures whether they are enough.
REST_COPIES = 10
GRPC_COPIES = 5
# Bytes of a gRPC message other than its features: names, shapes, and the tags before each number of an unpacked list.
MARGIN = 2**20
SMALL = 64 * 1024  # bytes of a body up to which it may use the part of the budget that is kept free of larger ones
# Where Linux states the memory limit of a control group, such as a container; version 2, and version 1.
GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_KEPT = 8  # that part: one of so many
_SIZES = 24  # the smallest budget, in bodies of the largest size: half for gRPC's messages, and one body over REST


class Budget:
    """Memory in bytes that all requests together may use; belongs to one event loop.

    Args:
        limit: bytes.
        largest: bytes of the largest body.

    Raises:
        ConfigError: the limit is too small for one body.
    """

    def __init__(self, limit: int, largest: int) -> None:
        if limit < least(largest):
            raise ConfigError(
                f"--max_bytes_in_flight {limit} is too small for a body of --max_body_bytes {largest}; give "
                f"{least(largest)} or more, or a smaller --max_body_bytes."
            )
        self.limit = self._shared = limit
        self.largest = largest
        self.taken = 0  # of the shared part
        self.reads: Turns | None = None  # gRPC messages that are read, each with room for the largest

    def keep_for_reads(self) -> Turns:
        """Sets half of the budget aside for gRPC messages while they are read: only then are their sizes known.

        Returns:
            It has as many turns as it has room for messages of the largest size.
        """
        if self.reads is None:
            message = self.largest + MARGIN
            self.reads = Turns(self.limit // 2 // message)
            self._shared = self.limit - self.reads.count * message
        return self.reads

    def take(self, size: int, small: bool = False) -> Held:
        """Takes bytes for a request.

        Args:
            size: bytes of memory.
            small: for a body of at most `SMALL` bytes, for which a part of the budget is reserved.

        Raises:
            Refusal: they are more than what is left.
        """
        held = Held(self, small)
        held.resize(size)
        return held

    def room(self, small: bool) -> int:
        """Bytes that are left for a request, small or not."""
        return (self._shared if small else self._shared - self._shared // _KEPT) - self.taken


class Held:
    """Bytes that one request holds, until the end of a `with` block or `release`.

    Args:
        budget: that they are of.
        small: as `Budget.take` has it.
    """

    def __init__(self, budget: Budget, small: bool) -> None:
        self.size, self.small, self._budget = 0, small, budget

    def resize(self, size: int) -> None:
        """Changes the number of bytes held; if there is no room, it stays as it was.

        Raises:
            Refusal: they are more than what is left.
        """
        more = size - self.size
        if more > 0 and more > self._budget.room(self.small):
            raise Refusal(
                "RESOURCE_EXHAUSTED",
                "The server's memory for requests is in use; try again a little later.",
            )
        self._budget.taken += more
        self.size = size

    def release(self) -> None:
        """Releases the bytes; further calls do nothing."""
        self._budget.taken -= self.size
        self.size = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def least(largest: int) -> int:
    """The smallest budget for bodies of a largest size, in bytes."""
    return _SIZES * largest + 2 * MARGIN


def default_limit(largest: int) -> int:
    """Half of the memory that this process may have, or what a body of the largest size needs.

    Args:
        largest: bytes of the largest body.
    """
    return max(memory() // 2, least(largest))


def give_back_at_once() -> None:
    """Lets glibc return the memory of large bodies to the system when they are freed.

    By default it raises the size from which it does so up to 32 MiB, and keeps smaller blocks for reuse: freed bodies
    then stay with the process, beyond any budget. Without glibc this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its control group's; 0 if neither is known."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        machine = 0
    for file in GROUPS:
        try:
            group = int(Path(file).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        return min(machine, group) if machine else group
    return machine
