"""Which features of the queue are set aside: those that are at fault, and never a good one for a server's fault."""

from __future__ import annotations

import numpy as np
import pytest
from export_fakes import chips, exported, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.edge import Client, Head, Queue, sending
from privzoo.edge.rest import Reply
from privzoo.edge.sending import Sending
from privzoo.errors import ConfigError, FeatureError, FeatureRefusedError, ServerError

BOX = '{"x": 0, "y": 0, "size": 24, "score": 0.0}'
REASON = "refused the request (400: invalid_request)"


class Cloud:
    """A server that refuses some features, or from some request on everything."""

    def __init__(self, bad=(), down_from=None):
        self.bad, self.down_from, self.asked = set(bad), down_from, 0

    def ask(self, features):
        self.asked += 1
        if (self.down_from is not None and self.asked > self.down_from) or self.bad & {int(f[0]) for f in features}:
            raise FeatureRefusedError(REASON)
        return Reply(features, 1, 1.0)


def filled(path, count):
    queue = Queue(path)
    return queue, [queue.add(np.array([k, 0.0]), "s", str(k), BOX, 1.0) for k in range(count)]


def run(queue, cloud, batch=4):
    """Numbers of the features that were answered, and the error at the end."""
    found = []
    answers = lambda faces, reply: [int(row[0]) for row in reply.outputs]  # noqa: E731
    try:
        for _, number in Sending(queue, "s", (2,), batch, cloud.ask, answers).run():
            found.append(number)
    except ServerError as error:
        return found, error
    return found, None


def waits(queue):
    return [int(one.image) for one in queue.first("s", 1000)]


def aside(queue):
    return [int(one.image) for one in queue.refused()]


@settings(max_examples=40)
@given(st.integers(0, 14), st.sets(st.integers(0, 13)))
def test_a_sane_server_sets_the_bad_ones_aside_and_answers_all_others(tmp_path_factory, count, bad):
    queue, _ = filled(tmp_path_factory.mktemp("queue") / "q", count)
    bad = {number for number in bad if number < count}
    found, error = run(queue, Cloud(bad))
    assert sorted(found) == sorted(set(range(count)) - bad)
    if len(bad) == count > 0:  # nothing proves that the server is sane
        assert type(error) is ServerError and set(waits(queue)) == bad and aside(queue) == []
    else:
        assert waits(queue) == [] and set(aside(queue)) == bad
        assert (type(error) is FeatureRefusedError) if bad else error is None
    queue.close()


@settings(max_examples=40)
@given(st.integers(1, 14), st.integers(0, 6))
def test_a_server_that_breaks_down_costs_no_feature(tmp_path_factory, count, down_from):
    queue, _ = filled(tmp_path_factory.mktemp("queue") / "q", count)
    found, error = run(queue, Cloud(down_from=down_from))
    assert aside(queue) == [] and sorted(found + waits(queue)) == list(range(count))
    assert (error is None) == (len(found) == count)
    if error:
        assert type(error) is ServerError and "they were kept" in str(error) and REASON in str(error)
        assert run(queue, Cloud()) == ([k for k in range(count) if k not in found], None) or not found
    queue.close()


def test_bad_ones_that_come_first_hold_nobody_up_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "PATIENCE", 3)
    queue, _ = filled(tmp_path / "q", 6)
    cloud = Cloud(bad=range(4))
    found, error = run(queue, cloud, batch=2)
    assert found == [] and type(error) is ServerError and cloud.asked < 8  # it does not knock for ever
    assert waits(queue) == [3, 4, 5, 0, 1, 2]
    found, error = run(queue, cloud, batch=2)
    assert sorted(found) == [4, 5] and type(error) is FeatureRefusedError and sorted(aside(queue)) == [0, 1, 2, 3]
    queue.close()


def test_many_bad_ones_after_good_ones_are_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "PATIENCE", 3)
    queue, _ = filled(tmp_path / "q", 9)
    found, error = run(queue, Cloud(bad=range(1, 8)), batch=1)
    assert found == [0, 8] and aside(queue) == list(range(1, 8)) and "7 of the queued features" in str(error)
    queue.close()


def test_refused_features_keep_their_numbers_until_they_are_forgotten(tmp_path):
    queue, tickets = filled(tmp_path / "q", 3)
    run(queue, Cloud(bad=[1, 2]))
    assert aside(queue) == [1, 2]
    queue.days = 1e-9  # age takes no refused one
    queue.check_room(0, 0)
    queue.days = 7
    queue.forget(tickets[2])
    queue.close()
    queue = Queue(tmp_path / "q")
    assert aside(queue) == [1] and queue.retry_refused("no such ticket") == 0 and queue.retry_refused() == 1
    assert run(queue, Cloud()) == ([1], None) and aside(queue) == []
    queue.close()


def test_refused_features_count_and_wait_again_when_they_are_added_again(tmp_path):
    queue, tickets = filled(tmp_path / "q", 2)
    queue.set_aside(tickets[0], "why")
    queue.most = 2
    with pytest.raises(ServerError, match=r"is full \(2 features, 1 of them refused, 16 bytes\).*forget or retry"):
        queue.add(np.ones(2), "s", "3", BOX, 1.0)
    assert queue.add(np.array([0.0, 0.0]), "s", "0", BOX, 1.0) == tickets[0]
    assert waits(queue) == [1, 0] and aside(queue) == []
    queue.close()


@pytest.mark.server
def test_a_proxy_that_refuses_everything_in_the_protocols_words(tmp_path):
    head = Head(exported("float32"))
    for status, body in ((400, b'{"error": "invalid_request"}'), (413, b'{"error": "too much"}')):
        with serving((status, body)) as (url, _), Client(head, url, queue=tmp_path / f"{status}") as client:
            tickets = client.later(chips()[:3], face="given")
            for _ in range(2):
                with pytest.raises(ServerError, match="they were kept") as caught:
                    list(client.send())
                assert type(caught.value) is ServerError
            assert {one.ticket for one in client.queue.first(client._target.signature, 9)} == set(tickets)
            assert client.queue.refused() == []


FEATURES = [None, "1", [], 3.0, np.float32(3), [[1], [2, 3]], [None], np.array(["a"]), [True], 1j * np.ones(2), {}]


@pytest.mark.parametrize("feature", FEATURES, ids=repr)
def test_what_is_no_feature_is_not_taken(tmp_path, feature):
    queue = Queue(tmp_path / "q")
    with pytest.raises(FeatureError, match="is not a feature; give one input's numbers"):
        queue.add(feature, "s", "image", BOX, 1.0)
    assert len(queue) == 0
    queue.close()


def test_numbers_of_every_kind_are_taken(tmp_path):
    queue = Queue(tmp_path / "q")
    for k, feature in enumerate(([1, 2], (1.0, 2.0), np.array([1, 2], np.int8), np.array([1, 2], ">f8"))):
        queue.add(feature, "s", str(k), BOX, np.float32(1.5))
    assert all(one.feature.tolist() == [1, 2] and one.edge_ms == 1.5 for one in queue.first("s", np.int64(9)))
    assert len(queue) == 4
    queue.close()


ODD = [
    {"most": 0},
    {"most": 1.5},
    {"most": "9"},
    {"most": 2**70},
    {"most_bytes": True},
    {"most_bytes": None},
    {"days": "7"},
    {"days": float("nan")},
    {"days": -1},
    {"days": None},
]


@pytest.mark.parametrize("options", ODD, ids=repr)
def test_bounds_that_cannot_be(tmp_path, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))}=.* is not valid"):
        Queue(tmp_path / "q", **options)
    assert not (tmp_path / "q").exists()


def test_arguments_of_the_methods_that_cannot_be(tmp_path):
    queue = Queue(tmp_path / "q")
    calls = [
        lambda: queue.first("s", "9"),
        lambda: queue.first("s", 2**70),
        lambda: queue.first(None, 9),
        lambda: queue.remove(object()),
        lambda: queue.forget(3),
        lambda: queue.set_aside("t", None),
        lambda: queue.set_aside([], "why"),
        lambda: queue.move_back(None),
        lambda: queue.retry_refused(3),
        lambda: queue.check_room("1", 1),
        lambda: queue.check_room(1, float("nan")),
        lambda: queue.add([1.0], b"s", "image", BOX, 1.0),
        lambda: queue.add([1.0], "s", 3, BOX, 1.0),
        lambda: queue.add([1.0], "s", "image", None, 1.0),
        lambda: queue.add([1.0], "s", "image", BOX, "fast"),
        lambda: queue.add([1.0], "s", "image", BOX, float("nan")),
    ]
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call()
        assert "closed" not in str(caught.value)
    queue.set_aside(queue.add([1.0], "\ud800", "\ud800", "\ud800", 1.0), "\ud800")
    assert [(one.image, one.reason) for one in queue.refused()] == [(r"\ud800", r"\ud800")]
    queue.close()
