"""The users of `tools/loadtest.py`, for locust: each sends one fixed request again and again over its own connection.

What to send is in the environment, so that this process needs no TensorFlow.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import grpc.experimental.gevent as grpc_gevent
from locust import User, constant, events, task
from locust.contrib.fasthttp import FastHttpUser

PLAN = json.loads(os.environ.get("PRIVZOO_LOAD", "{}"))
BODY = Path(PLAN["body"]).read_bytes() if PLAN else b""
milliseconds: list[float] = []
failures: dict[str, int] = {}


@events.request.add_listener
def note(response_time: float, exception: Exception | None, **_: object) -> None:
    """Keeps every time as it is: locust itself rounds them to milliseconds."""
    if exception is None:
        milliseconds.append(response_time)
    else:
        sentence = f"{type(exception).__name__}: {exception}"[:200]
        failures[sentence] = failures.get(sentence, 0) + 1


@events.quitting.add_listener
def write(**_: object) -> None:
    """Writes what was seen for the process that started this one."""
    Path(PLAN["out"]).write_text(json.dumps({"milliseconds": milliseconds, "failures": failures}))


class Rest(FastHttpUser):
    """Asks over REST."""

    abstract = PLAN.get("protocol") != "rest"
    host = PLAN.get("url")
    wait_time = constant(0)

    @task
    def predict(self) -> None:
        """One request; any other code than 200 is a failure."""
        self.client.post(PLAN["path"], data=BODY, headers={"content-type": "application/json"}, name="predict")


class Grpc(User):
    """Asks over gRPC."""

    abstract = PLAN.get("protocol") != "grpc"
    host = PLAN.get("url")
    wait_time = constant(0)

    def on_start(self) -> None:
        """Opens the connection; a pool of its own for each user, as many devices have."""
        import grpc

        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self.call = grpc.insecure_channel(PLAN["url"], options=options).unary_unary(PLAN["path"])

    @task
    def predict(self) -> None:
        """One request; any other code than OK is a failure."""
        start, error = time.perf_counter(), None
        try:
            answer = self.call(BODY, timeout=60)
        except Exception as caught:
            answer, error = b"", caught
        events.request.fire(
            request_type="grpc",
            name="predict",
            response_time=(time.perf_counter() - start) * 1e3,
            response_length=len(answer),
            exception=error,
            context={},
        )


if PLAN.get("protocol") == "grpc":
    grpc_gevent.init_gevent()
