"""The device's SQLite files: another program's are left as they are, earlier releases' are brought up to date."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing

import numpy as np
import pytest

from privzoo.edge import Queue
from privzoo.edge.queue import KIND as QUEUE
from privzoo.errors import ConfigError
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.ledger import KIND as LEDGER
from privzoo.mechanisms.ledger import Ledger

MINE = {"queue": Queue, "ledger": Ledger}
BOX = '{"x": 0, "y": 0, "size": 24, "score": 0.0}'
WAITING = (
    "CREATE TABLE waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, ticket TEXT NOT NULL UNIQUE, since REAL NOT NULL, "
    "signature TEXT NOT NULL, image TEXT NOT NULL, box TEXT NOT NULL, edge_ms REAL NOT NULL, shape TEXT NOT NULL, "
    "feature BLOB NOT NULL)"
)
REFUSED = (
    "CREATE TABLE refused (ticket TEXT PRIMARY KEY, since REAL NOT NULL, image TEXT NOT NULL, reason TEXT NOT NULL)"
)


def write(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        for statement in statements:
            base.execute(statement)


FOREIGN = {
    "another program's tables": ["CREATE TABLE contacts (name TEXT)"],
    "another program's, in its own journal": ["PRAGMA journal_mode=WAL", "CREATE TABLE contacts (name TEXT)"],
    "another program's id": ["PRAGMA application_id=1234"],
    "another program's version": ["PRAGMA user_version=2"],
    "a table of the same name": ["CREATE TABLE waiting (who TEXT)", "PRAGMA user_version=2"],
    "a table too many": [WAITING, "CREATE TABLE contacts (name TEXT)", "PRAGMA user_version=1"],
    "a view": ["CREATE VIEW waiting AS SELECT 1 AS number"],
    "the same tables, of a version that never was": [WAITING, REFUSED, "PRAGMA user_version=9"],
}


def content(path):
    return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mine", MINE)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path, mine, foreign):
    path = tmp_path / "file"
    write(path, *FOREIGN[foreign])
    path.chmod(0o666)
    before = content(path)
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"is not a {mine} of privzoo; choose another file"):
            MINE[mine](path)
    assert content(path) == before


def test_a_queue_and_a_ledger_refuse_each_others_file(tmp_path):
    ledger, queue = Ledger(tmp_path / "ledger"), Queue(tmp_path / "queue")
    ledger.spend(Gaussian(4.0, 1.0), 1)
    queue.add(np.ones(4), "s", "image", BOX, 1.0)
    queue.close()
    before = content(tmp_path / "ledger"), content(tmp_path / "queue")
    with pytest.raises(ConfigError, match="is not a queue"):
        Queue(tmp_path / "ledger")
    with pytest.raises(ConfigError, match="is not a ledger"):
        Ledger(tmp_path / "queue")
    assert (content(tmp_path / "ledger"), content(tmp_path / "queue")) == before
    assert ledger.spent() > 0 and len(Queue(tmp_path / "queue")) == 1


@pytest.mark.parametrize("mine", MINE)
def test_a_later_release_is_told_apart(tmp_path, mine):
    kind = {"queue": QUEUE, "ledger": LEDGER}[mine]
    write(tmp_path / "file", f"PRAGMA application_id={kind.application}", f"PRAGMA user_version={kind.version + 1}")
    with pytest.raises(ConfigError, match="another version of privzoo .*; update privzoo"):
        MINE[mine](tmp_path / "file")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_queues_of_earlier_releases_are_brought_up_to_date(tmp_path, version):
    path = tmp_path / "queue"
    write(path, "PRAGMA journal_mode=WAL", WAITING, *([REFUSED] if version == 2 else []))
    write(path, f"PRAGMA user_version={version}")
    with closing(sqlite3.connect(path)) as base, base:
        for number in (1, 2):
            row = [number, f"t{number}", time.time(), "s", "image", BOX, 1.0, "4", np.ones(4, "<f4").tobytes()]
            base.execute("INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if version == 2:
            base.execute("INSERT INTO refused VALUES ('old', ?, 'image', 'why')", [time.time() - 30 * 86400])
    for _ in range(2):
        queue = Queue(path)
        assert [one.ticket for one in queue.first("s", 9)] == ["t1", "t2"]
        assert [one.ticket for one in queue.refused()] == (["old"] if version == 2 else [])
        assert queue.retry_refused() == 0  # its numbers are gone
        queue.close()
    queue = Queue(path)
    queue.set_aside("t1", "why not")
    assert queue.retry_refused("t1") == 1 and [one.ticket for one in queue.first("s", 9)] == ["t2", "t1"]
    queue.close()
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA application_id").fetchone() == (QUEUE.application,)


def test_ledgers_of_earlier_releases_keep_what_they_know(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.spend(Gaussian(4.0, 1.0), 3, owner="anna")
    write(tmp_path / "ledger", "DROP TABLE identity")
    assert Ledger(tmp_path / "ledger").spent("anna") == Gaussian(4.0, 1.0).epsilon(3)


@pytest.mark.parametrize("mine", MINE)
@pytest.mark.parametrize("empty", [True, False])
def test_files_that_others_may_read_become_their_owners_alone(tmp_path, mine, empty):
    path = tmp_path / "file"
    if empty:
        path.touch()
    else:
        opened = MINE[mine](path)
        if mine == "queue":
            opened.close()
    path.chmod(0o666)
    opened = MINE[mine](path)
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
    if mine == "queue":
        opened.add(np.ones(4), "s", "image", BOX, 1.0)
        assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
        opened.close()


@pytest.mark.parametrize("mine", MINE)
def test_files_that_cannot_be_made_private_are_refused(tmp_path, mine, monkeypatch):
    (tmp_path / "file").touch(0o600)
    (tmp_path / "file").chmod(0o660)

    def refuse(self, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    with pytest.raises(ConfigError, match="cannot be used .*not permitted"):
        MINE[mine](tmp_path / "file")


@pytest.mark.parametrize("mine", MINE)
def test_what_is_no_plain_file_is_refused(tmp_path, mine):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "dangling", "."):
        with pytest.raises(ConfigError, match=f"The {mine} .* cannot be used"):
            MINE[mine](tmp_path / name)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    MINE[mine](tmp_path / "link")


@pytest.mark.parametrize("path", [None, 3, True, "", b"", "a\0b", "\ud800", ["queue"], range(3)], ids=repr)
@pytest.mark.parametrize("mine", MINE)
def test_paths_that_cannot_be(mine, path):
    with pytest.raises(ConfigError, match="is not valid; give the path of a file"):
        MINE[mine](path)


@pytest.mark.parametrize("mine", MINE)
def test_paths_of_every_kind_are_taken(tmp_path, mine):
    for name in ("a b?mode=ro#x%20", "größe", b"\xff"):
        path = os.fsencode(tmp_path) + b"/" + os.fsencode(name)
        MINE[mine](path)
        assert os.path.exists(path)
