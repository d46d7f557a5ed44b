"""What a code costs on the device in addition to its head: the time from the head's output to the symbol."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from privzoo.audit.report.code_goals import DEVICE_MS
from privzoo.evaluation.intervals import Estimate, median
from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.permanent import SECRET_BYTES, PermanentResponse
from privzoo.mechanisms.randomized_response import RandomizedResponse

LIMIT_MS = DEVICE_MS
ROUNDS, CALLS = 21, 1000


def beyond_head(
    book: Codebook, response: RandomizedResponse, feature: np.ndarray, rounds: int = ROUNDS, calls: int = CALLS
) -> dict[str, Estimate]:
    """Times what `privzoo.edge.Head.features` does between a head's output and the symbol to send.

    Args:
        book: codebook of the code.
        response: draws the symbols.
        feature: float32 (1, d), the head's output.
        rounds: number of rounds; each gives the median of its calls.
        calls: number of timed calls per round, after the same number of untimed ones.

    Returns:
        Milliseconds per face, "fresh" for a newly drawn symbol and "permanent" for a permanent answer: the median of
        the rounds, with its interval.
    """
    permanent = PermanentResponse(response, bytes(SECRET_BYTES), "a slot", book.name)
    ways: dict[str, Callable[[], object]] = {
        "fresh": lambda: response.answers(book.encode(feature)),
        "permanent": lambda: permanent.send(book.encode(feature)),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():  # alternately, so that other load on the machine affects both
            _timed(way, calls)
            found[name].append(_timed(way, calls))
    return {name: median(values) for name, values in found.items()}


def _timed(way: Callable[[], object], calls: int) -> float:
    """Median of the calls in milliseconds."""
    taken = np.empty(calls)
    for index in range(calls):
        begin = time.perf_counter()
        way()
        taken[index] = time.perf_counter() - begin
    return float(np.median(taken)) * 1e3
