"""What the cloud receives of features, and the answers, over seeded draws: the same command gives the same figure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.gaussian import Noise, clip
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.outputs import CLASS, Output, decided

DRAWS = tuple(range(1, 21))  # seeds of a noisy model's published accuracy
MOST_OUTCOMES = 2000  # of a code's answers, up to which all are looked at in place of draws


@dataclass(frozen=True)
class Coded:
    """What the cloud gets of a coded model, in place of a feature with noise: how often it got each symbol.

    Of several queries of one photograph the counts are all that tells anything, since the draws are independent and
    alike. They arrive as shares: k numbers that add up to 1.
    """

    book: Codebook
    response: RandomizedResponse
    queries: int = 1  # of one photograph
    permanent: bool = False  # answers are drawn once and repeated: all queries tell what one tells

    @property
    def draws(self) -> int:
        """Answers that are drawn afresh."""
        return 1 if self.permanent else self.queries

    def chances(self) -> np.ndarray:
        """Probability of sending each symbol (column) given the true one (row): float64 (k, k)."""
        every = range(self.response.k)
        return np.array([[float(self.response.density(sent, true)) for sent in every] for true in every])

    def sent(self, symbols: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shares of the symbols in the answers to photographs, float32 (N, k).

        Args:
            symbols: the true ones, int (N,).
            rng: source of the draws.
        """
        return (rng.multinomial(self.draws, self.chances()[symbols]) / self.draws).astype(np.float32)

    def outcomes(self) -> tuple[np.ndarray, np.ndarray] | None:
        """All that may arrive, and how likely each is: expectations need no draws.

        Returns:
            Shares float32 (M, k), and the chance of each under each true symbol, float64 (k, M); None where there are
            more than `MOST_OUTCOMES`.
        """
        k, draws = self.response.k, self.draws
        if math.comb(draws + k - 1, k - 1) > MOST_OUTCOMES:
            return None
        # Stars and bars: each way to distribute the draws over k symbols is a placement of k - 1 bars.
        bars = np.array(list(itertools.combinations(range(draws + k - 1), k - 1))).reshape(-1, k - 1)
        ends = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), draws + k - 1)], axis=1)
        counts = np.diff(ends, axis=1) - 1
        ways = [math.lgamma(draws + 1) - sum(math.lgamma(c + 1) for c in row) for row in counts.tolist()]
        chances = np.exp(np.array(ways) + np.log(self.chances()) @ counts.T)
        return (counts / draws).astype(np.float32), chances / chances.sum(axis=1, keepdims=True)


def averaged(noise: Noise | Coded | None, queries: int) -> Noise | Coded | None:
    """Noise of what several queries of one image tell: the mean of q Gaussians has deviation sigma / sqrt(q)."""
    if isinstance(noise, Coded):
        return replace(noise, queries=queries)
    return noise and replace(noise, sigma=noise.sigma / math.sqrt(queries))


def arrived(features: np.ndarray, noise: Noise | Coded | None, rng: np.random.Generator) -> np.ndarray:
    """What the cloud receives of features: clipped and with fresh noise, or as symbols, if there is a mechanism.

    Drawn by numpy rather than by the device's secure source: the same density, a hundred times as fast, repeatable,
    and no secret.

    Args:
        features: before noise (N, ...).
        noise: deviation and radius, or a code; None: the features as they are.
        rng: random source.

    Returns:
        float32 (N, ...) with noise, (N, k) for a code, otherwise the features.
    """
    if noise is None:
        return features
    if isinstance(noise, Coded):
        return noise.sent(noise.book.encode(features), rng)
    return (clip(features, noise.clip) + rng.normal(0, noise.sigma, np.shape(features))).astype(np.float32)


def undrawn(
    classify: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    noise: Noise | RandomizedResponse | None,
    book: Codebook | None = None,
    output: Output = CLASS,
) -> np.ndarray:
    """Predicted classes of what would be sent without chance: features that are clipped at most, or true symbols.

    Args:
        classify, features, noise, book, output: as for `labels`.

    Returns:
        int (1, N), of attributes (1, N, A).
    """
    if isinstance(noise, RandomizedResponse):
        assert book is not None, "a randomized response sends the symbols of a book"
        return _of_symbols(classify, noise)[book.encode(features)][None]
    return decided(classify(np.float32(features if noise is None else clip(features, noise.clip))), output)[None]


def _of_symbols(classify: Callable[[np.ndarray], np.ndarray], response: RandomizedResponse) -> np.ndarray:
    """The class of each symbol, int (k,): one answer for each is all that there is to the tail."""
    sent = np.stack([np.arange(response.k), np.full(response.k, response.budget)], axis=1)
    return classify(sent.astype(np.float32)).argmax(axis=1)


def labels(
    classify: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    noise: Noise | RandomizedResponse | None,
    seeds: Sequence[int],
    book: Codebook | None = None,
    output: Output = CLASS,
) -> np.ndarray:
    """Predicted classes of noisy features, one row for each seed; without noise one row.

    Args:
        classify: features (N, ...) -> probabilities (N, classes), as `SplitModel.classify`.
        features: before noise.
        noise: as in `arrived`, or the randomized response of a coded model.
        seeds: of the draws.
        book: of a coded model.
        output: what the probabilities are of.

    Returns:
        int (draws, N), of attributes (draws, N, A).
    """
    if isinstance(noise, RandomizedResponse):
        assert book is not None, "a randomized response sends the symbols of a book"
        symbols, predicted = book.encode(features), _of_symbols(classify, noise)
        return np.stack([predicted[noise.send(symbols, np.random.default_rng(seed).bytes)] for seed in seeds])
    draws = [np.random.default_rng(seed) for seed in (seeds if noise else seeds[:1])]
    return np.stack([decided(classify(np.float32(arrived(features, noise, rng))), output) for rng in draws])
