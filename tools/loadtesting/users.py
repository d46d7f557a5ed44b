"""Locust's users: each sends its requests one after the other, repeatedly, over its own connection.

The requests are in a file named by an environment variable, so that this process needs no TensorFlow.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
from locust import User, constant, events, task
from locust.contrib.fasthttp import FastHttpUser
from locust.exception import StopUser

_FILE = os.environ.get("PRIVZOO_LOAD")
PLAN: dict[str, Any] = json.loads(Path(_FILE).read_text()) if _FILE else {"requests": []}
REQUESTS = [one | {"body": base64.b64decode(one["body"])} for one in PLAN["requests"]]
HEADERS = {"content-type": "application/json"}
# Errors with which not even a malformed request may be answered.
DEFECTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
milliseconds, starts = array("d"), array("d")
failures: Counter[str] = Counter()
answered: Counter[str] = Counter()
codes: Counter[str] = Counter()
seen = {"begun": 0, "first": 0.0, "last": 0.0, "cpu": 0.0}
environments: list[Any] = []


@events.init.add_listener
def know(environment: Any, **_: object) -> None:
    """Keeps the environment, whose runner can end the run."""
    environments.append(environment)


@events.request.add_listener
def note(
    name: str, response_time: float, start_time: float, exception: Exception | None, response: Any = None, **_: object
) -> None:
    """Records each response time exactly: locust itself rounds to milliseconds."""
    if not seen["first"]:
        seen["first"], seen["cpu"] = start_time, time.process_time()
        Path(f"{PLAN['out']}.begun").touch()
    seen["last"] = time.time()
    codes[f"{name}: {response if isinstance(response, str) else getattr(response, 'status_code', 0)}"] += 1
    if exception is not None:
        failures[f"{name}: {type(exception).__name__}: {exception}"[:200]] += 1
        return
    answered[name] += 1
    if PLAN["keep"]:
        milliseconds.append(response_time)
        starts.append(start_time)


@events.quitting.add_listener
def write(**_: object) -> None:
    """Writes the results for the parent process."""
    for name, values in (("milliseconds", milliseconds), ("starts", starts)):
        with open(f"{PLAN['out']}.{name}", "wb") as file:
            values.tofile(file)
    used = time.process_time() - seen["cpu"] if seen["first"] else 0.0
    found = {
        "answered": answered,
        "failures": failures,
        "codes": codes,
        "first": seen["first"],
        "last": seen["last"],
        "cpu": used,
    }
    Path(PLAN["out"]).write_text(json.dumps(found))


def quit_after_the_last() -> None:
    """Ends the run once all users have stopped."""
    (environment,) = environments
    while environment.runner.user_count:
        gevent.sleep(0.02)
    environment.runner.quit()


def begin() -> None:
    """Counts a request before it is sent; stops the user once there have been enough."""
    if PLAN["count"]:
        if seen["begun"] == PLAN["count"]:
            gevent.spawn(quit_after_the_last)
        seen["begun"] += 1
        if seen["begun"] > PLAN["count"]:
            raise StopUser()


def turns(requests: list[dict[str, Any]]) -> Any:
    """Cycles through the requests, from a random one on."""
    first = random.randrange(len(requests))
    return itertools.cycle(requests[first:] + requests[:first])


OF_REST = [one for one in REQUESTS if one["protocol"] == "rest"]
OF_GRPC = [one for one in REQUESTS if one["protocol"] == "grpc"]


class Rest(FastHttpUser):
    """Sends requests over REST."""

    abstract = not OF_REST
    host = PLAN.get("rest")
    wait_time = constant(0)

    def on_start(self) -> None:
        """Chooses which request to start with."""
        self.turns = turns(OF_REST)

    @task
    def ask(self) -> None:
        """Sends one request. Status 400 and above is a failure; for a malformed request only 500 and no answer are."""
        begin()
        one = next(self.turns)
        data = one["body"] or None
        if not one["malformed"]:
            self.client.request(one["method"], one["path"], data=data, headers=HEADERS, name=one["name"])
            return
        with self.client.request(
            one["method"], one["path"], data=data, headers=HEADERS, name=one["name"], catch_response=True
        ) as response:
            if response.status_code in (0, 500):
                response.failure(f"answered with {response.status_code}")
            else:
                response.success()


class Grpc(User):
    """Sends requests over gRPC."""

    abstract = not OF_GRPC
    host = PLAN.get("grpc")
    wait_time = constant(0)

    def on_start(self) -> None:
        """Opens a connection of its own for each user, as separate devices would have."""
        import grpc

        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(PLAN["grpc"], options=[*options, ("grpc.enable_http_proxy", 0)])
        self.calls = {path: channel.unary_unary(path) for path in {one["path"] for one in OF_GRPC}}
        self.turns = turns(OF_GRPC)

    @task
    def ask(self) -> None:
        """Sends one request. Any code but OK is a failure; for a malformed request only `DEFECTS` are."""
        begin()
        one, error, answer, code = next(self.turns), None, b"", "OK"
        begun, start = time.time(), time.perf_counter()
        try:
            answer = self.calls[one["path"]](one["body"], timeout=60)
        except Exception as caught:
            code = caught.code().name if hasattr(caught, "code") else "UNKNOWN"
            error = caught if not one["malformed"] or code in DEFECTS else None
        events.request.fire(
            request_type="grpc",
            name=one["name"],
            response_time=(time.perf_counter() - start) * 1e3,
            response_length=len(answer),
            start_time=begun,
            exception=error,
            response=code,
            context={},
        )


if OF_GRPC:
    grpc_gevent.init_gevent()
