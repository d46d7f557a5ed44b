"""A lower bound on a program's epsilon, from what it sends: it must not exceed the stated epsilon.

A proof covers the mechanism, not the program: it would miss a random source that repeats itself, a rounding error, or a
forgotten clip. So the program is run many times on two features as far apart as its mechanism allows. An
event that is more likely for one of them than the other, by a factor of more than e^epsilon beyond delta, refutes the
claim (Ding et al. 2018; Jagielski et al. 2020). The event is chosen on the first half of the draws, among all
thresholds on the log-likelihood ratio, which the Neyman-Pearson test compares; on the second half its two
probabilities are bounded by Clopper and Pearson's intervals, so that the bound holds with the stated confidence.
A bound below the stated epsilon proves nothing by itself; one just below it shows that the proof is nearly tight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from privzoo.evaluation import intervals
from privzoo.mechanisms.budget import DELTA
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.randomized_response import RandomizedResponse

DRAWS = 1_000_000  # of both features together
CONFIDENCE = 0.95
THRESHOLDS = 200  # that are tried on the first half
FEWEST = 20  # draws of the more likely feature in a candidate event


@dataclass(frozen=True)
class Found:
    """What draws show of a mechanism."""

    stated: float  # epsilon
    delta: float
    bound: float  # lower bound on epsilon at this delta, from the draws
    event: str  # that distinguishes the two features best
    draws: int  # of both features together
    confidence: float

    @property
    def kept(self) -> bool:
        """Whether the draws are consistent with the claim."""
        return self.bound <= self.stated


def measure(
    mechanism: Gaussian | RandomizedResponse, draws: int = DRAWS, dimensions: int = 1, delta: float = DELTA
) -> Found:
    """Runs a mechanism's own program, with the operating system's random source, as a device does.

    Args:
        mechanism: a code's randomized response, or Gaussian noise.
        draws: of both features together.
        dimensions: numbers in a feature with Gaussian noise.
        delta: at which epsilon is stated for Gaussian noise; that of a code is 0.
    """
    half = draws // 2
    if isinstance(mechanism, RandomizedResponse):
        # The likelihood ratio has three values: the one's symbol, the other's, any else.
        sides = [mechanism.send(np.full(half, true)) for true in (0, 1)]
        one, other = ((sent == 0).astype(int) - (sent == 1) for sent in sides)
        return _found(one, other, mechanism.budget, 0.0)
    features = np.zeros((2, half, dimensions))
    features[0, :, 0], features[1, :, 0] = mechanism.clip, -mechanism.clip
    # Noise is the same in all directions, so only the direction between the two features distinguishes them.
    one, other = (mechanism.send(rows)[:, 0] for rows in features)
    return _found(one, other, mechanism.epsilon(1, delta), delta)


def _found(first: np.ndarray, second: np.ndarray, stated: float, delta: float) -> Found:
    bound, event = lower_bound(first, second, delta)
    return Found(stated, delta, bound, event, len(first) + len(second), CONFIDENCE)


def lower_bound(
    first: np.ndarray, second: np.ndarray, delta: float = 0.0, confidence: float = CONFIDENCE
) -> tuple[float, str]:
    """Lower bound on epsilon from scores of the draws of two features.

    Args:
        first: scores (N,) of the first, high where it is more likely.
        second: scores (N,) of the second, low where it is more likely.
        delta: at which epsilon is bounded.
        confidence: that the bound holds.

    Returns:
        The bound, 0 if the draws show nothing, and the event in words.
    """
    best: tuple[float, str] = (0.0, "none")
    # Either feature may be the more likely one; both are tried, so that half of the error is left for each.
    error = (1 - confidence) / 2
    for one, other, name in ((first, second, "above"), (-second, -first, "below")):
        (choosing, judging), (others, others_judging) = (np.array_split(side, 2) for side in (one, other))
        threshold = _threshold(choosing, others, delta, error)
        if threshold is None:
            continue
        likely, rare = (int(np.count_nonzero(side >= threshold)) for side in (judging, others_judging))
        bound = _epsilon(likely, len(judging), rare, len(others_judging), delta, error)
        if bound > best[0]:
            shown = threshold if name == "above" else -threshold
            best = bound, f"score {name} {shown:.4g}: {likely:,} of {len(judging):,} against {rare:,}"
    return best


def _threshold(one: np.ndarray, other: np.ndarray, delta: float, error: float) -> float | None:
    """The score above which the first feature is more likely by the largest factor that these draws can show."""
    ranked = np.sort(one)
    most = len(ranked) - FEWEST
    if most < 0:
        return None
    places = np.unique(np.linspace(0, most, THRESHOLDS).astype(int))
    # Far out the factor grows and the draws get few: thresholds are tried evenly there too.
    places = np.union1d(places, most - np.unique(np.geomspace(1, most + 1, THRESHOLDS).astype(int)) + 1)
    others = np.sort(other)
    best, found = 0.0, None
    for threshold in np.unique(ranked[places]):
        likely = len(ranked) - np.searchsorted(ranked, threshold)
        rare = len(others) - np.searchsorted(others, threshold)
        bound = _epsilon(int(likely), len(ranked), int(rare), len(others), delta, error)
        if bound > best:
            best, found = bound, float(threshold)
    return found


def _epsilon(likely: int, of: int, rare: int, of_others: int, delta: float, error: float) -> float:
    """The epsilon that two counts prove: each interval may be wrong with half of the error."""
    least = intervals.clopper_pearson(likely, of, error / 2)[0] - delta
    most = intervals.clopper_pearson(rare, of_others, error / 2)[1]
    return max(0.0, math.log(least / most)) if least > 0 else 0.0
