"""Noise on the device: the Gaussian mechanism, one inference at a time (Osia et al. 2017, section III.C, and beyond).

The guarantee. A reduced feature is clipped to a ball of radius C and gets Gaussian noise. For any two faces in front of
the camera, the probabilities of what is sent differ by at most the factor e^epsilon, plus at most delta:
(epsilon, delta)-local differential privacy of the whole face, whoever receives it and whatever else they know or
compute. Any two faces count as neighbours, so the sensitivity is 2C, and sigma is that of the analytic Gaussian
mechanism (Balle and Wang 2018), computed by `privzoo.mechanisms.budget`.

What it does not cover. Budgets add up: n features of one person at sigma are one feature at sigma / sqrt(n), and a
feature that is sent again must be the same one, not a new draw; `privzoo.mechanisms.ledger` keeps the total. The
guarantee begins at the feature: it does not cover photographs on the device, the time that a request takes, the network
address that it comes from, or the cloud's answers.

Floating point. The guarantee is proved for real numbers. Casting the result to float is fine, since it happens after
the noise, but sums of floats are not real sums: near 0, where floats are dense, the feature determines which of them
can occur (Mironov 2012). So the sum is rounded to multiples of a step g, a power of two between sigma 2^-21 and
sigma 2^-20: far coarser than double-precision errors, and far finer than the noise. Let S = x + N be the real sum, and
let the computed sum be off by at most eta = 2^-50 (|S| + |N|), a few last bits of sum and draw. The output is then that
of exact arithmetic unless S lies within eta of the border between two multiples. Let B be any set of outputs, and B'
the sums that give one of B and lie at least eta within its borders: a sum in B' gives an output in B whatever the
error. Then P(out in B | x) <= P(S in B' | x) + tau <= e^epsilon P(S in B' | x') + delta + tau
<= e^epsilon P(out in B | x') + delta + tau, where tau is the chance of a sum within eta of any border: at most
2 E[eta] / g <= (C / sigma + 2) 2^-28 for each component. Epsilon is unchanged, and delta grows by tau: for ten
components and C = 5 sigma by less than 3e-7, a thirtieth of the usual 1e-5. With a float32 cast alone it would be of
the order of delta itself, since its borders are dense near 0. The cast that follows is exact up to 8 sigma, and beyond
that a function of the rounded value. Draws are assumed to be normal up to their last bits.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from privzoo import checks
from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.budget import DELTA, Cost, check_epsilon, gaussian_mu

EPSILONS = (1, 2, 4, 8, 16)  # budgets whose sigma is in every manifest, at DELTA
KIND = "gaussian"
GRID_BITS = 20  # by which what is sent is finer than the noise; see "Floating point"


@dataclass(frozen=True)
class Gaussian:
    """How a feature is protected before it leaves the device: it is clipped to a ball, then gets noise.

    Raises:
        ConfigError: a deviation or radius that is not a finite number above 0.

    Example:
        >>> Gaussian(sigma=0.5, clip=1.0).send(np.zeros((1, 4))).shape
        (1, 4)
    """

    sigma: float  # standard deviation on each component, in units of the scaled reduced feature
    clip: float  # radius of the ball to which the feature is clipped first, in the same units
    asked: tuple[float, float] | None = field(default=None, init=False, compare=False, repr=False)  # of `keeping`

    @classmethod
    def keeping(cls, epsilon: float, delta: float, clip: float) -> Gaussian:
        """The noise that keeps a budget for one feature, and says so in the very numbers that were asked for.

        Args:
            epsilon: above 0.
            delta: between 0 and 1.
            clip: radius of the ball to which features are clipped.

        Raises:
            ConfigError: as `budget_sigma`.
        """
        epsilon, delta = check_epsilon(epsilon, delta)
        sigma, more = budget_sigma(epsilon, delta, clip), 2.0**-52
        # Division rounds to the nearest, so that the budget of this very float may be larger by its last bits.
        while spent_epsilon(cls(sigma, clip), 1, delta) > epsilon:
            sigma, more = sigma * (1 + more), 2 * more
        found = cls(sigma, clip)
        object.__setattr__(found, "asked", (epsilon, delta))
        return found

    def __post_init__(self) -> None:
        """Refuses noise that would protect nothing."""
        for name in ("sigma", "clip"):
            object.__setattr__(self, name, checks.number(name, getattr(self, name), above=0))

    @property
    def cost(self) -> Cost:
        """What one feature costs: mu = sensitivity / sigma, squared."""
        mu = 2 * self.clip / self.sigma
        return Cost(mu_squared=mu * mu)

    def epsilon(self, queries: int = 1, delta: float = DELTA) -> float:
        """Budget of features of one person together; see `spent_epsilon`."""
        return spent_epsilon(self, queries, delta)

    def send(self, features: np.ndarray, rng: random.Random | None = None) -> np.ndarray:
        """What may leave the device; see `protect`."""
        return protect(features, self, rng)

    def describe(self) -> dict[str, Any]:
        """Kind and parameters, for manifests and the ledger."""
        return {"kind": KIND, "sigma": self.sigma, "clip": self.clip}

    def drawn(self) -> dict[str, Any]:
        """What an answer says of the noise that was drawn for it: kind, deviation, and the budget of one feature."""
        epsilon, delta = self.asked or (spent_epsilon(self, 1), DELTA)
        return {"kind": KIND, "sigma": self.sigma, "epsilon": epsilon, "delta": delta, "drawn": True}


Noise = Gaussian  # the name that most of the zoo knows it by


def clip(features: np.ndarray, radius: float) -> np.ndarray:
    """Shrinks the features that are longer than a radius to it.

    Args:
        features: finite float array (N, ...).
        radius: largest Euclidean norm of one feature.

    Returns:
        float64 array of the same shape.
    """
    rows = np.asarray(features, np.float64).reshape(len(features), math.prod(np.shape(features)[1:]))
    # Via the largest value: the squares of large values would overflow.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    largest[largest == 0] = 1
    with np.errstate(over="ignore", under="ignore"):
        norms = largest * np.sqrt(np.square(rows / largest).sum(axis=1, keepdims=True))
        return (rows * (radius / np.maximum(norms, radius))).reshape(np.shape(features))


def protect(features: np.ndarray, noise: Gaussian, rng: random.Random | None = None) -> np.ndarray:
    """Clips features and adds fresh noise: what may leave the device (module docstring: the guarantee).

    Args:
        features: array of numbers (N, ...), one reduced feature per face.
        noise: deviation and radius.
        rng: for tests and measurements only: a random source that can be repeated protects nobody. By default the
            operating system's cryptographically secure one.

    Returns:
        float32 array of the same shape.

    Raises:
        FeatureError: the features are not numbers, have no batch, or hold NaN or infinity.

    Example:
        >>> protect(np.zeros((1, 4)), Gaussian(sigma=0.5, clip=1.0)).shape
        (1, 4)
    """
    values = np.asarray(features)
    if values.dtype.kind not in "fiu" or values.ndim < 2:
        raise FeatureError(f"The features are {values.dtype} of shape {values.shape}; give numbers of shape (N, ...).")
    if not np.isfinite(values).all():
        raise FeatureError("The features hold NaN or infinity, which no noise can hide; give finite numbers.")
    source = rng or random.SystemRandom()
    # Not `gauss`: threads that share it may draw the same value twice.
    drawn = (source.normalvariate(0.0, noise.sigma) for _ in range(values.size))
    total = clip(values, noise.clip) + np.fromiter(drawn, np.float64, values.size).reshape(values.shape)
    step = grid(noise.sigma)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        rounded = np.rint(total / step) * step
    # From 2^53 steps on every float is a multiple already, and the quotient of the largest would overflow.
    return np.where(np.abs(total) < math.ldexp(step, 53), rounded, total).astype(np.float32)


def grid(sigma: float) -> float:
    """Step of which everything sent is a whole multiple: a power of two above sigma 2^-21, at most sigma 2^-20."""
    return math.ldexp(1.0, math.frexp(sigma)[1] - 1 - GRID_BITS)


def budget_sigma(epsilon: float, delta: float, radius: float) -> float:
    """Standard deviation that keeps a budget for one feature in a ball.

    Args:
        epsilon: above 0.
        delta: between 0 and 1.
        radius: of the ball to which features are clipped.

    Returns:
        Sigma of the analytic Gaussian mechanism with sensitivity 2 * radius.

    Raises:
        ConfigError: an invalid budget, or one for which no finite noise is enough.

    Example:
        >>> round(budget_sigma(4, 1e-5, 1.0), 3)
        2.162
    """
    epsilon, delta = check_epsilon(epsilon, delta)
    mu = gaussian_mu(epsilon, delta)
    if not (mu > 0 and 2 * radius / mu < math.inf):
        raise ConfigError(f"No finite noise keeps epsilon={epsilon}, delta={delta}; give a larger budget.")
    return 2 * radius / mu


def spent_epsilon(noise: Gaussian, queries: int, delta: float = DELTA) -> float:
    """Budget that several features of one person have spent together, each with its own draw of the noise.

    Args:
        noise: of each.
        queries: how many.
        delta: of the total.

    Returns:
        epsilon of (epsilon, delta)-differential privacy; 0 for no query.

    Raises:
        ConfigError: an invalid delta or number.
    """
    queries = checks.count("queries", queries, least=0)
    return (noise.cost * queries).epsilon(checks.number("delta", delta, above=0, below=1))


def to_manifest(noise: Gaussian) -> dict[str, Any]:
    """Entry `noise` of a manifest, with a table of budgets for devices that have no Python."""
    return {
        **noise.describe(),
        "delta": DELTA,
        "epsilon": spent_epsilon(noise, 1),
        "budgets": {str(epsilon): budget_sigma(epsilon, DELTA, noise.clip) for epsilon in EPSILONS},
    }


def from_manifest(entry: Any, source: str) -> Gaussian:
    """Noise of a manifest's entry `noise`.

    Raises:
        ConfigError: a kind of noise that this version does not draw, or invalid numbers.
    """
    try:
        if entry["kind"] == KIND:
            return Gaussian(float(entry["sigma"]), float(entry["clip"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    # Sending the feature without its noise would give away what the model promises to hide.
    raise ConfigError(f"The head {source} needs noise that this privzoo cannot draw: {entry!r}; update privzoo.")
