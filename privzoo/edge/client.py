"""The whole path from the device's side: face, head, wire, answer (Osia et al. 2017, Figure 1)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.edge.head import Head
from privzoo.edge.rest import Rest
from privzoo.edge.stream import Stream
from privzoo.faces import Box

# Faces in one request: 32 features of conv5_1 at 96 px are about 6 MB of JSON, which servers take by default.
BATCH = 32


@dataclass(frozen=True)
class Answer:
    """What the cloud said of one face, and what asking cost."""

    image: str  # name of the photograph
    face: Box  # the face chip's square in it
    label: str  # the likeliest class
    probabilities: dict[str, float]  # class -> 0..1
    edge_ms: float  # milliseconds in the head, without finding the face
    cloud_ms: float  # milliseconds of the request, wire included, shared among the faces in it
    bytes_sent: int  # this face's share of the request's body; the shares add up to the bodies sent


class Client:
    """Asks a TF Serving REST server, as `privzoo serve`, about faces, and sends it nothing but features.

    Args:
        head: the open head.
        url: address of the server's REST interface, as `http://cloud:8501`.
        model_name: name of the tail on the server; None: the model's own name, from the head's manifest.
        version: of the tail on the server; None: the newest. A tail that is not the head's is refused either way.
        timeout: seconds for each of connecting, sending and reading.

    Raises:
        ConfigError: an address, name, version or timeout that cannot be.
        MissingExtraError: httpx or orjson is not installed.

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
        timeout: float = 10.0,
    ) -> None:
        self.head = head
        self._wire = Rest(
            url,
            head.manifest["model"] if model_name is None else model_name,
            version,
            head.manifest["tail"]["signature"],
            len(head.classes),
            timeout,
        )

    def __enter__(self) -> Client:
        """The client itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection to the server."""
        self._wire.close()

    def predict(self, images: Any, face: str = "detect") -> list[Answer]:
        """Finds the face in each image, runs the head on it, and asks the server.

        Args:
            images: one or many paths, bytes, PIL images or uint8 arrays.
            face: "detect" finds the face, "given" takes each image as a face chip already.

        Returns:
            One answer for each image, in their order.

        Raises:
            ImageError: an image cannot be read; FaceNotFoundError: one shows no face.
            ServerUnavailableError: the server could not be reached.
            MismatchError: the server's tail does not belong to this head.
            ServerError: the server answered, but with no prediction.
        """
        chips, found, _ = self.head.prepare(images, face=face)
        answers = []
        for start in range(0, len(chips), BATCH):
            stop = start + BATCH
            answers += self._ask(chips[start:stop], found[start:stop])
        return answers

    def stream(self, frames: Iterable[Any], face: str = "detect") -> Stream:
        """Asks about the frames of a camera as they come; frames that come while it is busy are dropped.

        Each frame is a feature of its own: of a head with noise, each spends its budget (`Head.spent_epsilon`).

        Args:
            frames: anything that gives images in real time, as a generator over a camera; read in a thread.
            face: as for `predict`.

        Returns:
            An iterator over answers, without those for frames that show no face. It counts the frames that were
            `read`, `dropped` and `without_face`; `close` stops it early, as does the end of a `with` block.

        Raises (while iterating):
            As `predict`, but for FaceNotFoundError; and whatever reading a frame raises.

        Example:
            >>> for answer in client.stream(camera):  # doctest: +SKIP
            ...     print(answer.image, answer.label)
        """
        return Stream(frames, lambda frame, name: dataclasses.replace(self.predict(frame, face)[0], image=name))

    def _ask(self, chips: np.ndarray, found: list[Any]) -> list[Answer]:
        begin = time.perf_counter()
        features = self.head.features(chips)
        edge_ms = (time.perf_counter() - begin) * 1e3 / len(chips)
        reply = self._wire.predict(features)
        share, rest = divmod(reply.bytes_sent, len(chips))
        return [
            Answer(
                image=found[index].image,
                face=found[index].box,
                label=self.head.classes[int(row.argmax())],
                probabilities={name: float(row[k]) for k, name in enumerate(self.head.classes)},
                edge_ms=edge_ms,
                cloud_ms=reply.milliseconds / len(chips),
                bytes_sent=share + (index < rest),
            )
            for index, row in enumerate(reply.outputs)
        ]
