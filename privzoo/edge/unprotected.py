"""What a head's file computes, before its noise: for audits and other measurements.

Nothing here may be sent. On a device, features come only from `privzoo.edge.Head`, which adds the noise and keeps the
budget.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from privzoo import checks
from privzoo.edge import runtime
from privzoo.edge.manifest import read_manifest
from privzoo.errors import FeatureError, ImageError, WeightsError

MOST_THREADS = 1024  # more than any device has cores


def as_chips(chips: Any, size: int) -> np.ndarray:
    """Converts face chips to the type that a head reads, or refuses them.

    Args:
        chips: uint8 or floating-point array (N, size, size, 3), RGB, values 0..255.
        size: side of the chips in pixels.

    Returns:
        uint8 or float32 array (N, size, size, 3).

    Raises:
        ImageError: another shape or type, a value that is not finite or lies outside 0..255, or values in 0..1.
    """
    try:
        array = np.asarray(chips)
    except (ValueError, TypeError, OverflowError):  # lists whose lengths differ
        raise ImageError(f"The chips are not an array; give one of shape (N, {size}, {size}, 3).") from None
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


class UnprotectedHead:
    """A head's file, open on LiteRT or tflite-runtime, without the noise that its manifest asks for.

    Args:
        path: the `.tflite` file.
        threads: CPU threads for one inference, 1 or more.

    Attributes:
        path: of the file.
        manifest: of the file; see `privzoo.edge.read_manifest`.
        input_size: side of the chips in pixels.
        feature_shape: shape of one feature.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or contradicts its manifest.
        ConfigError: the manifest asks for what this version cannot do, or `threads` is not a count.
        MissingExtraError: no TFLite interpreter is installed.

    Example:
        >>> UnprotectedHead("head.tflite").features(chips).shape  # doctest: +SKIP
        (1, 4)
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        threads = checks.count("threads", threads, least=1, most=MOST_THREADS, unit="CPU threads")
        self.path = str(checks.path("path", path))
        self.manifest: dict[str, Any] = read_manifest(self.path)
        self.input_size: int = self.manifest["input"]["size"]
        self.feature_shape: tuple[int, ...] = tuple(self.manifest["feature"]["shape"])
        self._interpreter = runtime.interpreter(self.path, threads)
        self._lock = threading.Lock()
        self._input = self._index(
            self._interpreter.get_input_details(), (1, self.input_size, self.input_size, 3), "input"
        )
        self._output = self._index(self._interpreter.get_output_details(), (1, *self.feature_shape), "output")

    def _index(self, details: list[dict[str, Any]], shape: tuple[int, ...], what: str) -> int:
        found = [(tuple(int(side) for side in tensor["shape"]), tensor["dtype"]) for tensor in details]
        if found != [(shape, np.float32)]:
            raise WeightsError(
                f"The head {self.path} has {what} {found}, but its manifest says float32 {shape}; export it again."
            )
        return details[0]["index"]

    def features(self, chips: Any) -> np.ndarray:
        """Runs the head chip by chip, and rounds if the manifest says so; threads take turns.

        Args:
            chips: uint8 or float array (N, input_size, input_size, 3), RGB, values 0..255.

        Returns:
            float32 array (N, *feature_shape), without noise: not to be sent.

        Raises:
            ImageError: chips of another shape, type or range.
            FeatureError: the head's output is not finite.
        """
        chips = as_chips(chips, self.input_size)
        features = np.empty((len(chips), *self.feature_shape), np.float32)
        with self._lock:
            for index in range(len(chips)):
                self._interpreter.set_tensor(self._input, chips[index : index + 1].astype(np.float32))
                self._interpreter.invoke()
                features[index] = self._interpreter.get_tensor(self._output)[0]
        if not np.isfinite(features).all():
            raise FeatureError(f"The head {self.path} gave non-finite values; export it again.")
        return np.rint(features) if self.manifest["feature"].get("rounded") else features
