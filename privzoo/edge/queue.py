"""Features queued on the device until there is a connection: bounded, in one SQLite file, so that a restart loses none.

Only features are kept, never an image. Here they are protected only by the file's permissions (only its owner may read
it) and the device's own encryption.
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
from typing import Any

import numpy as np

from privzoo import checks, databases, texts
from privzoo.errors import ConfigError, FeatureError, PrivzooError, ServerUnavailableError

_WAITING = ("number", "ticket", "since", "signature", "image", "box", "edge_ms", "shape", "feature")
# Version 1 had no table of refused features, version 2 did not keep their values; neither had an application_id. Such
# files are migrated when opened.
_REFUSED = ("ticket", "since", "image", "reason")
KIND = databases.Kind("queue", 0x505A5155, 3, {"waiting": _WAITING, "refused": _REFUSED})  # "PZQU"
_SCHEMA = (
    """
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
""",
    """
CREATE TABLE IF NOT EXISTS refused (
    ticket TEXT PRIMARY KEY,
    since REAL NOT NULL,
    image TEXT NOT NULL,
    reason TEXT NOT NULL
)
""",
)
_KEPT = {"signature": "TEXT", "box": "TEXT", "edge_ms": "REAL", "shape": "TEXT", "feature": "BLOB"}  # of refused ones
_MOST_BYTES = 2**40


@dataclass(frozen=True)
class Entry:
    """One feature to be queued."""

    feature: Any  # numbers of one face, as an array or lists; kept as float32
    signature: str  # of the tail that it is for
    image: str  # name of the photograph
    box: str  # JSON of the face's square
    edge_ms: float  # milliseconds that the head took


@dataclass(frozen=True)
class Waiting:
    """One feature in the queue."""

    ticket: str  # its identifier, the same on every device and after every restart
    image: str
    box: str  # JSON of the face's square
    edge_ms: float
    feature: np.ndarray  # float32


@dataclass(frozen=True)
class Refused:
    """A feature that was set aside; it is kept until `Queue.forget`, or sent again after `Queue.retry_refused`."""

    ticket: str
    image: str
    reason: str  # one sentence
    since: float  # seconds since 1970: when it was set aside


class Queue:
    """A queue of features in a file; its methods may be called from several threads.

    Args:
        path: of the file; it is created if missing. One that others may read is restricted to its owner.
        most: maximum number of features, including refused ones.
        most_bytes: maximum total size of these features.
        days: age at which a feature is dropped unsent.

    Raises (the methods too):
        ConfigError: the file cannot be used, or is not such a queue, and stays as it is; or an argument is invalid.
    """

    def __init__(
        self, path: str | os.PathLike[str], most: int = 10_000, most_bytes: int = 256 * 2**20, days: float = 7.0
    ) -> None:
        self.most = checks.count("most", most, least=1, most=_MOST_BYTES, unit="features")
        self.most_bytes = checks.count("most_bytes", most_bytes, least=1, most=_MOST_BYTES, unit="bytes")
        self.days = checks.number("days", days, above=0, unit="days")
        self.path = checks.path("path", path).absolute()  # the program may change its folder
        self._lock = threading.Lock()
        try:
            databases.create(self.path)
            self._base = databases.connect(self.path, 10.0, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._base.close()
                raise
            self._file = databases.identity(self.path)
        except (OSError, ValueError, sqlite3.Error) as error:
            if isinstance(error, ConfigError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"The queue {self.path} cannot be used ({type(error).__name__}: {reason}); choose another file."
            ) from None

    def _prepare(self) -> None:
        """Creates or migrates the tables; another program's file is left unchanged."""
        base = self._base
        KIND.version_of(base, self.path)  # before the first change
        databases.make_private(self.path)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")  # what add() has accepted is on disk
        base.execute("PRAGMA secure_delete=ON")  # sent features do not linger in the file
        with _whole(base):
            if KIND.version_of(base, self.path) < KIND.version:
                for table in _SCHEMA:
                    base.execute(table)
                for column, kind in _KEPT.items():
                    base.execute(f"ALTER TABLE refused ADD COLUMN {column} {kind}")
                base.execute(f"PRAGMA application_id={KIND.application}")
                base.execute(f"PRAGMA user_version={KIND.version}")

    def __len__(self) -> int:
        """Number of waiting features."""
        with self._use() as base:
            return int(base.execute("SELECT COUNT(*) FROM waiting").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):  # nothing is lost: each change is on disk already
            self._base.close()

    def check_room(self, count: int, size: int) -> None:
        """Refuses features before they are computed, and their budget spent, if there is no room for them.

        Args:
            count: expected features.
            size: their total bytes.

        Raises:
            ServerUnavailableError: the queue is too full.
        """
        count = checks.count("count", count, least=0, most=_MOST_BYTES)
        size = checks.count("size", size, least=0, most=_MOST_BYTES, unit="bytes")
        with self._change() as base:
            self._drop_old(base)
            self._check_room(base, count, size)

    def add(self, feature: Any, signature: str, image: str, box: str, edge_ms: float) -> str:
        """Adds one feature, as `add_all`; returns its ticket."""
        return self.add_all([Entry(feature, signature, image, box, edge_ms)])[0]

    def add_all(self, entries: Sequence[Entry]) -> list[str]:
        """Adds features, all or none; one that is queued already is not added again, a refused one is queued again.

        Args:
            entries: the features.

        Returns:
            The ticket of each.

        Raises:
            FeatureError: not a feature: no numbers, or a single one without an axis.
            ConfigError: an entry with an invalid string or time.
            ServerUnavailableError: the queue is full, since the server was unreachable too long.
        """
        rows = [_row(entry) for entry in entries]  # finds errors before any is added
        with self._change() as base:
            self._drop_old(base)
            for ticket, *fields in rows:
                if base.execute("SELECT 1 FROM waiting WHERE ticket = ?", [ticket]).fetchone():
                    continue
                base.execute("DELETE FROM refused WHERE ticket = ?", [ticket])
                self._check_room(base, 1, len(fields[-1]))
                base.execute(
                    "INSERT INTO waiting (ticket, since, signature, image, box, edge_ms, shape, feature) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [ticket, time.time(), *fields],
                )
        return [row[0] for row in rows]

    def first(self, signature: str, count: int) -> list[Waiting]:
        """The oldest features for a tail; one whose entry in the file is damaged is set aside.

        Args:
            signature: of the tail; features for others stay where they are.
            count: maximum number.
        """
        signature, count = _text("signature", signature), checks.count("count", count, least=1, most=_MOST_BYTES)
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
        """Drops a feature that has been answered; nothing happens if it is missing."""
        with self._change() as base:
            base.execute("DELETE FROM waiting WHERE ticket = ?", [_text("ticket", ticket)])

    def move_back(self, ticket: str) -> None:
        """Moves a feature to the end of the queue; nothing happens if it is not waiting."""
        with self._change() as base:
            base.execute(
                "UPDATE waiting SET number = (SELECT MAX(number) + 1 FROM waiting) WHERE ticket = ?",
                [_text("ticket", ticket)],
            )

    def set_aside(self, ticket: str, reason: str) -> None:
        """Sets aside a feature that no server will answer; it is kept until `forget`.

        Args:
            ticket: of the feature; nothing happens if it is not waiting.
            reason: one sentence for `refused`.
        """
        ticket, reason = _text("ticket", ticket), _text("reason", reason)
        kept = ", ".join(_KEPT)
        with self._change() as base:
            base.execute(
                f"INSERT OR REPLACE INTO refused (ticket, since, image, reason, {kept}) "
                f"SELECT ticket, ?, image, ?, {kept} FROM waiting WHERE ticket = ?",
                [time.time(), reason, ticket],
            )
            base.execute("DELETE FROM waiting WHERE ticket = ?", [ticket])

    def refused(self) -> list[Refused]:
        """The features that were set aside, oldest first."""
        with self._use() as base:
            rows = base.execute("SELECT ticket, image, reason, since FROM refused ORDER BY since, rowid").fetchall()
        return [Refused(*row) for row in rows]

    def retry_refused(self, ticket: str | None = None) -> int:
        """Queues features that were set aside again, behind all others and for as many days as new ones.

        Args:
            ticket: of the one to retry; None: all.

        Returns:
            How many were queued. Those set aside by an earlier release stay: it did not keep their values.
        """
        chosen = "feature IS NOT NULL AND (?1 IS NULL OR ticket = ?1)"
        columns = "image, " + ", ".join(_KEPT)
        wanted = [None if ticket is None else _text("ticket", ticket)]
        with self._change() as base:
            base.execute(
                f"INSERT OR IGNORE INTO waiting (ticket, since, {columns}) "
                f"SELECT ticket, ?2, {columns} FROM refused WHERE {chosen} ORDER BY since, rowid",
                [*wanted, time.time()],
            )
            return base.execute(f"DELETE FROM refused WHERE {chosen}", wanted).rowcount

    def forget(self, ticket: str) -> None:
        """Drops a feature that was set aside."""
        with self._change() as base:
            base.execute("DELETE FROM refused WHERE ticket = ?", [_text("ticket", ticket)])

    def _drop_old(self, base: sqlite3.Connection) -> None:
        base.execute("DELETE FROM waiting WHERE since < ?", [time.time() - self.days * 86400])

    def _check_room(self, base: sqlite3.Connection, more: int, size: int) -> None:
        (waits, held), (aside, kept) = (
            base.execute(f"SELECT COUNT(feature), COALESCE(SUM(LENGTH(feature)), 0) FROM {table}").fetchone()
            for table in ("waiting", "refused")
        )
        if waits + aside + more > self.most or held + kept + size > self.most_bytes:
            refused = f", {aside} of them refused" if aside else ""
            advice = "send it" + (", forget or retry those" if aside else "")
            raise ServerUnavailableError(
                f"The queue {self.path} is full ({waits + aside} features{refused}, {held + kept} bytes); {advice}, or "
                "raise its bounds."
            )

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time; SQLite's errors become one sentence."""
        with self._lock:
            try:
                if databases.identity(self.path) != self._file:
                    raise ConfigError(f"The queue {self.path} was deleted or replaced; open it again.")
                yield self._base
            except PrivzooError:  # some are OSErrors
                raise
            except sqlite3.ProgrammingError:
                raise ConfigError(f"The queue {self.path} is closed; open it again.") from None
            except (OSError, sqlite3.Error) as error:  # a full or broken disk, a file locked by another program
                raise ConfigError(f"The queue {self.path} cannot be used ({error}); check the file and disk.") from None

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """The same, for an atomic change."""
        with self._use() as base, _whole(base):
            yield base


@contextlib.contextmanager
def _whole(base: sqlite3.Connection) -> Iterator[None]:
    """A transaction."""
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
        base.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # after a full disk SQLite has rolled back by itself
            base.execute("ROLLBACK")
        raise


def _text(name: str, value: Any) -> str:
    """A string for SQLite: what is not UTF-8, such as bytes in a file name, is escaped."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}={value!r} is invalid; give a string.")
    return texts.storable(value)


def _row(entry: Entry) -> list[Any]:
    """Ticket, and the columns of `waiting` from signature to feature."""
    try:
        feature = np.asarray(entry.feature)
    except (ValueError, TypeError, OverflowError):  # lists whose lengths differ
        feature = np.asarray(None)
    if feature.dtype.kind not in "fiu" or feature.ndim == 0 or feature.size == 0:
        raise FeatureError(
            f"{texts.said(repr(entry.feature))} is not a feature; give one input's numbers, as an array of float32."
        )
    with np.errstate(over="ignore"):  # infinite then, and set aside as such
        blob = np.ascontiguousarray(feature, "<f4").tobytes()
    signature, image, box = (_text(name, getattr(entry, name)) for name in ("signature", "image", "box"))
    shape = ",".join(map(str, feature.shape))
    milliseconds = checks.number("edge_ms", entry.edge_ms, unit="milliseconds")
    return [_ticket(signature, image, box, shape, blob), signature, image, box, milliseconds, shape, blob]


def _ticket(signature: str, image: str, box: str, shape: str, blob: bytes) -> str:
    parts = (signature.encode(), image.encode(), box.encode(), shape.encode(), blob)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]
