"""Unmixing a few numbers: mixtures of reduced features, which are too short for independent component analysis.

A group of S features of d numbers gives S d numbers, and orthogonal coefficients have S (S - 1) / 2 unknowns. What no
rotation changes, the second moments of the group over its images, is there for everyone; the rest has to be guessed.
This attacker guesses as well as he can: he knows how features of faces are distributed, and turns the mixtures until
their rows are as likely as possible.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from privzoo.audit.attacks.preparation import as_rows
from privzoo.errors import FeatureError

CLUSTERS = 8  # of the mixture of normal distributions that describes features
ANGLES = 48  # that are tried for two rows at a time
COARSE, FINE = 5, 5  # sweeps over all pairs: on the whole circle, then each on a quarter of the arc before
STARTS = 8  # random ones; the most likely result counts


def learn(features: np.ndarray, seed: int = 0) -> Any:
    """How features of faces are distributed: scikit-learn's mixture of normal distributions.

    Args:
        features: an attacker's own, float (N, d).
        seed: of its fit.

    Raises:
        FeatureError: features without rows, or with values that are not finite.
    """
    from sklearn.mixture import GaussianMixture

    rows = as_rows(features, "attacker's own").astype(np.float64)
    return GaussianMixture(min(CLUSTERS, len(rows)), reg_covar=1e-6 * rows.var(), random_state=seed).fit(rows)


def unmix(mixtures: np.ndarray, known: Any, seed: int = 0) -> np.ndarray:
    """The most likely features of one group, whose coefficients are orthogonal.

    Args:
        mixtures: float (S, d).
        known: of `learn`.
        seed: of the starts.

    Returns:
        float64 (S, d), in any order.

    Raises:
        FeatureError: fewer than two mixtures, of another length than the known features, or values that are not finite.
    """
    rows = as_rows(mixtures, "mixed").astype(np.float64)
    if len(rows) < 2 or rows.shape[1] != known.means_.shape[1]:
        raise FeatureError(
            f"Mixtures of shape {rows.shape} cannot be unmixed by features of {known.means_.shape[1]} numbers; give "
            "two mixtures or more of as many numbers."
        )
    rng = np.random.default_rng(seed)
    best: tuple[float, np.ndarray] | None = None
    for _ in range(STARTS):
        found = np.linalg.qr(rng.normal(size=(len(rows), len(rows))))[0] @ rows
        for sweep in range(COARSE + FINE):
            turns = _turns(2 * np.pi / 4 ** max(0, sweep - COARSE + 1))
            for i in range(len(rows)):
                for j in range(i):
                    tried = turns @ found[[i, j]]  # (ANGLES, 2, d)
                    scores = known.score_samples(tried.reshape(-1, rows.shape[1])).reshape(ANGLES, 2).sum(axis=1)
                    found[[i, j]] = tried[scores.argmax()]
        likely = float(known.score_samples(found).sum())
        if best is None or likely > best[0]:
            best = likely, found
    assert best is not None, "there is at least one start"
    return best[1]


def _turns(arc: float) -> np.ndarray:
    """Rotations of two rows, on an arc around no rotation, which is among them: (ANGLES, 2, 2)."""
    angles = (np.arange(ANGLES) - ANGLES // 2) * arc / ANGLES
    return np.stack([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
