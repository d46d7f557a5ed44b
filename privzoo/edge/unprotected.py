"""What a head's file computes, before its noise: for audits and other measurements.

Nothing here may be sent. On a device, features come only from `privzoo.edge.Head`, which adds the noise and keeps the
budget.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from privzoo import checks, inputs
from privzoo.edge import runtime
from privzoo.edge.manifest import read_manifest
from privzoo.errors import FeatureError, WeightsError

MOST_THREADS = 1024  # more than any device has cores


class UnprotectedHead:
    """A head's file, open on LiteRT or tflite-runtime, without the noise that its manifest asks for.

    Args:
        path: the `.tflite` file.
        threads: CPU threads for one inference, 1 or more.

    Attributes:
        path: of the file.
        manifest: of the file; see `privzoo.edge.read_manifest`.
        input: what it takes: face chips, or clips of speech.
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
        self.input: inputs.Faces | inputs.Speech = inputs.of_manifest(self.manifest["input"])
        self.feature_shape: tuple[int, ...] = tuple(self.manifest["feature"]["shape"])
        self._interpreter = runtime.interpreter(self.path, threads)
        self._lock = threading.Lock()
        self._input = self._index(self._interpreter.get_input_details(), (1, *self.input.shape), "input")
        self._output = self._index(self._interpreter.get_output_details(), (1, *self.feature_shape), "output")

    def _index(self, details: list[dict[str, Any]], shape: tuple[int, ...], what: str) -> int:
        found = [(tuple(int(side) for side in tensor["shape"]), tensor["dtype"]) for tensor in details]
        if found != [(shape, np.float32)]:
            raise WeightsError(
                f"The head {self.path} has {what} {found}, but its manifest says float32 {shape}; export it again."
            )
        return details[0]["index"]

    def features(self, chips: Any) -> np.ndarray:
        """Runs the head on one chip or clip after the other, and rounds if the manifest says so; threads take turns.

        Args:
            chips: uint8 or float array (N, S, S, 3), RGB, values 0..255; or clips of speech, int16 (N, 16000).

        Returns:
            float32 array (N, *feature_shape), without noise: not to be sent.

        Raises:
            InputError: chips or clips of another shape, type or range.
            FeatureError: the head's output is not finite.
        """
        chips = self.input.check(chips)
        features = np.empty((len(chips), *self.feature_shape), np.float32)
        with self._lock:
            for index in range(len(chips)):
                self._interpreter.set_tensor(self._input, self.input.tensors(chips[index : index + 1]))
                self._interpreter.invoke()
                features[index] = self._interpreter.get_tensor(self._output)[0]
        if not np.isfinite(features).all():
            raise FeatureError(f"The head {self.path} gave non-finite values; export it again.")
        return np.rint(features) if self.manifest["feature"].get("rounded") else features
