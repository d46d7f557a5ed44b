"""The strongest attacker on a code: Bayes' rule over how often each class has each symbol.

All that arrives of a photograph are counts of symbols, and all that they depend on is the photograph's true symbol. So
whoever knows how often a person's photographs have each symbol, and the mechanism, which is public, has the likelihood
of every person, and no attacker guesses better than by it. The attacker learns these shares from the symbols of its own
faces, which it can compute, as heads and books are public too.
"""

from __future__ import annotations

import numpy as np

from privzoo.audit.attacks.attackers import Fit, Score, Training
from privzoo.evaluation.drawn import Coded

NAME = "bayes"


def likelihoods(noise: Coded, shares: np.ndarray) -> np.ndarray:
    """Logarithm of the chance of what arrived under each true symbol, but for a factor of all, float64 (N, k).

    Args:
        noise: the code, with the number of queries.
        shares: that arrived, (N, k).
    """
    return np.rint(shares * noise.draws) @ np.log(noise.chances()).T


def attacker(noise: Coded, features: np.ndarray) -> Fit:
    """The attacker for `identity.attack(..., prepared=False)`.

    Args:
        noise: the code, with the number of queries.
        features: training ones before the code (N, d), in the order of the training's rows.
    """
    symbols = noise.book.encode(features)

    def fit(training: Training) -> Score:
        from scipy.special import logsumexp

        seen = np.zeros((training.classes, noise.response.k))
        np.add.at(seen, (training.labels, symbols), 1)
        # A photograph's worth of everybody's shares: a person of few photographs may yet have another symbol.
        everybody = (seen.sum(0) + 1) / (seen.sum() + noise.response.k)
        shares = (seen + everybody) / (seen.sum(1, keepdims=True) + 1)
        return lambda x: logsumexp(np.log(shares)[None] + likelihoods(noise, x)[:, None], axis=2)

    return fit
