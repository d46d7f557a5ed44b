"""The ledger: what a device has spent of a person's privacy budget, in one SQLite file that outlives the process.

Spending is on disk before a feature is computed, so the worst that a crash can do is count a feature that was never
sent. Spending is never undone: nothing is paid back if computing or sending fails later, and no budget is restored over
time, whatever the clock says. Costs add up as `privzoo.mechanisms.budget` proves. Processes and threads that share the
file take turns (SQLite's write lock), so that they cannot overspend together.

The file records when which model was used and how often, never a feature or an image; only its owner may read it.
Anyone who deletes the file, or restores an older copy, makes it forget: only its folder protects it. While a `Ledger`
is open, it identifies its file by a random name inside it, and gives out nothing on another file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privzoo import checks, databases, texts
from privzoo.errors import BudgetError, ConfigError, PrivzooError
from privzoo.mechanisms.budget import DELTA, Cost, Mechanism, check_epsilon, rounded_up, within

if TYPE_CHECKING:
    from pathlib import Path

OWNER = "device"

KIND = databases.Kind("ledger", 0x505A4C47, 1, {})  # "PZLG"
# One row per day: a camera that asks all day must not fill the disk.
_SCHEMA = """
CREATE TABLE spending (
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    head TEXT NOT NULL,
    mechanism TEXT NOT NULL,
    mu_squared REAL NOT NULL CHECK (mu_squared >= 0),
    pure REAL NOT NULL CHECK (pure >= 0),
    queries INTEGER NOT NULL CHECK (queries > 0),
    day INTEGER NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (owner, model, head, mechanism, mu_squared, pure, day)
)
"""
# Also created in files of earlier releases, which ignore it.
_NAME = """
CREATE TABLE IF NOT EXISTS identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL
)
"""
# Permanent answers that an owner has been given. Also created in older files.
_ANSWERED = """
CREATE TABLE IF NOT EXISTS answered (
    owner TEXT NOT NULL,
    tag BLOB NOT NULL,
    PRIMARY KEY (owner, tag)
) WITHOUT ROWID
"""
# What no entry of ours is like. The tables' own checks hold for what is written through them, not for what is there.
_DAMAGED = """
SELECT COUNT(*) FROM spending WHERE (
    typeof(mu_squared) = 'real' AND mu_squared >= 0 AND mu_squared < 9e999
    AND typeof(pure) = 'real' AND pure >= 0 AND pure < 9e999
    AND typeof(queries) = 'integer' AND queries > 0
    AND typeof(since) = 'real' AND typeof(until) = 'real'
    AND typeof(owner) = 'text' AND typeof(model) = 'text' AND typeof(head) = 'text' AND typeof(mechanism) = 'text'
) IS NOT TRUE
"""
_MOST = 10**15  # features; an upper bound for the search, more than any device sends


@dataclass(frozen=True)
class Entry:
    """What one head sent about one person on one day (UTC)."""

    owner: str  # whose budget
    model: str  # name in the zoo
    head: str  # SHA-256 of the head's flatbuffer
    mechanism: dict[str, Any]  # its kind and parameters
    queries: int  # features, each with its own draw
    cost: Cost  # of all these features together
    since: float  # first of them, seconds since 1970 by the device's clock
    until: float  # last of them


class Ledger:
    """A ledger in a file; any number of threads and processes may share it.

    The total belongs to the spender, not to the file: heads with different totals see the same spending, and each
    refuses beyond its own total. A ledger cannot be changed once it is open.

    A deleted file is created again, empty: keep it in a folder that only the app can write to. If it is deleted,
    replaced or rolled back while it is open here, nothing more is given out.

    Args:
        path: of the file; it is created if missing. One that others may read is restricted to its owner.
        timeout: seconds to wait for others that have locked the file.

    Attributes:
        path: of the file, absolute.
        timeout: seconds to wait for others.

    Raises:
        ConfigError: the file cannot be used, is damaged, or is not a ledger of this version.

    Example:
        >>> ledger = Ledger("ledger.sqlite")  # doctest: +SKIP
        >>> ledger.spent("anna")  # doctest: +SKIP
        0.0
    """

    # No __dict__, and properties without setters: no assignment can replace a method or the file.
    __slots__ = ("__least", "__name", "__path", "__timeout", "__weakref__")

    def __init__(self, path: str | os.PathLike[str], timeout: float = 10.0) -> None:
        if hasattr(self, "_Ledger__name"):
            raise ConfigError(f"The ledger {self.path} is open and cannot be changed; make another Ledger.")
        self.__path = checks.path("ledger", path).absolute()
        self.__timeout = checks.number("timeout", timeout, above=0, below=1e6, unit="seconds")
        self.__least = 0  # number of queries that the file recorded when it was last read
        try:
            databases.create(self.__path)
        except (OSError, ValueError) as error:
            raise self._unusable(getattr(error, "strerror", None) or error) from None
        with self._change(new=True) as base:
            self.__name = base.execute("SELECT name FROM identity").fetchone()[0]

    @property
    def path(self) -> Path:
        """Path of the file, absolute."""
        return self.__path

    @property
    def timeout(self) -> float:
        """Seconds to wait for others that have locked the file."""
        return self.__timeout

    def __repr__(self) -> str:
        """The file's path."""
        return f"Ledger({str(self.path)!r})"

    def spend(
        self,
        mechanism: Mechanism,
        queries: int,
        *,
        owner: str = OWNER,
        model: str = "",
        head: str = "",
        total_epsilon: float | None = None,
        total_delta: float = DELTA,
        tags: Sequence[bytes] | None = None,
    ) -> None:
        """Records features that are about to be given out: all of them, or none if the total would be exceeded.

        Args:
            mechanism: protects each of them.
            queries: how many; 0 or more.
            owner: whose budget.
            model: name in the zoo.
            head: SHA-256 of the head.
            total_epsilon: the total that the owner may spend; None: no limit.
            total_delta: delta of the same total.
            tags: of permanent answers, `PermanentResponse.tags`, one for each query: an answer that this owner was
                given before costs nothing. None: each is a new draw.

        Raises:
            BudgetError: the total would be exceeded; nothing was written.
            ConfigError: the file cannot be written, or an argument is invalid; nothing was written.
        """
        _check_owner(owner)
        queries = checks.count("queries", queries, least=0, most=_MOST, unit="features")
        if total_epsilon is not None:
            total_epsilon, total_delta = check_epsilon(total_epsilon, total_delta, prefix="total_")
        cost = mechanism.cost
        described = json.dumps(mechanism.describe(), sort_keys=True)
        now = time.time()
        with self._change() as base:
            if tags is not None:
                queries = _new(base, owner, tags)
            if queries and total_epsilon is not None:
                spent = self._cost(base, owner)
                after = (spent + cost * queries).epsilon(total_delta)
                if not within(after, total_epsilon):
                    left = _fitting(spent, cost, total_epsilon, total_delta)
                    raise BudgetError(
                        f"Sending {queries} more would bring {owner!r} to epsilon {rounded_up(after, 6)} at delta "
                        f"{total_delta:g}, above the total of {total_epsilon:g} ({left} more would fit), so "
                        "nothing was given out; send the feature that was sent before, or set another total."
                    )
            if queries:
                base.execute(
                    "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET queries = queries + excluded.queries, "
                    "since = MIN(since, excluded.since), until = MAX(until, excluded.until)",
                    [owner, texts.storable(model), texts.storable(head), described]
                    + [cost.mu_squared, cost.pure, queries, int(now // 86400), now, now],
                )
            known = _queries(base)
        self.__least = max(self.__least, known)

    def cost(self, owner: str = OWNER) -> Cost:
        """What an owner has spent, in the units that add up; raises ConfigError if the file cannot be read."""
        _check_owner(owner)
        with self._open() as base:
            return self._cost(base, owner)

    def spent(self, owner: str = OWNER, delta: float = DELTA) -> float:
        """What an owner has spent.

        Args:
            owner: whose budget.
            delta: of the total.

        Returns:
            epsilon of (epsilon, delta)-differential privacy; 0 for an owner about whom nothing was sent.

        Raises:
            ConfigError: the file cannot be read, or an invalid delta.
        """
        check_epsilon(1.0, delta)
        return self.cost(owner).epsilon(delta)

    def remaining(
        self, mechanism: Mechanism, total_epsilon: float, total_delta: float = DELTA, owner: str = OWNER
    ) -> int:
        """How many more features fit into a total.

        Args:
            mechanism: would protect each of them.
            total_epsilon: the total that the owner may spend.
            total_delta: delta of the same total.
            owner: whose budget.

        Raises:
            ConfigError: the file cannot be read, or an invalid budget.
        """
        total_epsilon, total_delta = check_epsilon(total_epsilon, total_delta, prefix="total_")
        return _fitting(self.cost(owner), mechanism.cost, total_epsilon, total_delta)

    def entries(self, owner: str | None = None) -> list[Entry]:
        """What was recorded, the oldest day first.

        Args:
            owner: whose entries; None: everyone's.

        Raises:
            ConfigError: the file cannot be read.
        """
        with self._open() as base:
            rows = base.execute(
                "SELECT owner, model, head, mechanism, queries, mu_squared, pure, since, until FROM spending "
                "WHERE ?1 IS NULL OR owner = ?1 ORDER BY day, since, rowid",
                [owner],
            ).fetchall()
            return [
                Entry(owner, model, head, json.loads(mechanism), queries, Cost(mu_squared, pure) * queries, *times)
                for owner, model, head, mechanism, queries, mu_squared, pure, *times in rows
            ]

    def _cost(self, base: sqlite3.Connection, owner: str) -> Cost:
        rows = base.execute(
            "SELECT mu_squared, pure, SUM(queries) FROM spending WHERE owner = ? GROUP BY mu_squared, pure", [owner]
        ).fetchall()
        return Cost(math.fsum(row[0] * row[2] for row in rows), math.fsum(row[1] * row[2] for row in rows))

    @contextlib.contextmanager
    def _open(self, new: bool = False) -> Iterator[sqlite3.Connection]:
        """A separate connection for each use: threads and forked processes cannot share one.

        A file that was removed meanwhile is reported, not created again: its record would be lost.
        """
        try:
            before = databases.identity(self.path)
            base = databases.connect(self.path, self.timeout)
            with contextlib.closing(base):
                base.execute("PRAGMA synchronous=EXTRA")  # what spend() has taken survives a loss of power
                if not new:
                    self._check_same(base)
                yield base
            if databases.identity(self.path) != before:
                raise self._unusable("it was deleted or replaced at this moment")
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
            if isinstance(error, PrivzooError):
                raise
            raise self._unusable(error) from None

    @contextlib.contextmanager
    def _change(self, new: bool = False) -> Iterator[sqlite3.Connection]:
        with self._open(new) as base:
            base.execute("BEGIN IMMEDIATE")
            try:
                if new:
                    self._make(base)
                yield base
                base.execute("COMMIT")
            except BaseException:
                # After some errors, such as a full disk, SQLite has already rolled back.
                if base.in_transaction:
                    base.execute("ROLLBACK")
                raise

    def _make(self, base: sqlite3.Connection) -> None:
        """Creates the tables in an empty file; another process may do so first."""
        version = KIND.version_of(base, self.path)
        (found,) = base.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._unusable(found)
        databases.make_private(self.path)
        if version == 0:
            base.execute(_SCHEMA)
            base.execute(f"PRAGMA application_id={KIND.application}")
        base.execute(f"PRAGMA user_version={KIND.version}")  # a file that cannot be written is refused now
        base.execute(_NAME)
        base.execute(_ANSWERED)
        base.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", [secrets.token_hex(16)])

    def _check_same(self, base: sqlite3.Connection) -> None:
        """Refuses a file that has replaced the opened one, was rolled back, or has damaged entries."""
        if KIND.version_of(base, self.path) == 0:
            raise self._unusable("it was emptied")
        if base.execute("SELECT name FROM identity").fetchall() != [(self.__name,)]:
            raise self._unusable("it was replaced by another ledger after it was opened")
        if damaged := base.execute(_DAMAGED).fetchone()[0]:
            raise self._unusable(f"{damaged} of its entries are damaged")
        least = self.__least  # read first: another thread may read more, and raise it, meanwhile
        if (known := _queries(base)) < least:
            raise self._unusable(f"it records {known} features, fewer than the {least} before")
        self.__least = max(self.__least, known)

    def _unusable(self, reason: Any) -> ConfigError:
        return ConfigError(
            f"The ledger {self.path} cannot be used ({reason}), so no feature is given out; check the file and the "
            "disk."
        )


def _queries(base: sqlite3.Connection) -> int:
    """Number of queries of all owners; it only grows."""
    return base.execute("SELECT COALESCE(SUM(queries), 0) FROM spending").fetchone()[0]


def _new(base: sqlite3.Connection, owner: str, tags: Sequence[bytes]) -> int:
    """How many of these permanent answers are new to the owner; records them."""
    before = base.total_changes
    base.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?)", [(owner, bytes(tag)) for tag in tags])
    return base.total_changes - before


def _check_owner(owner: Any) -> None:
    if not (isinstance(owner, str) and owner and owner.isprintable()):
        raise ConfigError(f"owner={owner!r} is invalid; give a name such as 'device', or a person's.")


def _fitting(spent: Cost, cost: Cost, total: float, delta: float) -> int:
    """Largest number of features whose cost fits into a total, given what is spent."""
    low, high = 0, 1
    while high <= _MOST and within((spent + cost * high).epsilon(delta), total):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within((spent + cost * middle).epsilon(delta), total) else (low, middle)
    return low
