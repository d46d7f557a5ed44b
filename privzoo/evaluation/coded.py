"""How good a code is at each budget: accuracy and calibration over seeded draws, and its share of the ceiling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privzoo.evaluation.ceiling import ceiling
from privzoo.mechanisms.randomized_response import RandomizedResponse

BINS = 15  # of confidence, equally wide
SEEDS = tuple(range(1, 11))


@dataclass(frozen=True)
class AtBudget:
    """Figures of one code at one budget, over seeded draws of all faces."""

    epsilon: float
    symbols: int
    accuracy: float  # mean over the draws
    lowest: float  # of the draws
    highest: float
    majority: float  # share of the largest class: what saying nothing reaches
    calibration_error: float  # expected, over `BINS`, of all draws together
    ceiling: float  # of any mechanism, on the network's labels
    faces: int
    seeds: tuple[int, ...]

    @property
    def share(self) -> float:
        """Accuracy as a share of the ceiling."""
        return self.accuracy / self.ceiling


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error of the answers (Guo et al. 2017): how far confidence lies from accuracy.

    Args:
        probabilities: (N, classes).
        labels: int (N,).

    Returns:
        Mean over the faces of |accuracy - confidence| of their bin, 0..1.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(labels))


def measure(
    tail: Callable[[np.ndarray, float], np.ndarray],
    k: int,
    symbols: np.ndarray,
    labels: np.ndarray,
    network: np.ndarray,
    budgets: Sequence[float],
    seeds: Sequence[int] = SEEDS,
) -> list[AtBudget]:
    """Measures a code.

    Args:
        tail: symbols int32 (N,) and a budget -> probabilities (N, classes).
        k: symbols of the code.
        symbols: true ones of the test faces, int (N,).
        labels: primary class, int (N,).
        network: the network's own labels, int (N,), whose confusion sets the ceiling.
        budgets: epsilons.
        seeds: of the draws; figures alone may be drawn from a generator that can be repeated.
    """
    found = []
    for epsilon in budgets:
        response = RandomizedResponse(k, epsilon)
        answers = np.asarray(tail(np.arange(k, dtype=np.int32), epsilon))  # one for each symbol is all there is
        drawn = [answers[response.send(symbols, np.random.default_rng(seed).bytes)] for seed in seeds]
        right = [float(np.mean(one.argmax(1) == labels)) for one in drawn]
        classes = answers.shape[1]
        table = np.zeros((classes, classes))
        np.add.at(table, (labels, network), 1)
        found.append(
            AtBudget(
                epsilon=float(epsilon),
                symbols=k,
                accuracy=float(np.mean(right)),
                lowest=min(right),
                highest=max(right),
                majority=float(table.sum(1).max() / table.sum()),
                calibration_error=calibration_error(np.concatenate(drawn), np.tile(labels, len(seeds))),
                ceiling=ceiling(table, epsilon),
                faces=len(labels),
                seeds=tuple(seeds),
            )
        )
    return found
