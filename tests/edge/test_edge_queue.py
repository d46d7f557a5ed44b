"""The offline queue: bounded, survives a restart, sends each feature once it can."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from export_fakes import chips, exported, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.edge import Client, Head, Queue
from privzoo.edge.queue import Entry
from privzoo.errors import (
    ConfigError,
    FeatureRefusedError,
    MismatchError,
    PrivzooError,
    ServerUnavailableError,
)

pytestmark = pytest.mark.server

ONE = np.arange(4, dtype=np.float32)
BOX = '{"x": 0, "y": 0, "size": 24, "score": 0.0}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.sqlite"


def add(queue, value, signature="s"):
    return queue.add(ONE + value, signature, f"image {value}", BOX, 1.0)


def test_features_come_back_in_order_after_a_restart(path):
    queue = Queue(path)
    tickets = [add(queue, k) for k in range(5)]
    queue.close()
    queue = Queue(path)
    assert len(queue) == 5
    waiting = queue.first("s", 3)
    assert [one.ticket for one in waiting] == tickets[:3]
    np.testing.assert_array_equal([one.feature for one in waiting], [ONE, ONE + 1, ONE + 2])
    assert waiting[0].image == "image 0" and waiting[0].feature.dtype == np.float32
    queue.remove(tickets[0])
    queue.remove(tickets[0])
    assert [one.ticket for one in queue.first("s", 9)] == tickets[1:]
    assert queue.first("other", 9) == []
    queue.close()


def test_the_same_feature_is_taken_once(path):
    queue = Queue(path)
    assert add(queue, 1) == add(queue, 1) and len(queue) == 1
    assert add(queue, 1, "t") != add(queue, 1) and len(queue) == 2
    queue.close()


def test_it_is_bounded(path):
    queue = Queue(path, most=2)
    add(queue, 1)
    add(queue, 2)
    add(queue, 2)
    with pytest.raises(ServerUnavailableError, match="is full .2 features, 32 bytes"):
        add(queue, 3)
    queue.most, queue.most_bytes = 100, 40
    with pytest.raises(ServerUnavailableError, match="is full"):
        add(queue, 3)
    queue.days = 1e-9
    assert add(queue, 4) and len(queue) == 1  # what was too old has gone
    time.sleep(0.01)
    assert queue.first("s", 9) == []
    queue.close()


def test_files_that_are_no_queue(path, tmp_path):
    path.write_bytes(b"no database, but long enough to be looked at" * 10)
    with pytest.raises(ConfigError, match="cannot be used"):
        Queue(path)
    with pytest.raises(ConfigError, match="cannot be used"):
        Queue(tmp_path / "none" / "queue")


def test_only_its_owner_reads_it(path):
    Queue(path).close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_sent_features_leave_no_trace_in_the_file(path):
    queue = Queue(path)
    secret = np.full(4, 0.123456789, np.float32)
    queue.remove(queue.add(secret, "s", "image", BOX, 1.0))
    queue.close()
    for file in path.parent.iterdir():
        assert secret.tobytes() not in file.read_bytes()


def test_kill_9_leaves_what_was_taken(path):
    code = """
import os, sys, numpy as np
from privzoo.edge import Queue
queue = Queue(sys.argv[1])
for k in range(20):
    queue.add(np.full(4, k, np.float32), "s", str(k), "{}", 1.0)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    queue = Queue(path)
    assert [one.image for one in queue.first("s", 99)] == [str(k) for k in range(20)]
    queue.close()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "restart"]), st.integers(0, 5)), max_size=20))
def test_it_is_a_queue(tmp_path_factory, steps):
    file = tmp_path_factory.mktemp("queue") / "q"
    queue, model = Queue(file), {}
    for step, value in steps:
        if step == "add":
            model.setdefault(add(queue, value), value)
        elif step == "remove" and model:
            ticket = next(iter(model))
            queue.remove(ticket)
            del model[ticket]
        elif step == "restart":
            queue.close()
            queue = Queue(file)
        assert [one.ticket for one in queue.first("s", 99)] == list(model)
    queue.close()


@pytest.fixture(scope="module")
def head():
    return Head(exported("float32"))


def test_features_wait_for_the_server_over_a_restart(head, path):
    with serving() as (url, _):
        pass
    port = int(url.rsplit(":", 1)[1])
    with Client(head, url, attempts=1, queue=path) as client:
        tickets = client.later(chips()[:3], face="given")
        assert client.later(chips()[:3], face="given") == tickets and len(client.queue) == 3
        with pytest.raises(ServerUnavailableError):
            list(client.send())
        assert len(client.queue) == 3
    with serving(port=port) as (_, handler), Client(head, url, timeout=60, queue=path) as client:
        sending = client.send()
        first, _ = next(sending)
        sending.close()  # the device went down while it looked at the first answer
        assert len(client.queue) == 3
        answers = list(client.send())
        assert [ticket for ticket, _ in answers] == tickets and first == tickets[0] and len(client.queue) == 0
        direct = client.predict(chips()[:3], face="given")
        assert [a.label for _, a in answers] == [a.label for a in direct]
        assert answers[0][1].face == direct[0].face and answers[0][1].image == direct[0].image
        assert list(client.send()) == []
    assert not any(b"image" in body for body in handler.bodies)


def test_a_feature_that_is_refused_holds_nobody_up(head, path):
    with serving() as (url, handler), Client(head, url, timeout=60, queue=path) as client:
        tickets = client.later(chips()[:3], face="given")
        answer = handler.predict
        bad = client.queue.first(client._target.signature, 2)[1].feature
        handler.predict = lambda self, request: (
            (400, b'{"error": "not this one"}')
            if any(np.array_equal(np.float32(one), bad) for one in request["instances"])
            else answer(self, request)
        )
        answered = []
        with pytest.raises(FeatureRefusedError, match="1 of the queued features .*not this one"):
            for ticket, _ in client.send():
                answered.append(ticket)
        assert answered == [tickets[0], tickets[2]] and len(client.queue) == 0
        (refused,) = client.queue.refused()
        assert refused.ticket == tickets[1] and refused.image == "image 1" and "not this one" in refused.reason
        client.queue.forget(refused.ticket)
        assert client.queue.refused() == [] and list(client.send()) == []


UNSENDABLE = {
    "not finite": lambda queue: queue.add(np.full(head_shape(), np.nan, np.float32), tail(), "bad", BOX, 1.0),
    "has the shape": lambda queue: queue.add(np.zeros(3, np.float32), tail(), "bad", BOX, 1.0),
    "square cannot be read": lambda queue: queue.add(np.zeros(head_shape(), np.float32), tail(), "bad", "{", 1.0),
    "is damaged": lambda queue: spoil(queue, queue.add(np.zeros(head_shape(), np.float32), tail(), "bad", BOX, 1.0)),
}


def tail() -> str:
    return Head(exported("float32")).manifest["tail"]["signature"]


def head_shape() -> tuple[int, ...]:
    return Head(exported("float32")).feature_shape


def spoil(queue, ticket):
    with sqlite3.connect(queue.path) as base:
        base.execute("UPDATE waiting SET feature = ? WHERE ticket = ?", [b"123", ticket])


@pytest.mark.parametrize("reason", UNSENDABLE)
def test_what_cannot_be_sent_is_set_aside_with_its_reason(head, path, reason):
    with serving() as (url, _), Client(head, url, timeout=60, queue=path) as client:
        UNSENDABLE[reason](client.queue)
        good = client.later(chips()[0], face="given")
        with contextlib.suppress(FeatureRefusedError):
            assert [ticket for ticket, _ in client.send()] == good
        assert len(client.queue) == 0
        assert [one.image for one in client.queue.refused()] == ["bad"] and reason in client.queue.refused()[0].reason


NOT_ITS_FAULT = [
    (401, b'{"error": "no such key"}'),
    (403, b'{"error": "not for you"}'),
    (500, b'{"error": "internal"}'),
    (500, b"oops"),
    (200, b"<html>Welcome to our cafe! Please accept the terms.</html>"),
    (200, b'{"predictions": [[NaN, 0.5]]}'),
    (200, b'{"predictions": [[1e999, 0.5]]}'),
    (200, b'{"predictions": []}'),
    (404, b"<html>not found</html>"),
    (302, b""),
    (307, b'{"error": "elsewhere"}'),
    (400, b"<html>a proxy's own refusal</html>"),
    (413, b"<html>a proxy's own limit</html>"),
    (511, b"<html>log in first</html>"),
    (429, b'{"error": "too many"}'),
]


@pytest.mark.parametrize("status, body", NOT_ITS_FAULT)
def test_a_fault_that_is_not_the_features_keeps_them_all(head, path, status, body):
    with serving((status, body)) as (url, _), Client(head, url, timeout=60, attempts=1, queue=path) as client:
        tickets = client.later(chips()[:3], face="given")
        for _ in range(2):
            with pytest.raises(PrivzooError) as caught:
                list(client.send())
            assert not isinstance(caught.value, FeatureRefusedError)
        assert [one.ticket for one in client.queue.first(tail(), 9)] == tickets and client.queue.refused() == []


def test_a_batch_is_kept_whole_or_not_at_all(head, path):
    with Client(head, "http://127.0.0.1:1", queue=Queue(path, most=2)) as client:
        before = head.queries
        with pytest.raises(ServerUnavailableError, match="is full"):
            client.later(chips()[:3], face="given")
        assert len(client.queue) == 0 and head.queries == before  # no budget was spent for nothing
        assert len(client.later(chips()[:2], face="given")) == len(client.queue) == 2
        entries = [Entry(ONE, "s", str(k), BOX, 1.0) for k in range(3)]
        client.queue.most = 4
        with pytest.raises(ServerUnavailableError):
            client.queue.add_all(entries)
        assert len(client.queue) == 2


def use_all(queue):
    """Each method, with whether it said its sentence."""
    calls = [
        lambda: len(queue),
        lambda: add(queue, 9),
        lambda: queue.first("s", 1),
        lambda: queue.remove("t"),
        lambda: queue.set_aside("t", "why"),
        lambda: queue.refused(),
        lambda: queue.check_room(1, 1),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="queue"):
            call()


def test_what_befalls_the_file_is_one_sentence(path):
    queue = Queue(path)
    queue.close()
    queue.close()
    use_all(queue)
    queue = Queue(path)
    path.unlink()
    use_all(queue)
    queue.close()
    queue = Queue(path)
    queue._base.execute("PRAGMA busy_timeout=50")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="locked"):
            add(queue, 1)
        other.execute("ROLLBACK")
    add(queue, 1)
    queue._base.execute("PRAGMA max_page_count=1")
    with pytest.raises(ConfigError, match="full"):
        for k in range(2, 2000):
            add(queue, k)
    assert add(queue, 1) and queue.first("s", 9)  # what was taken is still there
    queue.close()


def test_the_queue_may_lie_in_a_folder_that_the_program_leaves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    queue = Queue("queue.sqlite")
    monkeypatch.chdir("/")
    assert add(queue, 1) and len(queue) == 1
    queue.close()


def test_a_name_that_is_not_utf_8_is_kept_escaped(path):
    queue = Queue(path)
    queue.add(ONE, "s", os.fsdecode(b"caf\xe9.jpg"), BOX, 1.0)
    assert queue.first("s", 1)[0].image == r"caf\xe9.jpg"
    queue.close()


def test_another_tail_loses_nothing(head, path):
    with serving() as (url, _), Client(head, url, model_name="x", timeout=60, queue=path) as client:
        client.later(chips()[0], face="given")
        with pytest.raises(MismatchError):
            list(client.send())
        assert len(client.queue) == 1


def test_a_client_without_a_queue_says_so(head):
    with Client(head, "http://127.0.0.1:1") as client:
        with pytest.raises(ConfigError, match="has no queue"):
            client.later(chips()[0], face="given")
        with pytest.raises(ConfigError, match="has no queue"):
            next(client.send())
