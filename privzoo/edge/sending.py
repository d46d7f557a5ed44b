"""Sends the queue, and distinguishes features that a server refuses from a server that refuses everything.

The rule. A feature is set aside only if the server refused it alone and, later in the same call, answered another one
for the same tail. Until another one is answered, the fault may be the server's, or of something in front of it: a
proxy that refuses in the protocol's own words, a tail that fails for everyone. Then all are kept. If something was
answered before, that same feature is sent again to find out, which costs no budget. Features set aside are also kept,
until `Queue.forget`, and are queued again by `Queue.retry_refused`: whatever servers say, no feature is lost.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from privzoo.audio import Recording
from privzoo.errors import FeatureRefusedError, ServerError
from privzoo.faces import Box, Face
from privzoo.inputs import Found

if TYPE_CHECKING:
    from privzoo.edge.queue import Queue, Waiting
    from privzoo.edge.rest import Reply

T = TypeVar("T")
# So many refused in a row, and none answered: the server probably refuses all. They go to the end of the queue, so that
# the next call begins with others.
PATIENCE = 96


class Sending(Generic[T]):
    """One call of `Client.send`.

    Args:
        queue: whose features are sent.
        signature: of the tail that they are for.
        shape: of one feature.
        batch: features in one request.
        ask: sends features (N, *shape); raises FeatureRefusedError if the server refuses these.
        answers: turns faces with the head's milliseconds, and the reply, into an answer for each.
    """

    def __init__(
        self,
        queue: Queue,
        signature: str,
        shape: tuple[int, ...],
        batch: int,
        ask: Callable[[np.ndarray], Reply],
        answers: Callable[[list[tuple[Found, float]], Reply], list[T]],
    ) -> None:
        self._queue, self._signature, self._shape, self._batch = queue, signature, shape, batch
        self._ask, self._answers = ask, answers
        self._suspects: dict[str, str] = {}  # ticket -> why it was refused; nothing has been answered since
        self._aside: list[str] = []  # reasons of the features set aside
        self._answered: np.ndarray | None = None

    def run(self) -> Iterator[tuple[str, T]]:
        """Tickets and answers, as they come; see `Client.send`."""
        while True:
            yield from self._pass()
            if not self._suspects or self._answered is None:
                break
            try:
                self._ask(self._answered[None])
            except FeatureRefusedError:  # it refuses a feature that it answered before
                break
            self._convict()
        self._conclude()

    def _pass(self) -> Iterator[tuple[str, T]]:
        while len(self._suspects) < PATIENCE and (group := self._next()):
            groups = [group]
            while groups and len(self._suspects) < PATIENCE:
                group = groups.pop()
                try:
                    reply = self._ask(np.stack([one.feature for one, _ in group]))
                except FeatureRefusedError as error:
                    if len(group) > 1:  # one of them may be at fault: each alone, the first next
                        groups = [[one] for one in reversed(group)]
                    else:
                        self._suspects[group[0][0].ticket] = str(error)
                    continue
                faces = [(face, one.edge_ms) for one, face in group]
                answers = self._answers(faces, reply)
                self._answered = group[-1][0].feature
                self._convict()
                for (one, _), answer in zip(group, answers, strict=True):
                    yield one.ticket, answer
                    self._queue.remove(one.ticket)

    def _next(self) -> list[tuple[Waiting, Found]]:
        """The next features, with their faces' squares; sets aside those that no server could answer."""
        while waiting := self._queue.first(self._signature, self._batch + len(self._suspects)):
            if not (fresh := [one for one in waiting if one.ticket not in self._suspects]):
                return []
            sendable = []
            for one in fresh[: self._batch]:
                reason = self._flaw(one)
                if reason is None:
                    sendable.append((one, place_of(one)))
                else:
                    self._set_aside(one.ticket, reason)
            if sendable:
                return sendable
        return []

    def _flaw(self, one: Waiting) -> str | None:
        """Why a feature cannot be sent, or None."""
        if one.feature.shape != self._shape:
            return f"It has the shape {one.feature.shape}, not {self._shape}."
        if not np.isfinite(one.feature).all():
            return "It has values that are not finite."
        try:
            place_of(one)
        except (ValueError, TypeError, RecursionError):
            return "Its face's square cannot be read."
        return None

    def _convict(self) -> None:
        """The server has just answered another feature, so the refused ones are at fault themselves."""
        for ticket, reason in self._suspects.items():
            self._set_aside(ticket, reason)
        self._suspects.clear()

    def _set_aside(self, ticket: str, reason: str) -> None:
        self._queue.set_aside(ticket, reason)
        self._aside.append(reason)

    def _conclude(self) -> None:
        aside = (
            f"{len(self._aside)} of the queued features cannot be answered and were set aside ({self._aside[0]}); "
            "queue.refused() lists them"
            if self._aside
            else ""
        )
        if self._suspects:
            for ticket in self._suspects:
                self._queue.move_back(ticket)
            reason = next(iter(self._suspects.values()))
            raise ServerError(
                f"The server refused {len(self._suspects)} of the queued features and answered none after them, so "
                f"it may refuse all ({reason}); they were kept: check address, model and version, then send again"
                f"{aside and '. ' + aside}."
            )
        if aside:
            raise FeatureRefusedError(f"{aside}.")


def place_to_json(face: Found) -> str:
    """A face's place in its photograph, as stored in the queue, where alone its number counts from 0.

    A recording has no place.
    """
    square = dataclasses.asdict(face.box) if face.box else {}
    return json.dumps({**square, "number": face.number - 1, "found": face.found})


def place_of(one: Waiting) -> Found:
    """Inverse of `place_to_json`; raises ValueError, TypeError or RecursionError for invalid input."""
    place = json.loads(one.box)
    if not isinstance(place, dict):
        raise TypeError(f"{type(place).__name__} is not a place")
    number, found = place.pop("number", 0) + 1, place.pop("found", 1)
    return Face(one.image, Box(**place), found, number) if place else Recording(one.image)
