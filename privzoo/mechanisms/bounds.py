"""What no attacker can exceed, whatever they know or compute: bounds that follow from a mechanism alone.

Nothing here is estimated: every figure is a closed form or a finite sum, and holds for the worst case over faces.
The queries' photographs may all differ; each has its own draw. With permanent answers the queries are about one
photograph, and reveal what one query reveals.

- *Leakage*: maximal leakage is log2 L with L = sum over outputs of the largest likelihood (Issa, Wagner and Kamath
  2020). A guess among n equally likely people is right with probability at most L / n. Over independent draws the L
  multiply. Randomized response: L = k p. Gaussian noise on a ball of radius C in d dimensions: the integral of the
  largest density is that of the normal density at the distance to the ball, which Steiner's formula solves:
  L = sum over j of binomial(d, j) kappa_d / kappa_(d-j) (C / (sigma sqrt(2 pi)))^j, kappa_i the i-ball's volume.
- *True-accept rate*: to verify a person is to test whether a feature is theirs or someone else's. Of all pairs of
  distributions that a mechanism can have, n draws from the extreme pair are the easiest to distinguish, and the
  Neyman-Pearson test is the best: for randomized response a threshold on (answers for one symbol) - (answers for the
  other), with a random decision at the threshold; for Gaussian noise Phi(Phi^-1(FAR) + mu), mu = 2 C sqrt(n) / sigma.
  Mixtures over faces do no better, because this trade-off is concave.
- *Information*: mutual information between a face and what is sent is at most the channel's capacity, which adds up:
  log2 k - H(p, q, ..., q) for randomized response; for Gaussian noise d / 2 log2(1 + C^2 / (d sigma^2)), the capacity
  at mean square C^2, which a ball of that radius respects. It never exceeds the leakage either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from privzoo.crowd import FACES, Crowd
from privzoo.errors import ConfigError
from privzoo.mechanisms.budget import DELTA, Cost, rounded_up
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.randomized_response import RandomizedResponse

QUERIES = (1, 10, 100)
PEOPLE = FACES.people
FALSE_ACCEPTS = (1e-2, 1e-3)
NONE = "no bound"


@dataclass(frozen=True)
class Bounds:
    """Limits on any attacker; infinite, or a share of 1, if there is none."""

    queries: int  # of one person
    permanent: bool  # answers are repeated, and the queries are of one photograph
    epsilon: float
    delta: float
    leakage: float  # maximal leakage in bits
    information: float  # mutual information in bits
    true_accepts: tuple[tuple[float, float], ...]  # (false-accept rate, highest true-accept rate)

    def top1(self, people: int = PEOPLE) -> float:
        """Highest share of right guesses among so many equally likely people."""
        return 1.0 if self.leakage >= math.log2(people) else 2**self.leakage / people

    def rows(self, among: Crowd = FACES) -> list[tuple[str, str]]:
        """Names and values as people read them; what is not bounded says so.

        Args:
            among: the people of whom one is identified.
        """
        budget = NONE if math.isinf(self.epsilon) else f"{rounded_up(self.epsilon, 4)} at delta {self.delta:g}"

        def share(value: float) -> str:
            return f"{value:.2%}" if value < 1 else NONE

        def bits(value: float) -> str:
            return NONE if math.isinf(value) else f"{value:.4g} bits"

        return [
            ("epsilon", budget),
            ("maximal leakage", bits(self.leakage)),
            (f"top-1 of {among}", share(self.top1(among.people))),
            *((f"true accepts at {far:g} false ones", share(tar)) for far, tar in self.true_accepts),
            ("mutual information", bits(self.information)),
        ]


def bounds(
    mechanism: Gaussian | RandomizedResponse | None,
    queries: int = 1,
    *,
    dimensions: int = 1,
    permanent: bool = False,
    delta: float = DELTA,
) -> Bounds:
    """Bounds of several queries about one person.

    Args:
        mechanism: what protects each feature; None: nothing, so that there is no bound.
        queries: how many, 1 or more.
        dimensions: numbers in a feature with Gaussian noise.
        permanent: the answers are those of `privzoo.mechanisms.permanent`, to one photograph.
        delta: of the total for Gaussian noise; for randomized response it is 0.

    Raises:
        ConfigError: invalid numbers, or permanent answers of Gaussian noise.

    Example:
        >>> round(bounds(RandomizedResponse(2, 3.0)).top1(), 4)
        0.0191
    """
    if type(queries) is not int or queries < 1 or type(dimensions) is not int or dimensions < 1:
        raise ConfigError(f"queries={queries!r}, dimensions={dimensions!r} are invalid; give whole numbers, 1 or more.")
    if permanent and not isinstance(mechanism, RandomizedResponse):
        raise ConfigError("Only codes have permanent answers; drop permanent, or give a randomized response.")
    if mechanism is None:
        accepts = tuple((far, 1.0) for far in FALSE_ACCEPTS)
        return Bounds(queries, False, math.inf, 0.0, math.inf, math.inf, accepts)
    draws = 1 if permanent else queries
    if isinstance(mechanism, RandomizedResponse):
        same = float(mechanism.probability_same)
        other = (1 - same) / (mechanism.k - 1)
        leakage = math.log2(mechanism.k * same)
        # Of a nearly even coin the difference of the two terms is rounding.
        entropy = -same * math.log2(same) - (1 - same) * math.log2(other)
        information = min(leakage, max(0.0, math.log2(mechanism.k) - entropy) + 1e-12)
        accepts = tuple((far, accepted(mechanism, draws, far)) for far in FALSE_ACCEPTS)
        cost, delta = mechanism.cost, 0.0
        epsilon = (cost * draws).pure
    elif isinstance(mechanism, Gaussian):
        ratio = mechanism.clip / mechanism.sigma
        leakage = gaussian_bits(ratio, dimensions)
        information = min(leakage, dimensions / 2 * math.log2(1 + ratio * ratio / dimensions))
        mu = 2 * ratio * math.sqrt(draws)
        normal = NormalDist()
        accepts = tuple((far, normal.cdf(normal.inv_cdf(far) + mu)) for far in FALSE_ACCEPTS)
        epsilon = Cost(mu_squared=mu * mu).epsilon(delta)
    else:
        raise ConfigError(f"{mechanism!r} is not a mechanism whose bounds are known; add them to privzoo.mechanisms.")
    return Bounds(queries, permanent, epsilon, delta, leakage * draws, information * draws, accepts)


def gaussian_bits(ratio: float, dimensions: int) -> float:
    """Maximal leakage log2 L of Gaussian noise on a ball, of any number of dimensions (module docstring).

    Args:
        ratio: radius of the ball over the noise's deviation.
        dimensions: of the ball.
    """

    def ball(d: int) -> float:  # logarithm of the volume of the unit ball
        return d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)

    d, step = dimensions, math.log(ratio / math.sqrt(2 * math.pi))
    # The sum's terms, as logarithms: with thousands of dimensions neither the binomials nor the sum fit into a float.
    whole = math.lgamma(d + 1) + ball(d)
    terms = [
        whole - math.lgamma(j + 1) - math.lgamma(d - j + 1) - ball(d - j) + j * step if j else 0.0 for j in range(d + 1)
    ]
    largest = max(terms)
    return (largest + math.log(math.fsum(math.exp(term - largest) for term in terms))) / math.log(2)


def accepted(response: RandomizedResponse, draws: int, false_accepts: float) -> float:
    """Highest true-accept rate of any test between two faces, from several draws for each.

    Args:
        response: the mechanism.
        draws: independent answers about the one face, or the other.
        false_accepts: rate that is allowed, 0..1.
    """
    same = float(response.probability_same)
    other = (1 - same) / (response.k - 1)
    # One answer adds 1 if it is the first face's symbol, -1 if it is the second's, 0 otherwise.
    step = np.array([other, 1 - same - other if response.k > 2 else 0.0, same])
    genuine = np.ones(1)
    for _ in range(draws):
        genuine = np.convolve(genuine, step)
    genuine = genuine[::-1]  # strongest evidence first
    impostor = genuine[::-1]
    allowed, found = false_accepts, 0.0
    for true, false in zip(genuine, impostor, strict=True):
        if false > allowed:
            return min(1.0, found + true * allowed / false)
        allowed, found = allowed - false, found + true
    return min(1.0, found)
