"""What the cloud answers to noisy features, over seeded draws, so that the same command gives the same figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.gaussian import Noise, clip
from privzoo.mechanisms.randomized_response import RandomizedResponse

DRAWS = tuple(range(1, 21))  # seeds of a noisy model's published accuracy


def arrived(features: np.ndarray, noise: Noise | None, rng: np.random.Generator) -> np.ndarray:
    """What the cloud gets of features: clipped and with fresh noise, if any.

    Drawn by numpy rather than by the device's secure source: the same density, a hundred times as fast, repeatable,
    and no secret.

    Args:
        features: before noise (N, ...).
        noise: deviation and radius; None: the features as they are.
        rng: source.

    Returns:
        float32 (N, ...) with noise, else the features.
    """
    if noise is None:
        return features
    return (clip(features, noise.clip) + rng.normal(0, noise.sigma, np.shape(features))).astype(np.float32)


def labels(
    classify: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    noise: Noise | RandomizedResponse | None,
    seeds: Sequence[int],
    book: Codebook | None = None,
) -> np.ndarray:
    """Predicted classes of noisy features, one row for each seed; without noise one row.

    Args:
        classify: features (N, ...) -> probabilities (N, classes), as `SplitModel.classify`.
        features: before noise.
        noise: as in `arrived`, or the randomized response of a coded model.
        seeds: of the draws.
        book: of a coded model.

    Returns:
        int (draws, N).
    """
    if book is not None:
        k, symbols = noise.k, book.encode(features)
        # One answer for each symbol is all that there is to the tail.
        predicted = classify(np.stack([np.arange(k), np.full(k, noise.budget)], axis=1).astype(np.float32)).argmax(
            axis=1
        )
        return np.stack([predicted[noise.send(symbols, np.random.default_rng(seed).bytes)] for seed in seeds])
    draws = [np.random.default_rng(seed) for seed in (seeds if noise else seeds[:1])]
    return np.stack([classify(np.float32(arrived(features, noise, rng))).argmax(axis=1) for rng in draws])
