"""What a budget means, in words."""

from __future__ import annotations

from statistics import NormalDist

from privzoo.crowd import FACES, Crowd
from privzoo.mechanisms.bounds import bounds
from privzoo.mechanisms.budget import DELTA, rounded_up
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.randomized_response import RandomizedResponse

LITTLE = 0.9  # from this share of right guesses on, the text says that the budget guarantees little


def best_guess(sigma: float, clip: float) -> float:
    """How often the best distinguisher of two equally likely faces is right, given one noisy feature.

    Two features in a ball of radius C are at most 2 C apart. For two Gaussians at that distance the best test picks the
    nearer mean, which is right with probability Phi(C / sigma) (Dong, Roth, Su 2022: mu = 2 C / sigma).

    Args:
        sigma: standard deviation of the noise on each component.
        clip: radius C.

    Example:
        >>> round(best_guess(0.1, 0.3), 4)
        0.9987
    """
    return NormalDist().cdf(clip / sigma)


def words(sigma: float, clip: float, delta: float = DELTA, nouns: str = "faces") -> str:
    """One clause on a budget and its meaning, printed by cards, `privzoo list` and the demo.

    Args:
        sigma, clip: as for `best_guess`.
        delta: of the budget.
        nouns: what features are of.

    Example:
        >>> words(0.1, 0.3)[:60]
        'epsilon 42.9 at delta 1e-05: the best distinguisher of two f'
        >>> words(0.05, 0.3)[41:95]
        'distinguisher of two faces is right over 99.9% of the ti'
    """
    guess = best_guess(sigma, clip)
    budget = rounded_up(Gaussian(sigma, clip).epsilon(1, delta))
    often = f"{guess:.1%}" if guess < 0.9995 else "over 99.9%"  # 100.0% would be wrong
    said = f"epsilon {budget} at delta {delta:g}: the best distinguisher of two {nouns} is right {often} of the time"
    if guess < LITTLE:
        return said
    return f"{said}, so people are hidden by clipping and reduction here, not by the budget"


def words_of_code(symbols: int | None, epsilon: float, among: Crowd = FACES) -> str:
    """Like `words`, for a code's symbol sent by randomized response; empty before the code is fitted.

    Args:
        symbols: of the code; None before it is fitted.
        epsilon: of one answer.
        among: the people of whom one is identified.

    Example:
        >>> words_of_code(2, 3.0)
        'epsilon 3 at delta 0: from one answer no attacker identifies more than 1.91% of 100 equally likely people'
        >>> words_of_code(40, 8.0, Crowd(30, "speakers"))
        'epsilon 8 at delta 0, which does not bound how many of 30 equally likely speakers an attacker identifies'
    """
    if symbols is None:
        return ""
    top1 = bounds(RandomizedResponse(symbols, epsilon)).top1(among.people)
    budget = f"epsilon {rounded_up(epsilon)} at delta 0"
    likely = f"{among.people} equally likely {among.noun}"
    if top1 >= 1:
        return f"{budget}, which does not bound how many of {likely} an attacker identifies"
    return f"{budget}: from one answer no attacker identifies more than {top1:.2%} of {likely}"
