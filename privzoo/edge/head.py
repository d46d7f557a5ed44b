"""The head on the device: face chips in, features out (Osia et al. 2017, section II: the client's side)."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter
from typing import Any

import numpy as np

from privzoo import faces
from privzoo.edge import runtime
from privzoo.edge.manifest import read_manifest
from privzoo.errors import ConfigError, FeatureError, ImageError, WeightsError
from privzoo.mechanisms import gaussian as noise


def as_chips(chips: Any, size: int) -> np.ndarray:
    """Brings face chips to the type that a head reads, or refuses them.

    Args:
        chips: uint8 or floating-point array (N, size, size, 3), RGB, values 0..255.
        size: side of the chips in pixels.

    Returns:
        uint8 or float32 array (N, size, size, 3).

    Raises:
        ImageError: another shape or type, a value that is not finite or lies outside 0..255, or values in 0..1.
    """
    array = np.asarray(chips)
    if array.ndim != 4 or array.shape[1:] != (size, size, 3):
        raise ImageError(
            f"The chips have shape {array.shape}; give (N, {size}, {size}, 3), as Head.prepare makes them from images."
        )
    if array.dtype == np.uint8 or array.size == 0:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"The chips are of type {array.dtype}; give uint8, or float with values 0 to 255.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):  # written so that NaN is refused too
        raise ImageError(f"The chips have values from {low:g} to {high:g}; give finite values from 0 to 255.")
    if 0 < high <= 1:
        raise ImageError("The chips have values from 0 to 1; a head takes 0 to 255: multiply them by 255.")
    return array.astype(np.float32, copy=False)


class Head:
    """A head that privzoo exported, open on LiteRT or tflite-runtime.

    Args:
        path: the `.tflite` file.
        threads: CPU threads for one inference, 1 or more.
        epsilon: local-differential-privacy budget of one feature, from which the noise is set; None: the noise that the
            head's manifest asks for. Only for heads with noise; `privzoo.mechanisms.gaussian` states the guarantee.
        delta: of the same budget.

    Attributes:
        manifest: what the file says of itself; see `privzoo.edge.read_manifest`.
        input_size: side of the chips in pixels.
        feature_shape: shape of one feature.
        classes: names of the classes that the tail tells apart.
        noise: what every feature gets before it is given out, or None.
        queries: features given out so far.

    Raises:
        WeightsError: the file is missing, cut short, damaged, or contradicts its manifest.
        ConfigError: the manifest asks for what this version cannot do, `threads` is no count, or the budget cannot be
            or belongs to a head without noise.
        MissingExtraError: no TFLite interpreter is installed, or the budget needs dp-accounting.

    Example:
        >>> head = Head("head.tflite")  # doctest: +SKIP
        >>> head.features(head.prepare("photograph.jpg")[0]).shape  # doctest: +SKIP
        (1, 6, 6, 512)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        epsilon: float | None = None,
        delta: float = noise.DELTA,
    ) -> None:
        if type(threads) is not int or threads < 1:
            raise ConfigError(f"threads={threads!r} cannot be; give a whole number of CPU threads, 1 or more.")
        self.path = os.fspath(path)
        self.manifest: dict[str, Any] = read_manifest(self.path)
        self.input_size: int = self.manifest["input"]["size"]
        self.feature_shape: tuple[int, ...] = tuple(self.manifest["feature"]["shape"])
        self.classes: tuple[str, ...] = tuple(self.manifest["classes"])
        self.noise = self._noise(epsilon, delta)
        self.queries = 0
        self._interpreter = runtime.interpreter(self.path, threads)
        self._lock = threading.Lock()
        self._input = self._index(
            self._interpreter.get_input_details(), (1, self.input_size, self.input_size, 3), "input"
        )
        self._output = self._index(self._interpreter.get_output_details(), (1, *self.feature_shape), "output")

    def _noise(self, epsilon: float | None, delta: float) -> noise.Noise | None:
        if self.manifest.get("noise") is None:
            if epsilon is not None:
                raise ConfigError(f"The head {self.path} adds no noise, so that no epsilon can be kept; use another.")
            return None
        stated, budgets = noise.from_manifest(self.manifest["noise"], self.path)
        if epsilon is None:
            return stated
        return noise.Noise(noise.budget_sigma(epsilon, delta, stated.clip, budgets), stated.clip)

    def _index(self, details: list[dict[str, Any]], shape: tuple[int, ...], what: str) -> int:
        found = [(tuple(int(side) for side in tensor["shape"]), tensor["dtype"]) for tensor in details]
        if found != [(shape, np.float32)]:
            raise WeightsError(
                f"The head {self.path} has {what} {found}, but its manifest says float32 {shape}; export it again."
            )
        return details[0]["index"]

    def __repr__(self) -> str:
        """Name and quantization of the model."""
        return f"Head({self.manifest['model']!r}, {self.manifest.get('quantization')})"

    def detect(self, image: Any) -> list[faces.Box]:
        """Finds the faces of one photograph, the largest first.

        Args:
            image: path, bytes of an image file, PIL image, or uint8 array.

        Returns:
            Squares of the chips in the photograph, in pixels; empty where no face is seen.

        Raises:
            ImageError: the image cannot be read.
            MissingExtraError: scikit-image is not installed.
        """
        return faces.detect(faces.decode(image))

    def prepare(
        self, images: Any, face: str = "detect", bulk: bool = False
    ) -> tuple[np.ndarray, list[faces.Face], Counter[str]]:
        """Cuts face chips of this head's size from photographs; see `privzoo.faces.chips`.

        Args:
            images: one or many paths, bytes, PIL images or uint8 arrays.
            face: "detect" finds the face, "given" takes each image as a chip already.
            bulk: skip and count what cannot be used, rather than raise.

        Returns:
            uint8 array (N, input_size, input_size, 3); where each chip came from; counts of skipped images.

        Raises:
            ImageError: an image cannot be read, or shows no face (never when `bulk`).
        """
        return faces.chips(images, self.input_size, face=face, bulk=bulk)

    def features(self, chips: Any) -> np.ndarray:
        """Runs the head, adds its noise and counts; a batch is run chip by chip, and threads take turns.

        Args:
            chips: uint8 or float array (N, input_size, input_size, 3), RGB, values 0..255.

        Returns:
            float32 array (N, *feature_shape).

        Raises:
            ImageError: chips of another shape, type or range.
            FeatureError: the head gave a value that is not finite.
        """
        chips = as_chips(chips, self.input_size)
        features = np.empty((len(chips), *self.feature_shape), np.float32)
        with self._lock:
            for index in range(len(chips)):
                self._interpreter.set_tensor(self._input, chips[index : index + 1].astype(np.float32))
                self._interpreter.invoke()
                features[index] = self._interpreter.get_tensor(self._output)[0]
            self.queries += len(chips)
        if not np.isfinite(features).all():
            raise FeatureError(f"The head {self.path} gave values that are not finite; export it again.")
        if self.manifest["feature"].get("rounded"):
            features = np.rint(features)
        return features if self.noise is None else noise.protect(features, self.noise)

    def spent_epsilon(self, delta: float = noise.DELTA) -> float:
        """Budget spent if all features given out so far were one person's; see `privzoo.mechanisms.gaussian`.

        Args:
            delta: of the total.

        Returns:
            epsilon; infinite once a head without noise has given out a feature.

        Raises:
            MissingExtraError: dp-accounting is not installed.
        """
        if self.noise is None:
            return math.inf if self.queries else 0.0
        return noise.spent_epsilon(self.noise, self.queries, delta)
