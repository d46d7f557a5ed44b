"""Large bodies from many clients at once: does memory stay within the budget, and do small requests get through?"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from loadtesting import processor
from loadtesting.generator import MOST_CLIENTS, START_SECONDS, Generator, Request, Seen
from loadtesting.load import batching_flags
from loadtesting.report import WANTED, Goal, Result
from loadtesting.target import ENDED, Target, answer, answer_grpc, models_config, pid_of
from privzoo.edge import grpc_messages, rest
from privzoo.errors import ConfigError, ServerError
from privzoo.serving import Server
from privzoo.serving.front.budget import least

BODY = 8 * 2**20  # bytes; --max_body_bytes
BUDGET = 512 * 2**20  # --max_bytes_in_flight
FILL = 0.5  # size of the large bodies, as a share of the largest allowed
ROWS = 1024  # the most features that a server accepts in one request
WARM = 4  # requests of each kind, one after another, before the first look at memory
SMALL_SHARE = 0.99
RIGHT, BUSY = {"200", "OK"}, {"429", "RESOURCE_EXHAUSTED"}
HEADER = ("request", "bytes", "answered", "told to retry", "others")


def requests_of(small: Target, large: Target) -> list[Request]:
    """A large and a small request over each protocol.

    Args:
        small: the tail that receives single features.
        large: the tail that receives as many at once as make a large body.

    Raises:
        ConfigError: the latter's features are too small for that.
    """
    made = []
    for protocol in ("rest", "grpc"):
        rows = int(FILL * BODY / len(large.request(protocol).body))
        if rows > ROWS:
            raise ConfigError(
                f"{large.model} has features of {large.feature_bytes} bytes, too small for large bodies; let --models "
                "end with one that has larger ones."
            )
        batch = np.repeat(large.feature, max(1, rows), axis=0)
        if protocol == "rest":
            body = rest.encode(batch, large.signature)
        else:
            body = grpc_messages.encode(batch, large.model, None, large.signature, "features")
        many = replace(large.request(protocol, f"{protocol} large"), body=body)
        made += [replace(one, malformed=True) for one in (many, small.request(protocol, f"{protocol} small"))]
    return made  # "malformed": they may be refused


def run(small: Target, large: Target, clients: int, seconds: int) -> Result:
    """Sends large and small bodies alternately, half of the clients over each protocol, and samples the memory.

    Args:
        small: the tail that receives single features.
        large: the tail that receives large bodies.
        clients: number of concurrent clients.
        seconds: duration of the run.
    """
    requests, memory = requests_of(small, large), []
    flags = ["--max_body_bytes", str(BODY), "--max_bytes_in_flight", str(max(BUDGET, least(BODY)))]
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        config = models_config(list({one.model: one for one in (small, large)}.values()), Path(scratch, "models"))
        flags += ["--model_config_file", str(config), *batching_flags(Path(scratch), True)]
        with Server(None, flags=flags, timeout=START_SECONDS) as server:
            for one in requests * WARM:
                if one.name.endswith("small"):  # loads everything, before any large body arrives
                    answer(server.url, one) if one.protocol == "rest" else answer_grpc(server.grpc, one)
            pid, start = pid_of(server), time.monotonic()
            if (first := processor.sample(pid, start)) is None:
                raise ServerError(ENDED)
            with Generator(requests, server.url, server.grpc, clients, seconds, keep=False) as generator:
                while generator.running and (sample := processor.sample(pid, start)) is not None:
                    memory.append(sample.memory)
                    time.sleep(0.05)
                most = max([*memory, processor.peak(pid) or 0])
                alive = server.pid == pid
                seen = generator.wait() if alive else generator.stop()
    return result(requests, seen, first.memory, most, max(BUDGET, least(BODY)), clients, seconds, alive)


def result(
    requests: list[Request],
    seen: Seen,
    idle: int,
    most: int,
    budget: int,
    clients: int,
    seconds: int,
    alive: bool,
) -> Result:
    """Judges the goals by the clients' counts and the memory.

    Args:
        requests: the requests that were sent.
        seen: what the clients saw.
        idle: memory before the run, in bytes.
        most: memory at the peak, in bytes.
        budget: memory that requests may use, in bytes.
        clients: number of concurrent clients.
        seconds: duration of the run.
        alive: whether the server was still running at the end.
    """
    found: dict[str, Counter[str]] = {one.name: Counter() for one in requests}
    for text, number in seen.codes.items():
        name, _, code = text.rpartition(": ")
        found[name]["right" if code in RIGHT else "busy" if code in BUSY else "other"] += number
    rows = [
        [one.name, f"{len(one.body):,}", *(f"{found[one.name][kind]:,}" for kind in ("right", "busy", "other"))]
        for one in requests
    ]
    total = sum(found.values(), Counter())
    within, others = most - idle <= budget, total["other"]
    small = sum((found[one.name] for one in requests if one.name.endswith("small")), Counter())
    share = small["right"] / max(1, small.total())
    (what, asked), (beside, enough) = WANTED["large"]
    note = "" if clients == MOST_CLIENTS else f"a run of {clients} clients"
    text = (
        f"{(most - idle) / 2**20:,.0f} MiB of {budget / 2**20:,.0f}, {total['right']:,} answered, {total['busy']:,} "
        f"told to retry, {others:,} failed"
    )
    met = within and alive and not others and total["busy"] > 0
    goals = [
        Goal(what, asked, text, met if clients == MOST_CLIENTS or not met else None, note),
        Goal(
            beside,
            enough,
            f"{share:.1%} of {small.total():,}",
            share >= SMALL_SHARE if clients == MOST_CLIENTS else None,
            note,
        ),
    ]
    notes = [
        f"{clients} clients for {seconds} s, half over REST and half over gRPC, each sending large and small requests "
        f"alternately; --max_body_bytes {BODY}, --max_bytes_in_flight {budget}. Memory: {idle / 2**20:,.0f} MiB after "
        f"small requests only, {most / 2**20:,.0f} MiB at the peak. Told to retry: 429, RESOURCE_EXHAUSTED."
    ]
    data = {
        "clients": clients,
        "seconds": seconds,
        "budget": budget,
        "idle": idle,
        "peak": most,
        "alive": alive,
        "codes": seen.codes,
        "failures": seen.failures,
    }
    return Result("large", HEADER, rows, goals, notes, data)
