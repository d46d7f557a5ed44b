"""A loaded model: the head for the device, the tail for the cloud, and what can be done with them."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import faces, forks, inputs, outputs
from privzoo.card import Card
from privzoo.config import ModelConfig, check_uncoded
from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.gaussian import Noise, protect
from privzoo.mechanisms.permanent import Permanent, at
from privzoo.mechanisms.randomized_response import RandomizedResponse, check_symbols

if TYPE_CHECKING:
    import keras

BATCH = 64  # images per batch; limits the memory of large requests


@dataclass(frozen=True)
class Prediction:
    """The answer for one face or recording."""

    image: str  # its path, or its place among the arrays given
    face: dict[str, int] | None  # the chip's square in the image: x, y, size in pixels; None for a given chip or speech
    number: int  # which of the image's faces it is, from 1: the largest first, doubtful ones last
    faces: int  # how many faces were found in the image; 1 for a given chip
    score: float | None  # confidence of the detector, 0 to 1; None for a given chip
    rotation: float | None  # degrees by which the face is rotated clockwise in the image; None for a given chip
    label: str  # the most likely class; of attributes those above 0.5, joined by ", ", or "" (`outputs.label`)
    probabilities: dict[str, float]  # class or attribute -> probability; those of attributes are independent


class SplitModel:
    """A model of the zoo, cut in two; `privzoo.load` makes it.

    It cannot be changed once it is loaded: no assignment to an attribute switches off the noise, here or in what is
    exported. (This prevents mistakes, as in `privzoo.edge.Head`.)

    Args:
        card: the model's card.
        network: `image` or `spectrogram` -> probabilities, the whole network.
        head: `image`, float32 RGB 0..255 (N, S, S, 3), or `spectrogram`, -> `features`.
        tail: `features` -> probabilities (N, classes).
        noise: added to every feature before it leaves the device; None: nothing.
        book: for a coded model, whose `noise` is randomized response: maps the head's output to a symbol.
        permanent: for a coded model whose answers are drawn once for each slot and repeated; None: fresh draws.

    Example:
        >>> model = privzoo.load("vgg16_gender_simple_conv5_3")
        >>> model.predict("photo.jpg")
    """

    # No __dict__, and properties without setters: an assignment fails instead of replacing the protection.
    __slots__ = ("__book", "__card", "__head", "__network", "__noise", "__permanent", "__tail", "__weakref__")

    def __init__(
        self,
        card: Card,
        network: keras.Model,
        head: keras.Model,
        tail: keras.Model,
        noise: Noise | RandomizedResponse | None = None,
        book: Codebook | None = None,
        permanent: Permanent | None = None,
    ) -> None:
        if hasattr(self, "_SplitModel__card"):
            raise ConfigError(f"The model {self.name} is loaded and cannot be changed; load it again.")
        forks.remember()
        self.__noise, self.__book, self.__permanent = noise, book, permanent
        self.__network, self.__head, self.__tail = network, head, tail
        self.__card = card

    def __repr__(self) -> str:
        """Name, feature and classes."""
        return f"SplitModel({self.name!r}, feature={self.card.cost.feature_shape}, classes={self.classes})"

    @property
    def network(self) -> keras.Model:
        """`image` or `spectrogram` -> probabilities, the whole network."""
        forks.check()
        return self.__network

    @property
    def head(self) -> keras.Model:
        """`image`, float32 RGB 0..255 (N, S, S, 3), or `spectrogram`, -> `features`, before any noise or code."""
        forks.check()
        return self.__head

    @property
    def tail(self) -> keras.Model:
        """`features` -> probabilities (N, classes); for a coded model `symbol` and `epsilon` -> probabilities."""
        forks.check()
        return self.__tail

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.__card

    @property
    def noise(self) -> Noise | RandomizedResponse | None:
        """What every feature gets before it leaves the device; None: nothing. A copy, so that edits change nothing."""
        return copy.copy(self.__noise)

    @property
    def book(self) -> Codebook | None:
        """Of a coded model, what maps the head's output to a symbol; None of any other. A copy too."""
        return copy.copy(self.__book)

    @property
    def name(self) -> str:
        """Name in the zoo."""
        return self.card.model.name

    @property
    def config(self) -> ModelConfig:
        """The `ModelConfig`."""
        return self.card.model

    @property
    def code(self) -> tuple[Codebook, RandomizedResponse] | None:
        """A coded model's codebook and randomized response; None for any other model."""
        if self.book is None or not isinstance(self.noise, RandomizedResponse):
            return None
        return self.book, self.noise

    @property
    def gaussian(self) -> Noise | None:
        """The noise of a model that sends features; None without any.

        Raises:
            ConfigError: the model sends codes.
        """
        check_uncoded(self.config)
        assert not isinstance(self.noise, RandomizedResponse), "only codes are sent by randomized response"
        return self.noise

    @property
    def classes(self) -> tuple[str, ...]:
        """Primary classes, or attributes, in the order of the probabilities."""
        return self.card.network.classes

    @property
    def output(self) -> outputs.Output:
        """What it tells: "class", one of `classes`, or "attributes", each of which is present or not."""
        return self.card.network.output

    @property
    def input(self) -> inputs.Input:
        """What it takes: face chips, or clips of speech."""
        return inputs.of_size(self.card.network.input_size)

    @property
    def input_size(self) -> int:
        """Side of the head's input in pixels; raises ConfigError for a model that takes speech."""
        return inputs.side(self.input, self.name)

    def drawn(self, slot: str | None = None) -> dict[str, Any] | None:
        """What is drawn for each answer, and its budget; None if nothing is.

        Args:
            slot: as for `features`.

        Raises:
            ConfigError: as for `features`.
        """
        source = at(self.__permanent, slot) or self.noise
        return source.drawn() if source else None

    def features(self, chips: np.ndarray, rng: random.Random | None = None, slot: str | None = None) -> np.ndarray:
        """What leaves the device for chips or clips, with the model's noise, fresh at each call unless permanent.

        Args:
            chips: uint8 RGB (N, S, S, 3), or float32 0..255; of a model that takes speech clips, int16 (N, 16000).
            rng: a repeatable random source, for tests and measurements only.
            slot: in which permanent answers repeat, for a model that was loaded with them: a person, a day.

        Returns:
            float32 (N, *feature shape); for a coded model (N, 2), the symbol that may be sent and the epsilon that it
            was drawn under.

        Raises:
            FeatureError: the chips have another shape, or values that are not finite; AudioError for clips.
            ConfigError: a slot without permanent answers, or none with them.
        """
        permanent = at(self.__permanent, slot)
        if isinstance(kind := self.input, inputs.Speech):
            chips = kind.tensors(kind.check(chips))
        features = run(self.head, chips, kind.shape, "chips")
        if self.code is not None:
            book, response = self.code
            symbols = book.encode(features)
            if permanent is not None:
                return permanent.answers(symbols)
            return response.answers(symbols, rng.randbytes) if rng else response.answers(symbols)
        noise = self.gaussian
        return features if noise is None else protect(features, noise, rng)

    def classify(self, features: np.ndarray) -> np.ndarray:
        """The tail's output for features.

        Args:
            features: float32 (N, *feature shape).

        Returns:
            Probabilities, float32 (N, classes).

        Raises:
            FeatureError: the features have another shape, or values that are not finite.
        """
        if self.book is None:
            return run(self.tail, features, self.card.cost.feature_shape, "features")
        received = functools.partial(_received, self.book)
        return run(self.tail, features, self.card.cost.feature_shape, "features", received)

    def _answers(self, chips: np.ndarray, slot: str | None) -> np.ndarray:
        """Probabilities of face chips, by head and tail."""
        return self.classify(self.features(chips, slot=slot))

    def predict(
        self, images: Any, face: str = "detect", *, all_faces: bool = False, slot: str | None = None
    ) -> np.ndarray:
        """Class probabilities of images, by head and tail.

        Args:
            images: one or many paths, open files, PIL images or uint8 arrays (H, W, 3), or uint8 (N, H, W, 3); of a
                model that takes speech, recordings in any form that `privzoo.audio.decode` reads.
            face: "detect" finds the largest face of each; "given" means that each image is a face chip.
            all_faces: answer for every face in each image, including small ones, which takes ten times as long.
            slot: as for `features`.

        Returns:
            float32 (N, classes), in the order of `classes`; a row for each image. It adds up to 1, except that of
            attributes each probability stands alone. With `all_faces` a row for each face,
            grouped by image, the largest first; `explain` says which row belongs to which image.

        Raises:
            ImageError: an image cannot be read; FaceNotFoundError if it shows no face; AudioError for a recording that
                cannot be used. All name it. `explain` answers for the others.
            ForkError: this process was forked after models were loaded. All methods that compute raise this.
        """
        chips, _, _ = self.input.cut(images, face, all_faces=all_faces)
        return self._answers(chips, slot)

    def explain(
        self,
        images: Any,
        face: str = "detect",
        *,
        all_faces: bool = False,
        strict: bool = False,
        slot: str | None = None,
    ) -> faces.Answers[Prediction]:
        """Like `predict`, with labels and the place of each face: what `privzoo predict --json` prints.

        Images that cannot be used are skipped. All faces are cut out before the first feature is computed.

        Args:
            images: as for `predict`.
            face: as for `predict`.
            all_faces: answer for every face in each image, including small ones, which takes ten times as long.
            strict: raise at the first image that cannot be used.
            slot: as for `features`.

        Returns:
            A list with an answer for each image, or face, in their order; its `skipped` has the images without one.

        Raises:
            ImageError: none of the images can be used, or with `strict` one cannot; FaceNotFoundError if they show
                no face; AudioError for recordings.
        """
        at(self.__permanent, slot)  # before finding faces, which takes seconds
        chips, cut, skipped = self.input.cut(images, face, bulk=not strict, all_faces=all_faces)
        found: list[inputs.Found] = [*cut]
        inputs.require(found, skipped, self.input)
        answers = [
            Prediction(
                image=one.image,
                face={"x": one.box.x, "y": one.box.y, "size": one.box.size} if one.box and one.score else None,
                number=one.number,
                faces=one.found,
                score=one.score,
                rotation=one.rotation,
                label=outputs.label(row, self.classes, self.output),
                probabilities={name: float(p) for name, p in zip(self.classes, row, strict=True)},
            )
            for one, row in zip(found, self._answers(chips, slot), strict=True)
        ]
        return faces.Answers(answers, skipped)

    def export_head(self, path: str | Path, quantization: str = "int8", calibration: Any = None) -> Path:
        """Writes the head as one TFLite file with its manifest inside; see `privzoo.export.tflite.export_head`.

        Args:
            path: the file to write.
            quantization: "float32", "float16", "dynamic" or "int8"; input and output are float32 in all.
            calibration: face chips, uint8 (N, S, S, 3), or paths of photographs, for "int8"; by default chips
                that come with the package. Of a model that takes speech, clips or recordings.
        """
        from privzoo.export import tflite

        chips = calibration
        given = isinstance(calibration, np.ndarray) and calibration.ndim == (
            2 if isinstance(self.input, inputs.Speech) else 4
        )
        if calibration is not None and not given:
            chips, _, _ = self.input.cut(calibration)
        return tflite.export_head(self.head, path, quantization, self.manifest(), chips)

    def export_tail(self, directory: str | Path, version: int | None = None, overwrite: bool = False) -> Path:
        """Writes the tail as a SavedModel, `directory/<name>/<version>`, for TF Serving or `privzoo serve`.

        Args:
            directory: the folder of all served models.
            version: 1 or more; by default the model's own.
            overwrite: replace this version if it is there.
        """
        from privzoo.export import saved_model

        version = self.config.version if version is None else version
        return saved_model.export_tail(self.tail, directory, self.name, version, self.manifest(), overwrite=overwrite)

    def manifest(self) -> dict[str, Any]:
        """What head and tail carry when exported: names, shapes, and hashes that pair the two."""
        from privzoo.export import manifests

        if self.code is not None:
            book, response = self.code
            code = manifests.Code(book, response.budget)
            return manifests.build(self.card, self.head, self.tail, code=code)
        return manifests.build(self.card, self.head, self.tail, self.gaussian)


def _received(book: Codebook, features: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of a coded tail, from rows of symbol and epsilon."""
    symbols, epsilon = features.T
    if not (epsilon > 0).all():
        raise FeatureError("A feature of a coded model has an epsilon that is not above 0; send the head's own.")
    whole = np.rint(symbols)
    if not np.array_equal(whole, symbols):
        raise FeatureError("A feature of a coded model has a symbol that is not an integer; send the head's own.")
    return {"symbol": check_symbols(whole.astype(np.int64), book.k).astype(np.int32), "epsilon": epsilon}


def run(
    model: keras.Model,
    values: np.ndarray,
    shape: tuple[int, ...],
    what: str,
    inputs: Callable[[np.ndarray], Any] = lambda values: values,
) -> np.ndarray:
    """A model's output for an array, in batches of `BATCH`.

    Args:
        model: with one output.
        values: numbers (N, *shape).
        shape: of one of the inputs.
        what: sentences call them, such as "chips".
        inputs: makes what the model takes from a part of the array.

    Raises:
        FeatureError: another shape, or values that are not finite, also in the output.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.shape[1:] != shape:
        raise FeatureError(
            f"The {what} are {values.dtype} of shape {values.shape}; this model takes numbers of shape "
            f"(N, {', '.join(map(str, shape))})."
        )
    if not np.isfinite(values).all():
        raise FeatureError(f"The {what} hold NaN or infinity; give finite numbers.")
    parts = [
        np.asarray(model(inputs(values[i : i + BATCH].astype(np.float32)), training=False))
        for i in range(0, len(values), BATCH)
    ]
    answers = np.concatenate(parts) if parts else np.zeros((0, *model.output_shape[1:]), np.float32)
    if not np.isfinite(answers).all():
        raise FeatureError(f"The {what} give non-finite probabilities; give features of a plausible magnitude.")
    return answers
