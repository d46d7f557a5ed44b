"""How good a code is at each budget: accuracy and calibration over seeded draws, and its share of the ceiling.

Gaussian noise on the same feature stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privzoo.evaluation import ceiling, drawn, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.gaussian import DELTA, Noise, budget_sigma
from privzoo.mechanisms.randomized_response import RandomizedResponse

BINS = 15  # of confidence, equally wide
SEEDS = tuple(range(1, 11))


@dataclass(frozen=True)
class AtBudget:
    """Figures of one code at one budget, over seeded draws of all faces."""

    epsilon: float
    symbols: int
    accuracy: float  # mean over the draws
    low: float  # 95% interval, over people and draws
    high: float
    lowest: float  # of the draws
    highest: float
    majority: float  # share of the largest class: what saying nothing reaches
    calibration_error: float  # expected, over `BINS`, of all draws together
    ceiling: float  # of any mechanism, on the network's labels
    share_of_ceiling: float  # that the accuracy is
    share_low: float  # 95% interval, over people and draws
    share_high: float
    faces: int
    people: int  # or faces, if identities are unknown
    method: str  # of the intervals, as `privzoo.evaluation.intervals` names it
    seeds: tuple[int, ...]

    def estimate(self) -> Estimate:
        """The accuracy with its interval."""
        return Estimate(self.accuracy, self.low, self.high, self.faces, self.people, self.method)

    def share(self) -> Estimate:
        """The share of the ceiling with its interval."""
        return Estimate(
            self.share_of_ceiling, self.share_low, self.share_high, self.faces, self.people, f"{self.method}, ratio"
        )


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
    people: np.ndarray | None = None,
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
        people: person of each face, (N,); None: all are different.
    """
    found = []
    for epsilon in budgets:
        response = RandomizedResponse(k, epsilon)
        answers = np.asarray(tail(np.arange(k, dtype=np.int32), epsilon))  # one for each symbol is all there is
        drawn = [answers[response.send(symbols, np.random.default_rng(seed).bytes)] for seed in seeds]
        hits = np.stack([one.argmax(1) for one in drawn]) == labels
        right = intervals.share(hits, people)
        classes = answers.shape[1]
        table = np.zeros((classes, classes))
        np.add.at(table, (labels, network), 1)
        best = ceiling.best(table, epsilon)
        # What the best mechanism can expect of each face: both are means over the same faces.
        share = intervals.ratio(hits, np.tile(best[network, labels], (len(hits), 1)), people)
        found.append(
            AtBudget(
                epsilon=float(epsilon),
                symbols=k,
                accuracy=right.value,
                low=right.low,
                high=right.high,
                lowest=float(hits.mean(1).min()),
                highest=float(hits.mean(1).max()),
                majority=float(table.sum(1).max() / table.sum()),
                calibration_error=calibration_error(np.concatenate(drawn), np.tile(labels, len(seeds))),
                ceiling=ceiling.reached(table, best),
                share_of_ceiling=share.value,
                share_low=share.low,
                share_high=share.high,
                faces=right.count,
                people=right.clusters,
                method=right.method,
                seeds=tuple(seeds),
            )
        )
    return found


@dataclass(frozen=True)
class Noisy:
    """Figures of Gaussian noise at one budget, over seeded draws of all faces."""

    epsilon: float
    delta: float
    accuracy: float  # mean over the draws
    low: float  # 95% interval, over people and draws
    high: float
    faces: int
    people: int  # or faces, if identities are unknown
    method: str  # of the interval
    seeds: tuple[int, ...]


def measure_noise(
    classify: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    labels: np.ndarray,
    clip: float,
    budgets: Sequence[float],
    seeds: Sequence[int] = SEEDS,
    people: np.ndarray | None = None,
) -> list[Noisy]:
    """Measures a feature with Gaussian noise of several budgets.

    Args:
        classify: features (N, ...) -> probabilities (N, classes).
        features: of the test faces, before noise.
        labels: primary class, int (N,).
        clip: radius that features are clipped to.
        budgets: epsilons, at `DELTA`.
        seeds: of the draws.
        people: person of each face, (N,); None: all are different.
    """
    found = []
    for epsilon in budgets:
        noise = Noise(budget_sigma(epsilon, DELTA, clip), clip)
        right = intervals.share(drawn.labels(classify, features, noise, seeds) == labels, people)
        ends = (right.value, right.low, right.high)
        found.append(Noisy(float(epsilon), DELTA, *ends, right.count, right.clusters, right.method, tuple(seeds)))
    return found
