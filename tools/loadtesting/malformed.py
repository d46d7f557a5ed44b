"""Sends malformed requests to a server: does it crash, answer 500, or leak memory?"""

from __future__ import annotations

import http.client
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtesting import fuzz, processor
from loadtesting.fuzz import Malformed
from loadtesting.generator import START_SECONDS
from loadtesting.load import batching_flags
from loadtesting.report import WANTED, Goal, Result
from loadtesting.target import Target, answer, answer_grpc, models_config, pid_of
from privzoo.edge import grpc_wire
from privzoo.serving import Server

ALL = 100_000
WITHIN = 0.05
SETTLE_SHARE = 0.1  # share of the requests that are sent before memory is first measured
AT_ONCE = 4  # concurrent clients
PATIENCE_SECONDS = 30
# An incomplete request gets no answer until the client closes its side, which it does after this time.
SHORT_SECONDS = 0.05
CLOSED = "closed without an answer"
DEFECTS = {"500", "no answer", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "no connection"}
HEADER = ("kind", "requests", "answers")


class Wire:
    """The connections of one client thread.

    Args:
        url: address of the REST interface.
        channel: to the gRPC interface.
    """

    def __init__(self, url: str, channel: Any) -> None:
        parts = urlsplit(url)
        self._address, self._channel = (parts.hostname, parts.port or 80), channel
        self._socket: socket.socket | None = None

    def ask(self, one: Malformed) -> str:
        """Sends one request; returns the HTTP status, the gRPC code, or how the connection ended."""
        if one.grpc:
            return self._ask_grpc(one)
        try:
            return self._ask_http(one)
        except TimeoutError:
            self.close()
            return "no answer"
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return CLOSED

    def close(self) -> None:
        """Closes the connection at once, so that its port is free again."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self._socket.close()
            self._socket = None

    def _ask_grpc(self, one: Malformed) -> str:
        import grpc

        try:
            self._channel.unary_unary(one.method)(one.body, timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return error.code().name
        except ValueError:  # a method name that gRPC itself refuses to send
            return "not sent"
        return "OK"

    def _ask_http(self, one: Malformed) -> str:
        again = self._socket is not None
        if not one.framed:
            self.close()
        if self._socket is None:
            again = False
            try:
                self._socket = socket.create_connection(self._address, PATIENCE_SECONDS)
            except OSError:
                return "no connection"
        try:
            self._socket.settimeout(PATIENCE_SECONDS)
            self._socket.sendall(one.data)
            if not one.framed:
                _wait(self._socket)
            status, closes = _status(self._socket, one.method)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not again or isinstance(error, TimeoutError):
                raise
            self.close()  # the server closed the connection after the previous request
            return self._ask_http(one)
        if closes or not one.framed:
            self.close()
        return status


def _wait(connection: socket.socket) -> None:
    connection.settimeout(SHORT_SECONDS)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
    connection.settimeout(PATIENCE_SECONDS)


def _status(connection: socket.socket, method: str) -> tuple[str, bool]:
    response = http.client.HTTPResponse(connection, method=method or None)
    try:
        response.begin()
        response.read()
        return str(response.status), response.will_close
    finally:
        response.close()


def run(targets: list[Target], count: int, seed: int) -> Result:
    """Sends malformed requests, then valid ones.

    Args:
        targets: the tails; the first one receives the malformed requests.
        count: number of malformed requests.
        seed: seed of these requests.
    """
    import grpc

    target = targets[0]
    answers: Counter[tuple[str, str]] = Counter()
    wrong: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        config, monitoring = models_config(targets, Path(scratch, "models")), Path(scratch, "monitoring")
        monitoring.write_text("prometheus_config { enable: true }")
        flags = ["--model_config_file", str(config), "--monitoring_config_file", str(monitoring)]
        with (
            Server(None, flags=[*flags, *batching_flags(Path(scratch), True)], timeout=START_SECONDS) as server,
            grpc.insecure_channel(server.grpc, grpc_wire.NO_PROXY) as channel,
        ):
            before = [_right(server, one) for one in targets]
            pid, own, wires = pid_of(server), threading.local(), []

            def ask(one: Malformed) -> tuple[Malformed, str]:
                if not hasattr(own, "wire"):
                    own.wire = Wire(server.url, channel)
                    wires.append(own.wire)
                return one, own.wire.ask(one)

            start, memory = time.monotonic(), []
            with ThreadPoolExecutor(AT_ONCE) as pool:
                done, settled = 0, max(1, round(SETTLE_SHARE * count))
                for chunk in _chunks(fuzz.requests(target, count, seed), min(500, settled)):
                    for one, found in pool.map(ask, chunk):
                        answers[one.kind, found] += 1
                        if found in DEFECTS and len(wrong) < 20:
                            wrong.append({"answer": found, "request": repr(one)[:2000]})
                    done += len(chunk)
                    seen = processor.sample(pid, start)
                    if seen is None or server.pid is None:
                        break
                    if done >= settled:
                        memory.append(seen)
                    if done % 10_000 < len(chunk):
                        print(f"{done:,} of {count:,} sent", file=sys.stderr, flush=True)
            for wire in wires:
                wire.close()
            alive = server.pid == pid
            right = alive and [_right(server, one) for one in targets] == before
    return _result(count, answers, wrong, memory, alive, right, seed)


def _right(server: Server, target: Target) -> tuple[bytes, bytes]:
    return answer(server.url, target.request("rest")), answer_grpc(server.grpc, target.request("grpc"))


def _chunks(items: Iterator[Malformed], size: int) -> Iterator[list[Malformed]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _result(
    count: int,
    answers: Counter[tuple[str, str]],
    wrong: list[dict[str, str]],
    memory: list[processor.Sample],
    alive: bool,
    right: bool,
    seed: int,
) -> Result:
    rows = []
    for kind in sorted({kind for kind, _ in answers}):
        found = Counter({answer: number for (of, answer), number in answers.items() if of == kind})
        rows.append([kind, f"{found.total():,}", ", ".join(f"{a} {n:,}" for a, n in found.most_common())])
    defects = sum(number for (_, found), number in answers.items() if found in DEFECTS)
    grown = memory[-1].memory / memory[0].memory - 1 if memory else float("nan")
    well = alive and right and not defects and grown <= WITHIN
    sent = answers.total()
    note = "" if sent >= ALL else f"a run of {sent:,}"
    text = (
        f"{'the server stopped' if not alive else 'no crash'}, {defects} internal errors, memory {grown:+.1%} "
        f"({memory[0].memory / 1e6:,.0f} to {memory[-1].memory / 1e6:,.0f} MB), valid requests are "
        f"{'answered as before' if right else 'not answered as before'}"
        if memory
        else "the server stopped"
    )
    ((what, asked),) = WANTED["malformed"]
    met = well if sent >= ALL or not well else None
    notes = [
        f"Generated by hypothesis with seed {seed}; {AT_ONCE} concurrent clients. Internal errors are "
        f"{', '.join(sorted(DEFECTS))}. By chance some requests are valid. Memory is compared with that after the "
        f"first {SETTLE_SHARE:.0%} of the requests."
    ]
    data = {
        "count": count,
        "seed": seed,
        "answers": [[*key, number] for key, number in sorted(answers.items())],
        "wrong": wrong,
        "memory": [asdict(one) for one in memory],
        "alive": alive,
        "right": right,
    }
    return Result("malformed", HEADER, rows, [Goal(what, asked, text, met, note)], notes, data)
