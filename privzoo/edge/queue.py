"""Features that wait on the device for a connection: bounded, in one SQLite file, so that a restart loses none.

Only features are kept, never an image. What protects them on their way protects them here no more than the file's
permissions (its owner alone may read it) and the device's own encryption do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privzoo.errors import ConfigError, ServerUnavailableError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ticket TEXT NOT NULL UNIQUE,
    since REAL NOT NULL,
    signature TEXT NOT NULL,
    image TEXT NOT NULL,
    box TEXT NOT NULL,
    edge_ms REAL NOT NULL,
    shape TEXT NOT NULL,
    feature BLOB NOT NULL
)
"""
_VERSION = 1


@dataclass(frozen=True)
class Waiting:
    """One feature in the queue."""

    ticket: str  # names it, on every device and after every restart alike
    image: str
    box: str  # JSON of the face's square
    edge_ms: float
    feature: np.ndarray  # float32


class Queue:
    """A queue of features in a file; its methods may be called from several threads.

    Args:
        path: of the file; it is made where it is not there.
        most: features that it takes; more are refused.
        most_bytes: of all features together.
        days: after which a feature is dropped unsent.

    Raises:
        ConfigError: the file cannot be used, or is no such queue.
    """

    def __init__(
        self, path: str | os.PathLike[str], most: int = 10_000, most_bytes: int = 256 * 2**20, days: float = 7.0
    ) -> None:
        if most < 1 or most_bytes < 1 or not days > 0:
            raise ConfigError(f"A queue of {most} features, {most_bytes} bytes and {days} days cannot be; give more.")
        self.path, self.most, self.most_bytes, self.days = Path(path), most, most_bytes, days
        self._lock = threading.Lock()
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._base = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise ConfigError(f"The queue {path} is of another version of privzoo ({version}); use another file.")
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")  # what add() has taken is on the disk
            self._base.execute("PRAGMA secure_delete=ON")  # sent features do not linger in the file
            self._base.execute(_SCHEMA)
            self._base.execute(f"PRAGMA user_version={_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"The queue {path} cannot be used ({type(error).__name__}: {error}); choose another file."
            ) from None

    def __len__(self) -> int:
        """Features that wait."""
        return self._one("SELECT COUNT(*) FROM waiting")

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._base.close()

    def add(self, feature: np.ndarray, signature: str, image: str, box: str, edge_ms: float) -> str:
        """Takes a feature; one that is there already is not taken twice.

        Args:
            feature: float32 array, of one face.
            signature: of the tail that it is for.
            image: name of the photograph.
            box: JSON of the face's square.
            edge_ms: milliseconds that the head took.

        Returns:
            Its ticket.

        Raises:
            ServerUnavailableError: the queue is full, for the server was away too long.
        """
        blob = np.ascontiguousarray(feature, "<f4").tobytes()
        shape = ",".join(map(str, feature.shape))
        parts = (signature.encode(), image.encode("utf-8", "surrogateescape"), box.encode(), shape.encode(), blob)
        ticket = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]
        with self._change() as base:
            base.execute("DELETE FROM waiting WHERE since < ?", [time.time() - self.days * 86400])
            if base.execute("SELECT 1 FROM waiting WHERE ticket = ?", [ticket]).fetchone():
                return ticket
            count, size = base.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(feature)), 0) FROM waiting").fetchone()
            if count >= self.most or size + len(blob) > self.most_bytes:
                raise ServerUnavailableError(
                    f"The queue {self.path} is full ({count} features, {size} bytes); send it, or raise its bounds."
                )
            row = [ticket, time.time(), signature, image, box, edge_ms, shape, blob]
            base.execute(
                "INSERT INTO waiting (ticket, since, signature, image, box, edge_ms, shape, feature) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        return ticket

    def first(self, signature: str, count: int) -> list[Waiting]:
        """The features for a tail that wait longest.

        Args:
            signature: of the tail; features for others stay where they are.
            count: at most so many.
        """
        with self._lock:
            rows = self._base.execute(
                "SELECT ticket, image, box, edge_ms, shape, feature FROM waiting WHERE signature = ? AND since >= ? "
                "ORDER BY number LIMIT ?",
                [signature, time.time() - self.days * 86400, count],
            ).fetchall()
        return [
            Waiting(ticket, image, box, ms, np.frombuffer(blob, "<f4").reshape([int(s) for s in shape.split(",")]))
            for ticket, image, box, ms, shape, blob in rows
        ]

    def remove(self, ticket: str) -> None:
        """Drops a feature that has been answered; nothing happens where it is not there."""
        with self._change() as base:
            base.execute("DELETE FROM waiting WHERE ticket = ?", [ticket])

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    yield self._base
                except BaseException:
                    self._base.execute("ROLLBACK")
                    raise
                self._base.execute("COMMIT")
            except sqlite3.Error as error:  # a full disk, a file that somebody else holds
                raise ConfigError(f"The queue {self.path} cannot be written ({error}); check the disk.") from None

    def _one(self, query: str) -> int:
        with self._lock:
            return int(self._base.execute(query).fetchone()[0])
