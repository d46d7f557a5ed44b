"""The codebook: from the few numbers of a reduced feature to one of k symbols, the same on every device.

The reduced space is divided into regions: a feature x lies in the one whose x @ kernel + bias is largest, and each
region has a symbol. This form covers all that the zoo needs: levels of a score (their lines' upper envelope), nearest
codewords (kernel 2 c, bias -|c|^2), and the regions of a linear classifier. Products are added one by one in float64,
in the order of the feature's numbers, so that a program in another language finds exactly the same symbol.

A symbol alone is no protection: `privzoo.mechanisms.randomized_response` is.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.randomized_response import MOST_SYMBOLS


@dataclass(frozen=True)
class Codebook:
    """Regions of the reduced space, and their symbols.

    Raises:
        ConfigError: sizes that do not match, or symbols that are not all of 0..k - 1.

    Example:
        >>> Codebook(((0.0, 1.0),), (0.0, 0.0), (0, 1)).encode(np.array([[-0.5], [2.0]])).tolist()
        [0, 1]
    """

    kernel: tuple[tuple[float, ...], ...]  # for each number of a feature, its weight in each region
    bias: tuple[float, ...]  # of each region
    symbols: tuple[int, ...]  # of each region

    def __post_init__(self) -> None:
        """Refuses an unusable book."""
        regions = len(self.bias)
        values = [*self.bias, *(value for row in self.kernel for value in row)]
        fits = self.kernel and len(self.symbols) == regions and all(len(row) == regions for row in self.kernel)
        if not (fits and all(isinstance(value, float) and math.isfinite(value) for value in values)):
            raise ConfigError(f"A codebook of {regions} regions has missing or unusable weights; fit it again.")
        whole = all(type(symbol) is int for symbol in self.symbols)
        if not (whole and 2 <= self.k <= MOST_SYMBOLS and set(self.symbols) == set(range(self.k))):
            raise ConfigError(f"A codebook's symbols are {self.symbols[:9]}; give all of 0 to k - 1, 2 to 256 of them.")

    @property
    def k(self) -> int:
        """Number of symbols."""
        return max(self.symbols) + 1

    @property
    def name(self) -> str:
        """Hash of all that it holds, 12 hex digits: permanent answers are this book's."""
        digest = hashlib.sha256(struct.pack(">II", len(self.kernel), len(self.bias)))
        for row in (*self.kernel, self.bias):
            digest.update(struct.pack(f">{len(row)}d", *row))
        digest.update(bytes(self.symbols))
        return digest.hexdigest()[:12]

    def encode(self, features: Any) -> np.ndarray:
        """Symbols of features; not to be sent without a randomized response.

        Args:
            features: numbers (N, d), finite.

        Returns:
            int64 (N,), each in 0..k - 1; of regions that are equally good, the first has it.

        Raises:
            FeatureError: features of another shape or type, NaN or infinity.
        """
        values = np.asarray(features)
        if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape[1] != len(self.kernel):
            raise FeatureError(
                f"The features are {values.dtype} of shape {values.shape}; this code takes numbers of shape "
                f"(N, {len(self.kernel)})."
            )
        if not np.isfinite(values).all():
            raise FeatureError("The features hold NaN or infinity, which have no symbol; give finite numbers.")
        # Beyond float32 no head gives anything; within it no product overflows to NaN.
        limit = float(np.finfo(np.float32).max)
        values = np.clip(values.astype(np.float64), -limit, limit)
        scores = np.tile(np.asarray(self.bias), (len(values), 1))
        for number, row in enumerate(self.kernel):
            scores += values[:, number, None] * np.asarray(row)
        return np.asarray(self.symbols)[scores.argmax(1)]

    def describe(self) -> dict[str, Any]:
        """Entry `codebook` of a manifest."""
        return {
            "name": self.name,
            "k": self.k,
            "kernel": [list(row) for row in self.kernel],
            "bias": list(self.bias),
            "symbols": list(self.symbols),
        }


def levels(direction: np.ndarray, offset: float, thresholds: np.ndarray) -> Codebook:
    """Codebook of a score's levels: symbol j where j of the thresholds are at most the score.

    Args:
        direction: (d,); a feature's score is feature @ direction + offset.
        offset: added to the score.
        thresholds: growing, k - 1 of them.
    """
    steps = np.arange(len(thresholds) + 1)
    bias = steps * float(offset) - np.concatenate([[0.0], np.cumsum(thresholds)])
    # A score that is exactly a threshold belongs to the level above, and argmax takes the first: so levels fall.
    order = steps[::-1]
    kernel = tuple(tuple(float(weight * step) for step in order) for weight in direction)
    return Codebook(kernel, tuple(float(value) for value in bias[order]), tuple(int(step) for step in order))


def from_manifest(entry: Any, source: str) -> Codebook:
    """Codebook of a manifest's entry `codebook`.

    Raises:
        ConfigError: an entry that is not a codebook, or not the one that it is named after.
    """
    try:
        book = Codebook(
            tuple(tuple(float(value) for value in row) for row in entry["kernel"]),
            tuple(float(value) for value in entry["bias"]),
            tuple(entry["symbols"]),
        )
        if (book.name, book.k) == (entry["name"], entry["k"]):
            return book
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"The head {source} has a codebook that this privzoo cannot read; export it again.")
