"""What a budget means, in words that a reader can weigh."""

from __future__ import annotations

from statistics import NormalDist

from privzoo.mechanisms.budget import DELTA
from privzoo.mechanisms.gaussian import Gaussian

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


def words(sigma: float, clip: float, delta: float = DELTA) -> str:
    """One clause on a budget and its meaning, as cards, `privzoo list` and the demo print it.

    Example:
        >>> words(0.1, 0.3)[:60]
        'epsilon 42.8 at delta 1e-05: the best distinguisher of two f'
    """
    guess = best_guess(sigma, clip)
    budget = Gaussian(sigma, clip).epsilon(1, delta)
    said = (
        f"epsilon {budget:.1f} at delta {delta:g}: the best distinguisher of two faces is right {guess:.1%} of the time"
    )
    if guess < LITTLE:
        return said
    return f"{said}, so that what hides people here is clipping and reduction, not the budget"
