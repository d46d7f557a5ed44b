"""What attackers are scored on: drawn features, or of a code all that may arrive, with how likely each is.

An expectation over all answers has no luck of draws in it. Then no attacker's figure can exceed the mechanism's bound
(`privzoo.mechanisms.bounds`) unless the program is at fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from privzoo.evaluation.drawn import Coded, arrived
from privzoo.mechanisms.gaussian import Noise


@dataclass(frozen=True)
class Scored:
    """Rows that attackers judge, and what they say of N faces."""

    rows: np.ndarray  # (N, d), a row for each face; or (M, d), all that may arrive
    chances: np.ndarray | None = None  # (N, M): how likely each of the M is for each face

    def by_class(self, hits: Callable[[np.ndarray], np.ndarray], truth: np.ndarray) -> np.ndarray:
        """Expected hits of each face.

        Args:
            hits: a class for each row -> 0..1 for each row, where that class is the right one.
            truth: int (N,), the right class of each face.

        Returns:
            float64 (N,).
        """
        if self.chances is None:
            return hits(truth)
        classes, place = np.unique(truth, return_inverse=True)
        table = np.stack([hits(np.full(len(self.rows), own)) for own in classes])
        return np.einsum("nm,nm->n", self.chances, table[place])

    def errors(self, predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Expected absolute error of each face, float64 (N,).

        Args:
            predicted: a number for each row.
            wanted: the right number of each face (N,).
        """
        if self.chances is None:
            return np.abs(predicted - wanted)
        return np.einsum("nm,nm->n", self.chances, np.abs(predicted[None] - wanted[:, None]))


def scored(features: np.ndarray, noise: Noise | Coded | None, rng: np.random.Generator) -> Scored:
    """What arrives of scored faces.

    Args:
        features: before noise (N, ...).
        noise: with the number of queries in it; see `privzoo.evaluation.drawn.averaged`.
        rng: source where draws are needed.
    """
    if isinstance(noise, Coded) and (every := noise.outcomes()) is not None:
        return Scored(every[0], every[1][noise.book.encode(features)])
    return Scored(arrived(features, noise, rng))
