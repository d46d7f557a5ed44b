"""DataMix from the device: pre, mixing, the wire, unmixing, post (Liu et al. 2020, Figure 5).

**Never rely on it.** Mixing is no encryption: `privzoo.mechanisms.mixing` and SECURITY.md say how it falls.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from privzoo import faces, inputs, outputs
from privzoo.edge.access import Target
from privzoo.edge.answer import Answer
from privzoo.edge.client import ATTEMPTS, TIMEOUT, Asking
from privzoo.edge.rest import Reply
from privzoo.edge.unprotected import UnprotectedHead
from privzoo.errors import ConfigError
from privzoo.faces import Answers
from privzoo.mechanisms.covers import Covers
from privzoo.mechanisms.mixing import ENCODINGS, Key, Mixing, from_manifest

FLOAT32 = "float32"
MOST_GROUPS = 4  # in a request, whose mixtures leave in one shuffled order


class MixingHead:
    """The device's parts of a DataMix model, open on LiteRT or tflite-runtime: pre from the file, post in numpy.

    Args:
        path: the `.tflite` file.
        threads: CPU threads for one inference, 1 or more.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or contradicts its manifest.
        ConfigError: its features are not mixed, or `threads` is not a count.
        MissingExtraError: no TFLite interpreter is installed.

    Example:
        >>> head = MixingHead("vgg16_gender_datamix_block1_int8.tflite")  # doctest: +SKIP
        >>> mixtures, key = head.mix(chips)  # doctest: +SKIP
    """

    # No __dict__: features leave this object as mixtures alone, and an assignment does not change that.
    __slots__ = ("__mixing", "__unprotected", "__weakref__")

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        self.__unprotected = UnprotectedHead(path, threads)
        self.__mixing = from_manifest(self.__unprotected.manifest, self.__unprotected.path)

    def __repr__(self) -> str:
        """Name, quantization and size of the group."""
        return f"MixingHead({self.manifest['model']!r}, {self.manifest.get('quantization')}, group={self.group})"

    @property
    def path(self) -> str:
        """Path of the head's file."""
        return self.__unprotected.path

    @property
    def manifest(self) -> dict[str, Any]:
        """The file's manifest; a copy, so that edits change nothing."""
        return copy.deepcopy(self.__unprotected.manifest)

    @property
    def mixing(self) -> Mixing:
        """How features are mixed, and the last layer."""
        return self.__mixing

    @property
    def group(self) -> int:
        """Faces that are mixed together."""
        return self.__mixing.group

    @property
    def input_size(self) -> int:
        """Side of the chips in pixels; raises ConfigError for a head for speech."""
        return inputs.side(self.input, f"The head {self.path}")

    @property
    def input(self) -> inputs.Input:
        """What it takes: face chips, or clips of speech."""
        return self.__unprotected.input

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one mixture."""
        return self.__unprotected.feature_shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.__unprotected.manifest["classes"])

    def prepare(
        self, images: Any, face: str = "detect", bulk: bool = False, all_faces: bool = False
    ) -> tuple[np.ndarray, Sequence[inputs.Found], list[faces.Skipped]]:
        """Cuts face chips of this head's size from photographs, or clips from recordings; as `Head.prepare`."""
        return self.input.cut(images, face, bulk, all_faces)

    def mix(self, chips: Any) -> tuple[np.ndarray, Key]:
        """Runs pre on whole groups of chips, and mixes them under a fresh key.

        Args:
            chips: uint8 or float array (groups * group, input_size, input_size, 3), RGB, values 0..255.

        Returns:
            What may be sent, float32 (groups * group, *feature_shape), and the key for the answers.

        Raises:
            ImageError: chips of another shape, type or range.
            ConfigError: no whole groups.
            FeatureError: the head's output is not finite.
        """
        chips = self.input.check(chips)
        lacking = self.__mixing.covers(len(chips)) if len(chips) else self.group
        if lacking:
            raise ConfigError(f"{len(chips)} faces are no whole groups of {self.group}; add {lacking} covers.")
        key = self.__mixing.key(len(chips))
        try:
            return key.mix(self.__unprotected.features(chips)), key
        except BaseException:
            key.wipe()
            raise

    def answers(self, key: Key, hidden: np.ndarray) -> np.ndarray:
        """Unmixes the cloud's answers, and computes the last layer.

        Args:
            key: of `mix`; it is of no use after that.
            hidden: numbers (groups * group, hidden), in the order in which the mixtures left.

        Returns:
            Probabilities, float32 (groups * group, classes), in the order of the chips.

        Raises:
            ConfigError: the key was used before.
            FeatureError: answers of another number.
        """
        return self.__mixing.answers(key.unmix(hidden))


class MixingClient(Asking):
    """Gets answers about faces from a TF Serving server, such as `privzoo serve`, sending it only mixtures.

    Every request holds whole groups under one fresh key: the faces that are asked about, and covers that fill the last
    group. Attempts send the same bytes again, never a second mixture of the same faces. There is no queue: it would
    have to keep keys on the disk.

    Ask about a photograph once: two requests that share a face chip give it away (`privzoo.mechanisms.covers`).

    Args:
        head: the open head.
        url: address of the server, as for `Client`.
        covers: pool of other faces on the device; None: only whole groups can be asked about.
        encoding: of the mixtures: "int16" (half of the bytes), "int8" (a quarter), or "float32".
        model_name, version, timeout, attempts, deadline, key, ca, certificate, proxy: as for `Client`.

    Raises:
        ConfigError: an invalid address, name, version, time, key, file or encoding.
        MissingExtraError: a package for the protocol is not installed.

    Example:
        >>> covers = pool("other_people", head.input_size)  # doctest: +SKIP
        >>> with MixingClient(head, "grpc://cloud:8500", covers) as client:  # doctest: +SKIP
        ...     print(client.predict("anna.jpg")[0].label)
    """

    head: MixingHead  # type: ignore[assignment]

    def __init__(
        self,
        head: MixingHead,
        url: str,
        covers: Covers | None = None,
        encoding: str = "int16",
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
        if encoding not in (FLOAT32, *ENCODINGS):
            raise ConfigError(f"encoding={encoding!r} is unknown; give {', '.join((FLOAT32, *ENCODINGS))}.")
        self.covers, self._encoding = covers, encoding
        super().__init__(head, url, model_name, version, timeout, attempts, deadline, key, ca, certificate, proxy)  # type: ignore[arg-type]

    def _of(self, manifest: dict[str, Any], model: str, version: int | None) -> Target:
        signature, feature = manifest["tail"]["signature"], manifest["feature"]
        packed = self._encoding != FLOAT32
        return Target(
            model,
            version,
            f"{signature}_{self._encoding}" if packed else signature,
            feature["packed"] if packed else feature["name"],
            self.head.mixing.hidden,
            output=feature["output"],
            encoding=self._encoding if packed else None,
            kind=manifest.get(outputs.KEY, outputs.CLASS),
        )

    def __enter__(self) -> MixingClient:
        """The client itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection to the server."""
        self._wire.close()

    def predict(
        self, images: Any, face: str = "detect", *, all_faces: bool = False, strict: bool = False
    ) -> Answers[Answer]:
        """Finds the face in each image, runs pre on it and on covers, mixes, asks the server, and unmixes.

        Args:
            images, face, all_faces, strict: as for `Client.predict`.

        Returns:
            A list with an answer for each image, or face, in their order; its `skipped` has the images without one.
            What was sent and computed for covers counts as the faces'.

        Raises:
            ConfigError: the pool has too few covers; nothing was sent, and none was taken.
            ImageError, ServerUnavailableError, MismatchError, ServerError: as for `Client.predict`.
        """
        self._wire.check_open()
        chips, cut, skipped = self.head.prepare(images, face, bulk=not strict, all_faces=all_faces)
        inputs.require(found := list(cut), skipped, self.head.input)
        whole = self._filled(chips)
        step, answers = MOST_GROUPS * self.head.group, []
        for start in range(0, len(whole), step):
            asked = found[start : start + step]
            begin = time.perf_counter()
            mixtures, key = self.head.mix(whole[start : start + step])
            with key:
                edge = time.perf_counter() - begin
                reply = self._wire.predict(mixtures)
                begin = time.perf_counter()
                rows = self.head.answers(key, reply.outputs)[: len(asked)]
            milliseconds = (edge + time.perf_counter() - begin) * 1e3 / len(asked)
            told = Reply(rows, reply.bytes_sent, reply.milliseconds)
            answers += self._answers([(one, milliseconds) for one in asked], told)
        return Answers(answers, skipped)

    def _filled(self, chips: np.ndarray) -> np.ndarray:
        """The chips and covers for the last group; from now on neither may be a cover again."""
        count = self.head.mixing.covers(len(chips))
        if self.covers is None:
            if not count:
                return chips
            raise ConfigError(
                f"{len(chips)} faces in groups of {self.head.group} need {count} covers, and this client has none; "
                "give covers=pool(FOLDER, head.input_size)."
            )
        return np.concatenate([chips, self.covers.take(count, chips)])
