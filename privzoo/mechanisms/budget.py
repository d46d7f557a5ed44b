"""How the budgets of what a device sends add up: the arithmetic of the ledger, in pure Python.

The units. Whatever a mechanism sends has two costs, both of which add up over everything that is sent about a person:

- `mu_squared`, for Gaussian noise. A feature of sensitivity D with noise of standard deviation sigma is mu-Gaussian
  differentially private with mu = D / sigma: distinguishing two faces is as hard as distinguishing N(0, 1) from
  N(mu, 1). Several features together are as hard to distinguish as two Gaussian vectors whose means differ by
  (mu_1, ..., mu_n). Rotate them so that this difference lies along one axis; then only that axis carries information,
  and mu is exactly the root of the sum of the squares (Dong, Roth and Su 2019, Corollary 3.3). As mu^2 = D^2 / sigma^2,
  Gaussian features add up in 1 / sigma^2.
- `pure`, for mechanisms of pure epsilon (delta 0), such as randomized response. The likelihood ratio of everything sent
  is the product of the individual ratios, each within e^epsilon_i: the epsilons add up.

Gaussian and pure together. Let P and Q be the distributions of what is sent for two faces, S a set of outcomes, and G
the Gaussian part. Given G, the pure part changes a probability by at most e^pure, so that
P(S) <= E_P[f(G)] with f(G) = min(1, e^pure Q(S | G)). G is (epsilon, delta)-private, and f lies in 0..1, so that
E_P[f(G)] <= e^epsilon E_Q[f(G)] + delta <= e^(epsilon + pure) Q(S) + delta. The two epsilons add, at the delta of the
Gaussian part (basic composition).

What may be chosen adaptively. Within one kind, whether to ask again, and with how much noise, may depend on everything
sent before: only the sum is bounded (for Gaussian noise: Smith and Thakurta 2022). With both kinds, which kind comes
next must not depend on earlier noisy features; when to stop may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, Protocol

import numpy as np

from privzoo import checks
from privzoo.errors import ConfigError

DELTA = 1e-5  # the usual one: a chance of one in a hundred thousand that epsilon is exceeded

_ROUNDING = 1e-9
_FAR = 26.0  # from here on the tail is computed from its series, since e^epsilon would overflow soon


@dataclass(frozen=True)
class Cost:
    """The privacy cost of sent features; costs add up (the module docstring says why)."""

    mu_squared: float = 0.0  # of Gaussian differential privacy: (sensitivity / sigma)^2, summed
    pure: float = 0.0  # epsilons of mechanisms with delta 0, summed

    def __add__(self, other: Cost) -> Cost:
        """Cost of both."""
        return Cost(self.mu_squared + other.mu_squared, self.pure + other.pure)

    def __mul__(self, queries: int) -> Cost:
        """Cost of so many, each with its own draw."""
        return Cost(self.mu_squared * queries, self.pure * queries)

    def epsilon(self, delta: float = DELTA) -> float:
        """The budget that this is.

        Args:
            delta: of the total; between 0 and 1.

        Returns:
            Smallest epsilon of (epsilon, delta)-differential privacy; 0 for no cost.
        """
        return gaussian_epsilon(math.sqrt(self.mu_squared), delta) + self.pure


class Mechanism(Protocol):
    """What protects a feature: one small object that sends it, and says what this costs."""

    @property
    def cost(self) -> Cost:
        """Of one feature."""

    def send(self, features: np.ndarray) -> np.ndarray:
        """What may leave the device, in place of features (N, ...)."""

    def describe(self) -> dict[str, Any]:
        """Its kind and parameters, as JSON holds them."""


def check_epsilon(epsilon: Any, delta: Any, prefix: str = "") -> tuple[float, float]:
    """Refuses an invalid budget.

    Args:
        epsilon: has to be a finite number above 0.
        delta: has to be a number between 0 and 1.
        prefix: of the arguments' names, such as "total_", for the message.

    Returns:
        The two as Python's floats.

    Raises:
        ConfigError: epsilon is not a finite number above 0, or delta is not between 0 and 1.
    """
    return (
        checks.number(f"{prefix}epsilon", epsilon, above=0),
        checks.number(f"{prefix}delta", delta, above=0, below=1),
    )


def check_delta(epsilon: Any, delta: Any, name: str, pure: bool | None) -> float:
    """Refuses a delta that nothing would be done with, rather than ignore it.

    Args:
        epsilon: given beside it; None: none was.
        delta: what was given; None: nothing.
        name: of the model or the head, for the sentence.
        pure: whether its mechanism keeps an epsilon at delta 0; None: it has no mechanism.

    Returns:
        The delta of the budget, `DELTA` where none was given.

    Raises:
        ConfigError: a delta for a code, for a model without noise, or without an epsilon.
    """
    if delta is None:
        return DELTA
    if pure:
        reason = f"not part of the budget of {name}, whose code keeps its epsilon at delta 0; leave it out"
    elif pure is None:
        reason = f"not used by {name}, which adds no noise; leave it out"
    elif epsilon is None:
        reason = "only half of a budget; give an epsilon with it, or leave it out"
    else:
        return delta
    raise ConfigError(f"delta={delta!r} is {reason}.")


def rounded_up(epsilon: float, digits: int = 3) -> str:
    """An epsilon in this many significant digits, for people: rounded up, so that it is never understated.

    Example:
        >>> rounded_up(42.8361), rounded_up(4.0)
        ('42.9', '4')
    """
    if not math.isfinite(epsilon):
        return f"{epsilon}"
    return f"{Context(prec=digits, rounding=ROUND_CEILING).create_decimal(Decimal(epsilon)).normalize():f}"


def within(epsilon: float, total: float) -> bool:
    """Whether a budget lies in a total, but for a billionth by which the arithmetic may be off."""
    return epsilon <= total * (1 + _ROUNDING)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of the Gaussian mechanism: Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).

    Balle and Wang 2018, Theorem 8. Where e^epsilon grows large, the second term is taken from the tail's series, cut
    after a negative term: too small by a part in 10^9 at most, so that delta errs upwards.

    Args:
        mu: sensitivity / sigma; 0 or more.
        epsilon: 0 or more.
    """
    if mu == 0:
        return 0.0
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    if far <= _FAR:
        second = math.exp(epsilon) * _above(far)
    else:
        # e^epsilon phi(far) = phi(near), since far^2 - near^2 = 2 epsilon.
        small = 1 / (far * far)
        series = 1 - small * (1 - small * (3 - 15 * small))
        second = math.exp(-near * near / 2) / math.sqrt(2 * math.pi) / far * series
    return max(0.0, _above(near) - second)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Smallest epsilon that the Gaussian mechanism keeps at a delta, rounded up.

    Args:
        mu: sensitivity / sigma; 0 or more.
        delta: between 0 and 1.
    """
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    # At this epsilon the first term alone is Phi(-x) <= e^(-x^2/2) = delta.
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta))
    if math.isinf(high):
        return math.inf
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (low, middle) if gaussian_delta(mu, middle) <= delta else (middle, high)
    return high


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Largest mu = sensitivity / sigma with which the Gaussian mechanism keeps a budget, rounded down.

    Args:
        epsilon: above 0.
        delta: between 0 and 1.
    """
    low, high = 0.0, 1.0
    while gaussian_delta(high, epsilon) <= delta:
        low, high = high, 2 * high
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (middle, high) if gaussian_delta(middle, epsilon) <= delta else (low, middle)
    return low


def _above(x: float) -> float:
    """Probability that a standard normal lies above x, exact in the tail too."""
    return math.erfc(x / math.sqrt(2)) / 2
