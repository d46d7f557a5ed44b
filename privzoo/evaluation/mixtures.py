"""Answers by way of mixtures over seeded draws: groups, coefficients and order, as a device draws them for requests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from privzoo.mechanisms import mixing
from privzoo.mechanisms.mixing import Mixing
from privzoo.outputs import ATTRIBUTES, decided

GROUPS = 8  # that are computed at once


def labels(
    pre: Callable[[np.ndarray], np.ndarray],
    main: Callable[[np.ndarray], np.ndarray],
    how: Mixing,
    chips: np.ndarray,
    seeds: Sequence[int],
    encoding: str | None = None,
) -> np.ndarray:
    """Predicted classes of faces that are mixed with each other in random groups.

    Args:
        pre: uint8 chips (M, S, S, 3) -> float32 features.
        main: float32 mixtures -> numbers (M, hidden).
        how: features are mixed, and the last layer.
        chips: uint8 (N, S, S, 3), N at least 1; faces at random fill the last group.
        seeds: each is one draw of groups and keys for all faces.
        encoding: in which mixtures are sent, one of `mixing.ENCODINGS`; None: float32.

    Returns:
        int (seeds, N), of attributes (seeds, N, A).
    """
    every = how.kernel.shape[1:] if how.output == ATTRIBUTES else ()
    found = np.empty((len(seeds), len(chips), *every), int)
    for row, seed in zip(found, seeds, strict=True):
        rng = random.Random(seed)
        order = rng.sample(range(len(chips)), len(chips))
        order += rng.choices(order, k=how.covers(len(chips)))
        for start in range(0, len(order), GROUPS * how.group):
            chosen = np.array(order[start : start + GROUPS * how.group])
            with how.key(len(chosen), rng) as key:
                mixtures = key.mix(pre(chips[chosen]))
                if encoding is not None:
                    mixtures = mixing.unpack(mixing.pack(mixtures, encoding), encoding, mixtures.shape[1:])
                answers = decided(how.answers(key.unmix(main(mixtures))), how.output)
            own = chosen[: len(chips) - start]  # a face that fills the last group has its answer already
            row[own] = answers[: len(own)]
    return found
