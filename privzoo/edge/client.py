"""The whole path from the device: face, head, wire, answer (Osia et al. 2017, Figure 1)."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from privzoo import inputs, outputs
from privzoo.edge.access import Access, Target
from privzoo.edge.answer import Answer
from privzoo.edge.grpc_wire import SCHEMES, Grpc
from privzoo.edge.head import Head
from privzoo.edge.queue import Entry, Queue
from privzoo.edge.rest import Reply, Rest
from privzoo.edge.retry import Patience
from privzoo.edge.sending import Sending, place_to_json
from privzoo.edge.stream import Stream
from privzoo.errors import BudgetError, ConfigError, FeatureError
from privzoo.faces import Answers, Skipped
from privzoo.inputs import Found

T = TypeVar("T")
TIMEOUT, ATTEMPTS = 10.0, 3  # seconds, and tries, where the user sets no others
# Faces per request: 32 features of conv5_1 at 96 px are about 6 MB of JSON, which servers accept by default.
BATCH = 32
_FEATURE = "features"  # input of the zoo's tails, for heads whose manifest omits its name


class Asking:
    """Common to the clients: a head, a server, and how to read its replies."""

    _asynchronous = False

    def __init__(
        self,
        head: Head,
        url: str,
        model_name: str | None = None,
        version: int | None = None,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        deadline: float | None = None,
        key: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        proxy: str | None = None,
    ) -> None:
        self.head = head
        self._target = self._of(head.manifest, head.manifest["model"] if model_name is None else model_name, version)
        over_grpc = isinstance(url, str) and url.partition("://")[0] in SCHEMES
        self._wire = (Grpc if over_grpc else Rest)(
            url,
            self._target,
            Patience(timeout, attempts, deadline),
            Access(key, ca, certificate, proxy),
            self._asynchronous,
        )

    def _of(self, manifest: dict[str, Any], model: str, version: int | None) -> Target:
        """What is asked for on the server."""
        signature, feature = manifest["tail"]["signature"], manifest["feature"]
        name = feature.get("name", _FEATURE)
        kind = manifest.get(outputs.KEY, outputs.CLASS)
        return Target(model, version, signature, name, len(manifest["classes"]), feature.get("budget"), kind=kind)

    def _features(self, chips: np.ndarray, slot: str | None) -> tuple[np.ndarray, float]:
        begin = time.perf_counter()
        features = self.head.features(chips, slot)
        return features, (time.perf_counter() - begin) * 1e3 / len(chips)

    def _prepare(
        self, images: Any, face: str, all_faces: bool, strict: bool, slot: str | None
    ) -> tuple[np.ndarray, list[Found], list[Skipped]]:
        """Cuts out all faces or clips before anything is computed: skipped or too many faces spend nothing."""
        self.head.check_slot(slot)
        chips, cut, skipped = self.head.prepare(images, face, bulk=not strict, all_faces=all_faces)
        inputs.require(found := list(cut), skipped, self.head.input)
        # Permanent answers may cost nothing: the ledger decides when their symbols are known.
        left = None if self.head.permanent else self.head.remaining()
        if left is not None and len(chips) > left:
            raise BudgetError(
                f"{len(chips)} {self.head.input.nouns} are more than the {left} that the total budget of "
                f"{self.head.owner!r} allows, so nothing was computed; give fewer, or raise the total."
            )
        return chips, found, skipped

    def _answers(self, found: list[tuple[Found, float]], reply: Reply) -> list[Answer]:
        share, rest = divmod(reply.bytes_sent, len(found))
        return [
            Answer(
                image=face.image,
                face=face.box,
                number=face.number,
                faces=face.found,
                label=outputs.label(row, self.head.classes, self._target.kind),
                probabilities={name: float(row[k]) for k, name in enumerate(self.head.classes)},
                edge_ms=edge_ms,
                cloud_ms=reply.milliseconds / len(found),
                bytes_sent=share + (index < rest),
            )
            for index, ((face, edge_ms), row) in enumerate(zip(found, reply.outputs, strict=True))
        ]


class Client(Asking):
    """Gets answers about faces from a TF Serving server, such as `privzoo serve`, sending it only features.

    Args:
        head: the open head.
        url: address of the server: `http://cloud:8501` or `https://...` for REST, `grpc://cloud:8500` or
            `grpcs://...` for gRPC.
        model_name: name of the tail on the server; None: the model's own name, from the head's manifest.
        version: of the tail on the server; None: the newest. Another head's tail is refused either way.
        timeout: seconds for each of connecting, sending and reading; over gRPC for a whole attempt.
        attempts: maximum number, while the server is away or busy, with growing random waits in between.
        deadline: seconds for one request with all its attempts; None: no limit.
        key: API key; it is refused over plain http or grpc to another machine.
        ca: PEM file of the authority that signed the server's certificate; None: the system's.
        certificate: PEM files of the device's own certificate and key, for mutual TLS.
        proxy: address of a proxy, e.g. `http://proxy:3128`, for https and grpcs addresses only: it carries TLS and sees
            neither key nor feature. None: no proxy, regardless of the environment. This machine is never reached
            through one.
        queue: file that keeps features while the server is away, for `later` and `send`; or a `Queue`.

    Raises:
        ConfigError: an invalid address, name, version, time, key or file.
        MissingExtraError: a package for the protocol is not installed.

    Example:
        >>> with Client(Head("head.tflite"), "http://cloud:8501") as client:  # doctest: +SKIP
        ...     print(client.predict(["anna.jpg", "ben.jpg"]))
    """

    def __init__(
        self,
        head: Head,
        url: str,
        model_name: str | None = None,
        version: int | None = None,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        deadline: float | None = None,
        key: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        proxy: str | None = None,
        *,
        queue: str | os.PathLike[str] | Queue | None = None,
    ) -> None:
        super().__init__(head, url, model_name, version, timeout, attempts, deadline, key, ca, certificate, proxy)
        self._opened: Queue | None = None  # closed with the client
        if queue is None or isinstance(queue, Queue):
            self.queue: Queue | None = queue
        else:
            self.queue = self._opened = Queue(queue)

    def __enter__(self) -> Client:
        """The client itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection to the server, and the queue if the client opened it."""
        self._wire.close()
        if self._opened is not None:
            self._opened.close()

    def predict(
        self,
        images: Any,
        face: str = "detect",
        *,
        all_faces: bool = False,
        strict: bool = False,
        slot: str | None = None,
    ) -> Answers[Answer]:
        """Finds the face in each image, runs the head on it, and asks the server.

        Images that cannot be used are skipped. All faces are cut out before the first feature is computed, so that a
        skipped image spends no budget.

        Args:
            images: one or many paths, open files, bytes, PIL images or uint8 arrays; for a head for speech, recordings.
            face: "detect" finds the face, "given" means that each image already is a face chip.
            all_faces: answer for every face in each image, including small ones, which takes ten times as long;
                each is a separate feature, which spends its own budget.
            strict: raise at the first image that cannot be used, before anything is computed.
            slot: in which permanent answers repeat, for a head that has them: a person, a day.

        Returns:
            A list with an answer for each image, or face, in their order; its `skipped` has the images without one.

        Raises:
            ImageError: none of the images can be used, or with `strict` one cannot; FaceNotFoundError if they show
                no face; AudioError for recordings.
            BudgetError: the faces together would exceed the head's total; none of them was computed.
            ServerUnavailableError: the server could not be reached, or is busy.
            MismatchError: the server's tail does not belong to this head.
            ServerError: the server answered, but with no prediction.
        """
        self._wire.check_open()
        chips, found, skipped = self._prepare(images, face, all_faces, strict, slot)
        answers = []
        for start in range(0, len(chips), BATCH):
            features, edge_ms = self._features(chips[start : start + BATCH], slot)
            faces = [(one, edge_ms) for one in found[start : start + BATCH]]
            answers += self._answers(faces, self._wire.predict(features))
        return Answers(answers, skipped)

    def stream(self, frames: Iterable[Any], face: str = "detect", *, slot: str | None = None) -> Stream:
        """Answers for frames of a camera, or recordings, as they arrive; what arrives while it is busy is dropped.

        Each frame is a separate feature: with noise, each spends its budget (`Head.spent_epsilon`).

        Args:
            frames: any iterable of images in real time, such as a generator over a camera; read in a thread.
            face: as for `predict`.
            slot: as for `predict`; of a head with permanent answers, a symbol costs its budget once in all of them.

        Returns:
            An iterator over answers, without those for frames that show no face. It counts the frames that were
            `read`, `dropped` and `without_face`; `close` stops it early, as does the end of a `with` block.

        Raises (while iterating):
            As `predict`, except FaceNotFoundError and SilenceError; and whatever reading a frame raises.

        Example:
            >>> for answer in client.stream(camera):  # doctest: +SKIP
            ...     print(answer.image, answer.label)
        """
        self._wire.check_open()
        return Stream(
            frames,
            lambda frame, name: dataclasses.replace(self.predict(frame, face, strict=True, slot=slot)[0], image=name),
        )

    def later(
        self,
        images: Any,
        face: str = "detect",
        *,
        all_faces: bool = False,
        strict: bool = False,
        slot: str | None = None,
    ) -> Answers[str]:
        """Finds the faces, runs the head, and queues the features, without sending them yet.

        Args:
            images: as for `predict`.
            face: as for `predict`.
            all_faces: as for `predict`.
            strict: as for `predict`.
            slot: as for `predict`.

        Returns:
            A list with a ticket for each image, or face, in their order; its `skipped` has the images without one. A
            feature that waits already gets the same ticket again. (A head that adds noise never gives a feature twice.)

        Raises:
            ConfigError: the client is closed or has no queue, or the queue's file cannot be used; nothing was spent.
            ImageError: as for `predict`.
            ServerUnavailableError: the queue is full; none of the features was kept.
        """
        self._wire.check_open()
        queue = self._queue()
        chips, found, skipped = self._prepare(images, face, all_faces, strict, slot)
        places = [place_to_json(one) for one in found]  # anything that can fail must do so before the budget is spent
        queue.check_room(len(chips), 4 * len(chips) * math.prod(self.head.feature_shape))
        features, edge_ms = self._features(chips, slot)
        if not np.isfinite(features).all():
            raise FeatureError("A feature has values that are not finite; it was not kept.")
        tickets = queue.add_all(
            [
                Entry(feature, self._target.signature, one.image, place, edge_ms)
                for feature, one, place in zip(features, found, places, strict=True)
            ]
        )
        return Answers(tickets, skipped)

    def send(self) -> Iterator[tuple[str, Answer]]:
        """Sends the features in the queue, the oldest first.

        A feature leaves the queue when the loop takes the next answer, or ends: an answer that was in transit when the
        device went down is sent again, under the same ticket.

        Returns:
            Tickets and answers, as they come.

        Raises:
            ConfigError: the client is closed or has no queue, or the queue's file cannot be used.
            ServerUnavailableError: the server is still away; unanswered features stay.
            MismatchError: the server has another tail; all stay.
            FeatureRefusedError: once all others are answered: the server refused some features with its protocol's own
                error, and answered others after that; or they cannot be sent. These are set aside: `queue.refused()`
                says why, `queue.retry_refused()` queues them again, `queue.forget(ticket)` drops one.
            ServerError: the server refuses features and answers none after them, for example if a proxy refuses
                everything; or it answers with another error, as for a revoked key; all stay.

        Example:
            >>> for ticket, answer in client.send():  # doctest: +SKIP
            ...     print(ticket, answer.label)
        """
        self._wire.check_open()
        sending = Sending(
            self._queue(), self._target.signature, self.head.feature_shape, BATCH, self._wire.predict, self._answers
        )
        return self._while_open(sending.run())

    def _while_open(self, answers: Iterator[T]) -> Iterator[T]:
        """The same, unless the client was closed before the first is asked for."""
        self._wire.check_open()
        yield from answers

    def _queue(self) -> Queue:
        if self.queue is None:
            raise ConfigError("This client has no queue; make it with queue='features.sqlite'.")
        return self.queue


class AsyncClient(Asking):
    """As `Client`, for asyncio: the head runs on a thread, the requests in the event loop; it has no queue.

    Example:
        >>> async with AsyncClient(Head("head.tflite"), "grpc://cloud:8500") as client:  # doctest: +SKIP
        ...     print(await client.predict("anna.jpg"))
    """

    _asynchronous = True

    async def __aenter__(self) -> AsyncClient:
        """The client itself; it is closed at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection."""
        await self.close()

    async def close(self) -> None:
        """Closes the connection to the server."""
        await self._wire.close_async()

    async def predict(
        self,
        images: Any,
        face: str = "detect",
        *,
        all_faces: bool = False,
        strict: bool = False,
        slot: str | None = None,
    ) -> Answers[Answer]:
        """As `Client.predict`; several calls may run concurrently, each in its own task."""
        self._wire.check_open()
        chips, found, skipped = await asyncio.to_thread(self._prepare, images, face, all_faces, strict, slot)
        answers = []
        for start in range(0, len(chips), BATCH):
            features, edge_ms = await asyncio.to_thread(self._features, chips[start : start + BATCH], slot)
            faces = [(one, edge_ms) for one in found[start : start + BATCH]]
            answers += self._answers(faces, await self._wire.predict_async(features))
        return Answers(answers, skipped)
