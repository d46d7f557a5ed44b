"""Mixed load for a long time: do the server's memory, descriptors and threads stay constant?"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from loadtesting import fuzz, processor
from loadtesting.generator import START_SECONDS, Generator, Request
from loadtesting.load import batching_flags, complain
from loadtesting.processor import Sample
from loadtesting.report import WANTED, Goal, Result
from loadtesting.target import Target, models_config, pid_of
from privzoo.edge import grpc_messages
from privzoo.serving import Server
from privzoo.serving.settings import METRICS_PATH

HOUR = 3600
WITHIN = 0.05
WARM_SHARE, WARM_SECONDS = 0.2, 300  # the warm-up: this share of the run, but at most this long
PART = 0.1  # "begin" and "end" are medians over this share of the run
MALFORMED = 300
EVERY = 8  # one request in this many is malformed
HEADER = ("", "after the warm-up", "at the end", "slope per hour")


def mixture(targets: Sequence[Target], seed: int) -> list[Request]:
    """Requests of all kinds: small and large features over both protocols, malformed ones, status, metadata, metrics.

    Args:
        targets: the tails.
        seed: seed of the malformed requests.
    """
    right = [target.request(protocol) for target in targets for protocol in ("rest", "grpc")]
    for target in targets:
        place = f"/v1/models/{target.model}"
        right += [Request(f"rest {what}", "rest", place + end, b"", "GET") for what, end in _LOOKS]
    right.append(Request("rest metrics", "rest", METRICS_PATH, b"", "GET"))
    wrong = [
        _malformed(one)
        for one in fuzz.requests(targets[0], 4 * MALFORMED, seed)
        if one.kind in ("json", "bytes", "message", "tensor")
    ][:MALFORMED]
    mixed: list[Request] = []
    turns = itertools.cycle(right)
    for one in wrong:
        mixed += [*itertools.islice(turns, EVERY - 1), one]
    return mixed


_LOOKS = (("status", ""), ("metadata", "/metadata"))


def _malformed(one: fuzz.Malformed) -> Request:
    if one.grpc:
        path = one.method if one.method.rpartition("/")[2] else grpc_messages.PREDICT
        return Request("grpc malformed", "grpc", path, one.body, malformed=True)
    return Request("rest malformed", "rest", one.path.decode(), one.body, malformed=True)


def run(targets: Sequence[Target], clients: int, seconds: int, seed: int) -> Result:
    """Keeps the server under mixed load, and samples its process meanwhile.

    Args:
        targets: the tails.
        clients: number of concurrent clients.
        seconds: duration of the run.
        seed: seed of the malformed requests.
    """
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        config, monitoring = models_config(list(targets), Path(scratch, "models")), Path(scratch, "monitoring")
        monitoring.write_text("prometheus_config { enable: true }")
        flags = ["--model_config_file", str(config), "--monitoring_config_file", str(monitoring)]
        with Server(None, flags=[*flags, *batching_flags(Path(scratch), True)], timeout=START_SECONDS) as server:
            requests, pid, start = mixture(targets, seed), pid_of(server), time.monotonic()
            with Generator(requests, server.url, server.grpc, clients, seconds, keep=False) as generator:
                while generator.running and (one := processor.sample(pid, start)) is not None:
                    samples.append(one)
                    time.sleep(max(0.2, seconds / 1000))
                alive = server.pid == pid
                seen = generator.wait() if alive else generator.stop()
    complain(seen)
    return result(samples, seconds, clients, seen.answered, seen.failures, alive)


def parts(samples: Sequence[Sample], seconds: float) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """The samples after the warm-up, and the first and the last of these.

    Args:
        samples: all samples of the run.
        seconds: duration of the run.
    """
    warm = min(WARM_SECONDS, WARM_SHARE * seconds)
    kept = [one for one in samples if one.seconds >= warm] or list(samples[-1:])
    first = [one for one in kept if one.seconds < kept[0].seconds + PART * seconds]
    last = [one for one in kept if one.seconds > kept[-1].seconds - PART * seconds]
    return kept, first, last


def result(
    samples: Sequence[Sample],
    seconds: int,
    clients: int,
    answered: dict[str, int],
    failures: dict[str, int],
    alive: bool,
) -> Result:
    """Judges the goal by the samples and the clients' counts."""
    kept, first, last = parts(samples, seconds)
    rows, change = [], {}
    for name, unit, scale in (("memory", "MB", 1e6), ("files", "descriptors", 1), ("threads", "threads", 1)):
        begin, end = (float(np.median([getattr(one, name) for one in part])) / scale for part in (first, last))
        times = np.asarray([one.seconds for one in kept]) / HOUR
        values = np.asarray([getattr(one, name) for one in kept]) / scale
        slope = float(np.polyfit(times, values, 1)[0]) if len(kept) > 2 else float("nan")
        rows.append([unit, f"{begin:,.1f}", f"{end:,.1f}", f"{slope:+,.1f}"])
        change[name] = end / begin - 1
    ((what, asked),) = WANTED["soak"]
    failed, requests = sum(failures.values()), sum(answered.values())
    flat = abs(change["memory"]) <= WITHIN and alive
    text = f"{change['memory']:+.1%} in {seconds:,} s, {failed:,} of {requests + failed:,} requests failed"
    met = flat and not failed if seconds >= HOUR or not flat or failed else None
    note = "" if seconds >= HOUR else f"a run of {seconds} s"
    kinds = ", ".join(f"{name} {number:,}" for name, number in sorted(answered.items()))
    notes = [
        f"{clients} clients: {kinds}. The warm-up is the first {min(WARM_SECONDS, WARM_SHARE * seconds):.0f} s; the "
        f"figures after it and at the end are medians over {PART:.0%} of the run each."
    ]
    data = {
        "seconds": seconds,
        "clients": clients,
        "answered": answered,
        "failures": failures,
        "alive": alive,
        "memory_change": change["memory"],
        "samples": [asdict(one) for one in samples],
    }
    return Result("soak", HEADER, rows, [Goal(what, asked, text, met, note)], notes, data)
