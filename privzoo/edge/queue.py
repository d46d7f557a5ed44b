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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privzoo.errors import ConfigError, PrivzooError, ServerUnavailableError

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
);
CREATE TABLE IF NOT EXISTS refused (
    ticket TEXT PRIMARY KEY,
    since REAL NOT NULL,
    image TEXT NOT NULL,
    reason TEXT NOT NULL
);
"""
_VERSION = 2  # 1 had no table of refused features; such a file is brought up to date when it is opened


@dataclass(frozen=True)
class Entry:
    """One feature on its way into the queue."""

    feature: np.ndarray  # float32, of one face
    signature: str  # of the tail that it is for
    image: str  # name of the photograph
    box: str  # JSON of the face's square
    edge_ms: float  # milliseconds that the head took


@dataclass(frozen=True)
class Waiting:
    """One feature in the queue."""

    ticket: str  # names it, on every device and after every restart alike
    image: str
    box: str  # JSON of the face's square
    edge_ms: float
    feature: np.ndarray  # float32


@dataclass(frozen=True)
class Refused:
    """A feature that will never be answered. Its numbers are gone; this says what became of it."""

    ticket: str
    image: str
    reason: str  # one sentence
    since: float  # seconds since 1970: when it was set aside


class Queue:
    """A queue of features in a file; its methods may be called from several threads.

    Args:
        path: of the file; it is made where it is not there.
        most: features that it takes; more are refused.
        most_bytes: of all features together.
        days: after which a feature is dropped unsent, and a refused one forgotten.

    Raises (the methods too):
        ConfigError: the file cannot be used, or is no such queue.
    """

    def __init__(
        self, path: str | os.PathLike[str], most: int = 10_000, most_bytes: int = 256 * 2**20, days: float = 7.0
    ) -> None:
        if most < 1 or most_bytes < 1 or not days > 0:
            raise ConfigError(f"A queue of {most} features, {most_bytes} bytes and {days} days cannot be; give more.")
        self.most, self.most_bytes, self.days = most, most_bytes, days
        self.path = Path(path).absolute()  # the program may change its folder
        self._lock = threading.Lock()
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._base = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise ConfigError(f"The queue {path} is of another version of privzoo ({version}); use another file.")
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")  # what add() has taken is on the disk
            self._base.execute("PRAGMA secure_delete=ON")  # sent features do not linger in the file
            self._base.executescript(_SCHEMA)
            self._base.execute(f"PRAGMA user_version={_VERSION}")
            self._file = _identity(self.path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"The queue {path} cannot be used ({type(error).__name__}: {error}); choose another file."
            ) from None

    def __len__(self) -> int:
        """Features that wait."""
        with self._use() as base:
            return int(base.execute("SELECT COUNT(*) FROM waiting").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):  # nothing is lost: each change is on the disk already
            self._base.close()

    def check_room(self, count: int, size: int) -> None:
        """Refuses features before they are made, and their budget spent, where there is no room for them.

        Args:
            count: features that are to come.
            size: bytes of all of them.

        Raises:
            ServerUnavailableError: the queue is too full.
        """
        with self._change() as base:
            self._drop_old(base)
            self._check_room(base, count, size)

    def add(self, feature: np.ndarray, signature: str, image: str, box: str, edge_ms: float) -> str:
        """Takes one feature, as `add_all`; returns its ticket."""
        return self.add_all([Entry(feature, signature, image, box, edge_ms)])[0]

    def add_all(self, entries: Sequence[Entry]) -> list[str]:
        """Takes features, all or none; one that is there already is not taken twice.

        Args:
            entries: the features.

        Returns:
            The ticket of each.

        Raises:
            ServerUnavailableError: the queue is full, for the server was away too long.
        """
        tickets = []
        with self._change() as base:
            self._drop_old(base)
            for entry in entries:
                blob = np.ascontiguousarray(entry.feature, "<f4").tobytes()
                shape = ",".join(map(str, entry.feature.shape))
                image = _text(entry.image)
                tickets.append(_ticket(entry.signature, image, entry.box, shape, blob))
                if base.execute("SELECT 1 FROM waiting WHERE ticket = ?", tickets[-1:]).fetchone():
                    continue
                self._check_room(base, 1, len(blob))
                row = [tickets[-1], time.time(), entry.signature, image, entry.box, entry.edge_ms, shape, blob]
                base.execute(
                    "INSERT INTO waiting (ticket, since, signature, image, box, edge_ms, shape, feature) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
        return tickets

    def first(self, signature: str, count: int) -> list[Waiting]:
        """The features for a tail that wait longest; one whose entry in the file is damaged is set aside.

        Args:
            signature: of the tail; features for others stay where they are.
            count: at most so many.
        """
        found: list[Waiting] = []
        while True:
            with self._use() as base:
                rows = base.execute(
                    "SELECT ticket, image, box, edge_ms, shape, feature FROM waiting "
                    "WHERE signature = ? AND since >= ? ORDER BY number LIMIT ?",
                    [signature, time.time() - self.days * 86400, count],
                ).fetchall()
            found, damaged = [], []
            for ticket, image, box, milliseconds, shape, blob in rows:
                try:
                    feature = np.frombuffer(blob, "<f4").reshape([int(side) for side in shape.split(",")])
                    found.append(Waiting(ticket, image, box, float(milliseconds), feature))
                except (ValueError, TypeError, AttributeError):
                    damaged.append(ticket)
            if not damaged:
                return found
            for ticket in damaged:
                self.set_aside(ticket, "Its entry in the queue's file is damaged.")

    def remove(self, ticket: str) -> None:
        """Drops a feature that has been answered; nothing happens where it is not there."""
        with self._change() as base:
            base.execute("DELETE FROM waiting WHERE ticket = ?", [ticket])

    def set_aside(self, ticket: str, reason: str) -> None:
        """Takes a feature that no server will answer out of the way; its numbers are deleted, its name kept.

        Args:
            ticket: of the feature; nothing happens where it does not wait.
            reason: one sentence for `refused`.
        """
        with self._change() as base:
            base.execute(
                "INSERT OR REPLACE INTO refused (ticket, since, image, reason) "
                "SELECT ticket, ?, image, ? FROM waiting WHERE ticket = ?",
                [time.time(), reason, ticket],
            )
            base.execute("DELETE FROM waiting WHERE ticket = ?", [ticket])

    def refused(self) -> list[Refused]:
        """The features that were set aside, the earliest first."""
        with self._use() as base:
            rows = base.execute("SELECT ticket, image, reason, since FROM refused ORDER BY since, rowid").fetchall()
        return [Refused(*row) for row in rows]

    def forget(self, ticket: str) -> None:
        """Drops what `refused` says of a feature."""
        with self._change() as base:
            base.execute("DELETE FROM refused WHERE ticket = ?", [ticket])

    def _drop_old(self, base: sqlite3.Connection) -> None:
        oldest = time.time() - self.days * 86400
        base.execute("DELETE FROM waiting WHERE since < ?", [oldest])
        base.execute("DELETE FROM refused WHERE since < ?", [oldest])

    def _check_room(self, base: sqlite3.Connection, more: int, size: int) -> None:
        count, held = base.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(feature)), 0) FROM waiting").fetchone()
        if count + more > self.most or held + size > self.most_bytes:
            raise ServerUnavailableError(
                f"The queue {self.path} is full ({count} features, {held} bytes); send it, or raise its bounds."
            )

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time; what SQLite says of it becomes one sentence."""
        with self._lock:
            try:
                if _identity(self.path) != self._file:
                    raise ConfigError(f"The queue {self.path} was deleted or replaced; open it again.")
                yield self._base
            except PrivzooError:  # some are OSErrors
                raise
            except sqlite3.ProgrammingError:
                raise ConfigError(f"The queue {self.path} is closed; open it again.") from None
            except (OSError, sqlite3.Error) as error:  # a full or broken disk, a file that somebody else holds
                raise ConfigError(f"The queue {self.path} cannot be used ({error}); check the file and disk.") from None

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """The same, for a change that is made in whole or not at all."""
        with self._use() as base:
            base.execute("BEGIN IMMEDIATE")
            try:
                yield base
                base.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # after a full disk SQLite has rolled back by itself
                    base.execute("ROLLBACK")
                raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _text(name: str) -> str:
    """A photograph's name as SQLite takes it: the bytes of one that is not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _ticket(signature: str, image: str, box: str, shape: str, blob: bytes) -> str:
    parts = (signature.encode(), image.encode(), box.encode(), shape.encode(), blob)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]
