"""Randomized response: the device sends one of k symbols, not always the true one (Warner 1965; Kairouz 2016).

The guarantee. For any two faces in front of the camera, the probabilities of sending any symbol differ by at most the
factor e^epsilon: pure epsilon-local differential privacy (delta 0) of the whole face, whoever receives the symbol and
whatever else they know or compute.

The proof. The true symbol is sent with probability T / M, and each of the k - 1 others with O / M, where M is
2^32 (k - 1) and T + (k - 1) O = M; all are integers. So a symbol's likelihood under any face is T / M or O / M, and the
largest ratio is T / O. T is the largest number of its form with T / O <= e^epsilon, which is checked in integers
against a lower bound of e^epsilon (the partial sum of its series). Draws are exactly uniform: whole bytes, drawn again
if they would favour some values. So the bound holds for the program itself, not only for the real numbers that it
approximates. Nothing computed from the symbol afterwards can undo it.

What it does not cover. Budgets add up: n draws for one person cost n epsilon (`privzoo.mechanisms.ledger` keeps the
total, `privzoo.mechanisms.permanent` repeats answers instead of drawing fresh ones). The guarantee begins at the
symbol: it does not cover photographs on the device, when and from where a request comes, how long it takes, or that
there was one at all. It assumes that the operating system's random source is indistinguishable from a fair one.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import factorial
from numbers import Real
from typing import Any

import numpy as np

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.budget import DELTA, Cost

KIND = "randomized_response"
MOST_SYMBOLS = 256  # one byte on the wire
LEAST_EPSILON, MOST_EPSILON = 2.0**-16, 20.0  # within these, a 2^-32 is fine enough for both probabilities
UNIT = 1 << 32  # the probability of a lie is a multiple of 1 / UNIT
Source = Callable[[int], bytes]  # number of bytes -> so many random bytes, never the same twice


@functools.lru_cache(maxsize=256)
def exponential(epsilon: float) -> Fraction:
    """A bound of e^epsilon from below, off by less than one part in 2^64.

    Args:
        epsilon: 0 to `MOST_EPSILON`; taken as the exact fraction that the float is.
    """
    x, terms = Fraction(epsilon), 0
    # All terms are positive: any partial sum is below. The rest is less than twice its first term once terms > 2x.
    while terms < 2 * x + 2 or x**terms * (1 << 65) > factorial(terms):
        terms += 1
    return sum((x**n / factorial(n) for n in range(terms)), Fraction(0))


def check_symbols(symbols: Any, count: int) -> np.ndarray:
    """Symbols as int64 (N,), or a refusal.

    Args:
        symbols: whole numbers (N,).
        count: how many symbols there are; each is in 0..count - 1.

    Raises:
        FeatureError: no whole numbers, of another shape, or outside the range.
    """
    values = np.asarray(symbols)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise FeatureError(f"The symbols are {values.dtype} of shape {values.shape}; give whole numbers of shape (N,).")
    if values.size and not (int(values.min()) >= 0 and int(values.max()) < count):
        raise FeatureError(
            f"The symbols run from {values.min()} to {values.max()}; a code of {count} symbols has 0 to {count - 1}."
        )
    return values.astype(np.int64)


def uniform(bound: int, source: Source) -> int:
    """A number from 0 to bound - 1, exactly uniform.

    Args:
        bound: 1 or more.
        source: source of random bytes.

    Returns:
        The first big-endian number, of as few bytes as hold bound - 1, that is below the largest multiple of the bound,
        modulo the bound (`docs/codes.md`: the same in every language).
    """
    size = max(1, ((bound - 1).bit_length() + 7) // 8)
    limit = (1 << 8 * size) // bound * bound
    while (drawn := int.from_bytes(source(size), "big")) >= limit:
        pass
    return drawn % bound


@dataclass(frozen=True)
class RandomizedResponse:
    """Sends a symbol, or with a stated chance another one (module docstring: the guarantee and its proof).

    Args:
        k: number of symbols, 2 to 256.
        budget: epsilon that one draw may cost, from `LEAST_EPSILON` to `MOST_EPSILON`; what it does cost is a little
            less.

    Raises:
        ConfigError: an invalid number of symbols or budget.

    Example:
        >>> RandomizedResponse(k=2, budget=3.0).send(np.array([0, 1, 1])).shape
        (3,)
    """

    k: int
    budget: float
    _lie: int = field(init=False, repr=False, compare=False)  # O: chance of each other symbol, in 1 / (UNIT (k - 1))

    def __post_init__(self) -> None:
        """Rounds the probability of the truth down."""
        if type(self.k) is not int or not 2 <= self.k <= MOST_SYMBOLS:
            raise ConfigError(f"k={self.k!r} is invalid; give a whole number of symbols from 2 to {MOST_SYMBOLS}.")
        check_budget(self.budget)
        object.__setattr__(self, "budget", float(self.budget))
        # One of the k - 1 others has chance O / (UNIT (k - 1)), the truth (UNIT - O) / UNIT. Their ratio,
        # (k - 1) (UNIT - O) / O, is at most e where O >= (k - 1) UNIT / (e + k - 1).
        least = (self.k - 1) * UNIT / (exponential(self.budget) + self.k - 1)
        object.__setattr__(self, "_lie", -(-least.numerator // least.denominator))

    @property
    def probability_same(self) -> Fraction:
        """Chance that the true symbol is sent, exactly."""
        return Fraction(UNIT - self._lie, UNIT)

    def density(self, sent: int, true: int) -> Fraction:
        """Chance that a symbol is sent where another is true, exactly; over all that may be sent they add up to 1."""
        check_symbols([sent, true], self.k)
        return self.probability_same if sent == true else Fraction(self._lie, UNIT * (self.k - 1))

    @property
    def ratio(self) -> Fraction:
        """The largest likelihood ratio of two symbols, exactly; at most e^budget."""
        return self.probability_same / Fraction(self._lie, UNIT * (self.k - 1))

    @property
    def cost(self) -> Cost:
        """What one draw costs: pure epsilon, the budget itself, which the true cost never exceeds."""
        return Cost(pure=self.budget)

    def epsilon(self, queries: int = 1, delta: float = DELTA) -> float:
        """Budget of several draws for one person together; it holds at every delta, 0 among them.

        Raises:
            ConfigError: an invalid number of queries.
        """
        if queries < 0:
            raise ConfigError(f"{queries} is not a number of queries; give 0 or more.")
        return self.budget * queries

    def send(self, symbols: Any, source: Source = secrets.token_bytes) -> np.ndarray:
        """What may leave the device.

        Args:
            symbols: the true ones, whole numbers (N,), 0..k - 1.
            source: for tests and golden draws alone: bytes that can be repeated protect nobody. By default the
                operating system's, which processes and threads never share.

        Returns:
            uint8 (N,), a draw of its own for each.

        Raises:
            FeatureError: symbols of another code, or no symbols.
        """
        return np.array([self.draw(int(true), source) for true in check_symbols(symbols, self.k)], np.uint8)

    def answers(self, symbols: Any, source: Source = secrets.token_bytes) -> np.ndarray:
        """What may leave the device, with the budget that the tail has to know.

        Args:
            symbols, source: as for `send`.

        Returns:
            float32 (N, 2): the symbol that may be sent, and epsilon.
        """
        return self.with_budget(self.send(symbols, source))

    def with_budget(self, sent: np.ndarray) -> np.ndarray:
        """Symbols that may be sent (N,), as float32 (N, 2) with the epsilon that they were drawn under."""
        return np.stack([sent, np.full(len(sent), self.budget)], axis=1).astype(np.float32)

    def drawn(self) -> dict[str, Any]:
        """What an answer says of the draw that it comes from: kind, symbols, and the budget of one answer."""
        return {"kind": KIND, "k": self.k, "epsilon": self.budget, "delta": 0.0, "drawn": True}

    def draw(self, true: int, source: Source) -> int:
        """One symbol for a true one; `docs/codes.md` has the procedure byte by byte."""
        # Always two draws, so that neither the bytes taken nor the time show whether the truth was sent. What is left
        # is the chance of a drawing again, which does not depend on the symbol.
        lies, step = uniform(UNIT, source) < self._lie, 1 + uniform(self.k - 1, source)
        return (true + lies * step) % self.k

    def describe(self) -> dict[str, Any]:
        """Kind and parameters, for manifests and the ledger."""
        return {"kind": KIND, "k": self.k, "epsilon": self.budget}


def check_budget(epsilon: Any) -> None:
    """Refuses a budget that randomized response cannot keep.

    Raises:
        ConfigError: no number from `LEAST_EPSILON` to `MOST_EPSILON`.
    """
    number = isinstance(epsilon, Real) and not isinstance(epsilon, bool | np.bool_)
    if not (number and LEAST_EPSILON <= epsilon <= MOST_EPSILON):
        raise ConfigError(
            f"epsilon={epsilon!r} is not a budget for a code; give a number from {LEAST_EPSILON:g} to {MOST_EPSILON:g}."
        )
