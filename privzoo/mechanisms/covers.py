"""Covers: other faces on the device, that fill a group of mixed faces; each is mixed under one key only.

A cover that is mixed under two keys gives itself away, and more. The mixtures of one request span the space of its
features, that of the other request another; features of faces are independent, so the two spaces meet in the shared
cover's feature and nowhere else. Linear algebra finds it, without statistics and whatever the coefficients. With it
known, the rest of both groups has one unknown less, and a pool that is used again and again is read out face by face.
The same holds for a face that is asked about twice: its photographs should differ, and the answer be kept.

So covers are counted as used before the mixtures exist, under the hash of their pixels: two files with the same face
chip are one cover. With a record, a SQLite file, this outlasts the process, and processes that share it take turns.
Covers must be secret, too: whoever has them can take them out of a mixture.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from privzoo import checks, databases
from privzoo.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

KIND = databases.Kind("record of covers", 0x505A4356, 1, {})  # "PZCV"
_SCHEMA = "CREATE TABLE used (chip BLOB PRIMARY KEY) WITHOUT ROWID"
_WAIT = 10.0  # seconds for others that hold the record


class Covers:
    """A pool of face chips, each given out once.

    Args:
        chips: uint8 (N, S, S, 3), as the head takes them; equal ones count once.
        record: file in which used covers are remembered, created if missing; None: only in memory, for tests and where
            the pool is thrown away with the process.

    Raises:
        ImageError: no face chips.
        ConfigError: the record cannot be used.

    Example:
        >>> pool = Covers(np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3))
        >>> len(pool.take(2)), pool.remaining()
        (2, 1)
    """

    def __init__(self, chips: np.ndarray, record: str | os.PathLike[str] | None = None) -> None:
        chips = np.asarray(chips)
        if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (chips.shape[1], chips.shape[1], 3):
            raise ImageError(
                f"The covers are {chips.dtype} of shape {chips.shape}; give face chips, uint8 (N, S, S, 3)."
            )
        self._chips = {_hash(chip): chip for chip in chips}
        self._used: set[bytes] = set()  # without a record
        self._lock = threading.Lock()
        self._record = None if record is None else checks.path("record", record).absolute()
        if self._record is not None:
            with self._opened(self._record):
                pass  # rejects an invalid file now rather than at the first face

    def __repr__(self) -> str:
        """How many there are; no faces."""
        return f"Covers({len(self._chips)})"

    def remaining(self) -> int:
        """Covers that were not used yet."""
        with self._lock, self._state() as (used, _):
            return len(self._chips.keys() - used)

    def take(self, count: int, asked: np.ndarray | None = None, rng: random.Random | None = None) -> np.ndarray:
        """Covers that were never used, in random order; from now on they are.

        Args:
            count: how many.
            asked: chips of the faces that are mixed with them, uint8 (N, S, S, 3): none of these is taken, now or
                later.
            rng: for tests only; by default the operating system's random source.

        Returns:
            uint8 (count, S, S, 3).

        Raises:
            ConfigError: fewer are left, and none was taken; or the record cannot be written.
        """
        besides = [] if asked is None else [_hash(chip) for chip in asked]
        with self._lock, self._state() as (used, keep):
            left = sorted(self._chips.keys() - used - set(besides))
            if len(left) < count:
                raise ConfigError(
                    f"The pool has {len(left)} unused covers of {len(self._chips)}, and {count} are needed; add other "
                    "faces to it, or ask about more faces at once."
                )
            chosen = (rng or random.SystemRandom()).sample(left, count)
            keep([*chosen, *besides])
        shape = next(iter(self._chips.values())).shape if self._chips else (0, 0, 3)
        return np.stack([self._chips[one] for one in chosen]) if chosen else np.zeros((0, *shape), np.uint8)

    @contextlib.contextmanager
    def _state(self) -> Iterator[tuple[set[bytes], Callable[[list[bytes]], object]]]:
        """Hashes of used covers, and what adds to them; with a record, nobody else reads or writes it meanwhile."""
        if self._record is None:
            yield self._used, self._used.update
            return
        with self._opened(self._record) as base:

            def keep(chosen: list[bytes]) -> None:
                base.executemany("INSERT OR IGNORE INTO used VALUES (?)", [(one,) for one in chosen])

            yield {bytes(chip) for (chip,) in base.execute("SELECT chip FROM used")}, keep

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[sqlite3.Connection]:
        try:
            databases.create(path)
            databases.make_private(path)
            base = databases.connect(path, _WAIT)
            try:
                base.execute("PRAGMA synchronous = FULL")  # on the disk before a mixture exists
                base.execute("BEGIN IMMEDIATE")
                if KIND.version_of(base, path) == 0:
                    base.execute(_SCHEMA)
                    base.execute(f"PRAGMA application_id = {KIND.application}")
                    base.execute(f"PRAGMA user_version = {KIND.version}")
                yield base
                base.execute("COMMIT")
            finally:
                base.close()
        except (OSError, ValueError, sqlite3.Error) as error:
            if isinstance(error, ConfigError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"The record of covers {path} cannot be used ({reason}); give a file that can be written."
            ) from None


def _hash(chip: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(chip).tobytes()).digest()
