"""What a budget means, in words that a reader can weigh."""

from __future__ import annotations

import math
from statistics import NormalDist

DELTA = 1e-5
LITTLE = 0.9  # from this share of right guesses on, a budget is said to promise little


def best_guess(sigma: float, clip: float) -> float:
    """How often the best distinguisher of two faces is right, both equally likely, who sees one noisy feature.

    Two features in a ball of radius C are at most 2 C apart. Of two Gaussians at that distance no test tells better
    than by the nearer mean, which is right with probability Phi(C / sigma) (Dong, Roth, Su 2022: mu = 2 C / sigma).

    Args:
        sigma: deviation of the noise on each component.
        clip: radius C.

    Example:
        >>> round(best_guess(0.1, 0.3), 4)
        0.9987
    """
    return NormalDist().cdf(clip / sigma)


def epsilon(sigma: float, clip: float, delta: float = DELTA) -> float:
    """Budget of one feature: the exact epsilon of the Gaussian mechanism (Balle and Wang 2018, theorem 8).

    Args:
        sigma, clip: as in `best_guess`.
        delta: between 0 and 1.

    Example:
        >>> round(epsilon(0.1, 0.3), 1)
        42.8
    """
    mu = 2 * clip / sigma

    def phi(x: float) -> float:
        """The normal distribution function; exact in the lower tail, where one plus an error function is not."""
        return math.erfc(-x / math.sqrt(2)) / 2

    def spent(budget: float) -> float:
        """The least delta at a budget."""
        tail = phi(-mu / 2 - budget / mu)
        # By way of the logarithm: the exponential alone would overflow beyond 709.
        return phi(mu / 2 - budget / mu) - (math.exp(budget + math.log(tail)) if tail else 0.0)

    low, high = 0.0, 1.0
    while spent(high) > delta:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


def words(sigma: float, clip: float, delta: float = DELTA) -> str:
    """One clause on a budget and its meaning, as cards, `privzoo list` and the demo print it.

    Example:
        >>> words(0.1, 0.3)[:60]
        'epsilon 42.8 at delta 1e-05: the best distinguisher of two f'
    """
    guess = best_guess(sigma, clip)
    said = (
        f"epsilon {epsilon(sigma, clip, delta):.1f} at delta {delta:g}: the best distinguisher of two faces "
        f"is right {guess:.1%} of the time"
    )
    if guess < LITTLE:
        return said
    return f"{said}, so that what hides people here is clipping and reduction, not the budget"
