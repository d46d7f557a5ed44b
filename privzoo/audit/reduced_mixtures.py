"""What mixing after a reduction hides: a group's few numbers under `attacks.few_numbers`, beside a guess."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.audit import mixtures
from privzoo.audit.attacks import few_numbers
from privzoo.audit.features import float_view
from privzoo.evaluation import intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms import mixing
from privzoo.model import SplitModel

SIZES = (2, 8)


def measure(model: SplitModel, pool: mixtures.Pool, requests: int, cache: Path, seed: int) -> list[dict[str, Any]]:
    """Figures for each size of group.

    Args:
        model: with a reduced feature.
        pool: faces that are sent, as many as the largest groups need or their requests share some, and the attacker's.
        requests: that are scored.
        cache: folder for features.
        seed: of coefficients and guesses.

    Returns:
        Rows with the share of features `recovered` and `guessed` (a correlation above `mixtures.RECOVERED` in units of
        each number's deviation, under the best pairing), and the mean error in a group's share of the second class,
        `share_error` and `share_error_guessed`, with the ends of their intervals over requests.
    """
    view = float_view(model, cache)
    sent, own = (np.asarray(view.extract(side).read(), np.float64) for side in (pool.sent, pool.own))
    mean, spread = own.mean(axis=0), np.maximum(own.std(axis=0), 1e-9)
    known = few_numbers.learn(own)
    usual = _second(model, own).mean()
    found = []
    for size in SIZES:
        hits: dict[str, list[np.ndarray]] = {"recovered": [], "guessed": []}
        errors: dict[str, list[float]] = {"share_error": [], "share_error_guessed": []}
        for request in range(requests):
            rng = np.random.default_rng([seed, size, request])
            features = sent[np.arange(request * size, (request + 1) * size) % len(sent)]
            coefficients = mixing.draw(size, rng=random.Random(int(rng.integers(2**62))))
            unmixed = few_numbers.unmix(coefficients @ features, known, request)
            guess = own[rng.permutation(len(own))[:size]]
            hits["recovered"].append(_alike((unmixed - mean) / spread, (features - mean) / spread))
            hits["guessed"].append(_alike((guess - mean) / spread, (features - mean) / spread))
            truth = _second(model, features).mean()
            errors["share_error"].append(abs(_second(model, unmixed).mean() - truth))
            errors["share_error_guessed"].append(abs(usual - truth))
        row: dict[str, Any] = {"model": model.name, "size": size, "numbers": sent.shape[1], "requests": requests}
        for name, alike in hits.items():
            clusters = np.repeat(np.arange(requests), size)
            row |= _ends(name, intervals.share(np.concatenate(alike) > mixtures.RECOVERED, clusters))
        for name, values in errors.items():
            row |= _ends(name, intervals.mean(np.array(values)))
        found.append(row)
    return found


def _second(model: SplitModel, features: np.ndarray) -> np.ndarray:
    """Whether the service would say the second class, as female."""
    return model.classify(features.astype(np.float32)).argmax(axis=1) == 1


def _alike(recovered: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Cosine of each original with its partner, under the best pairing."""
    from scipy.optimize import linear_sum_assignment

    first, second = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (originals, recovered))
    alike = first @ second.T
    return alike[linear_sum_assignment(-alike)]


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
