"""The client asks again: what is worth it, how long it waits, and when it gives up."""

from __future__ import annotations

import asyncio
import time

import pytest
from export_fakes import chips, exported, serving

from privzoo.edge import AsyncClient, Client, Head
from privzoo.edge.retry import Patience, unavailable
from privzoo.errors import ConfigError, MismatchError, ServerError, ServerUnavailableError


class Server:
    """Fails some times, then answers."""

    def __init__(self, *failures):
        self.failures, self.seconds = list(failures), []

    def __call__(self, seconds):
        self.seconds.append(seconds)
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    async def later(self, seconds):
        return self(seconds)


def test_a_server_that_comes_back_is_asked_again():
    server = Server(unavailable("away"), unavailable("away"))
    assert Patience().call(server) == "answer" and len(server.seconds) == 3
    server = Server(unavailable("away"))
    assert asyncio.run(Patience().call_async(server.later)) == "answer" and len(server.seconds) == 2


def test_it_gives_up_with_the_last_error():
    server = Server(*(unavailable(f"away {k}") for k in range(5)))
    with pytest.raises(ServerUnavailableError, match="away 1"):
        Patience(attempts=2).call(server)


@pytest.mark.parametrize("error", [ServerError("no"), MismatchError("no"), ValueError("no")])
def test_what_will_not_change_is_not_asked_again(error):
    server = Server(error)
    with pytest.raises(type(error)):
        Patience(attempts=9).call(server)
    assert len(server.seconds) == 1


def test_waits_grow_and_are_random_and_a_server_may_ask_for_longer(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    for _ in range(50):
        with pytest.raises(ServerUnavailableError):
            Patience(attempts=5).call(Server(*[unavailable("away")] * 5))
    columns = [waits[k::4] for k in range(4)]
    for k, column in enumerate(columns):
        assert len(set(column)) > 40 and max(column) <= 0.1 * 2**k + 1e-9
    assert max(columns[3]) > max(columns[0])
    waits.clear()
    with pytest.raises(ServerUnavailableError):
        Patience(attempts=3).call(Server(unavailable("busy", 7.0), unavailable("busy", 1e9), unavailable("busy")))
    assert 7 <= waits[0] <= 8 and 60 <= waits[1] <= 61


def test_a_deadline_bounds_attempts_and_waits():
    start, server = time.monotonic(), Server(*[unavailable("away")] * 1000)
    with pytest.raises(ServerUnavailableError):
        Patience(timeout=10, attempts=1000, deadline=0.5).call(server)
    assert time.monotonic() - start < 5
    assert all(seconds <= 0.5 for seconds in server.seconds)


@pytest.mark.parametrize("options", [{"attempts": True}, {"timeout": float("nan")}, {"deadline": 0}, {"timeout": None}])
def test_numbers_that_cannot_be(options):
    with pytest.raises(ConfigError):
        Patience(**options)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_over_the_socket(status):
    with serving((status, b'{"error": "busy"}')) as (url, handler):
        head, answer = Head(exported("float32")), handler.predict

        def predict(self, request):
            return answer(self, request)

        def do_post(self, post=handler.do_POST):
            post(self)
            if len(handler.bodies) == 2:
                handler.forced = None

        handler.do_POST, handler.predict = do_post, predict
        with Client(head, url, timeout=60) as client:
            assert client.predict(chips()[:1], face="given")
        assert len(handler.bodies) == 3 and len(set(handler.bodies)) == 1

        async def ask():
            async with AsyncClient(head, url, timeout=60) as client:
                return await asyncio.gather(*(client.predict(chips()[k], face="given") for k in range(4)))

        handler.bodies.clear()
        assert [len(answers) for answers in asyncio.run(ask())] == [1] * 4
