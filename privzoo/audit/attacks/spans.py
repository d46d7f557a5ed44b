"""What requests of DataMix have in common: an image that is in two of them lies in the spans of both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from privzoo.audit.attacks.unmixing import BANK, RANK, Known, check_known, checked, own_part
from privzoo.errors import ConfigError, FeatureError


def shared(requests: Sequence[np.ndarray], count: int = 1, known: Known | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What several groups have in common, by linear algebra alone: an image in all of them lies in all their spans.

    It holds for any coefficients, and for images without any structure. With one image in common, such as a face sent
    again with other covers, the result is that image; more of them are still to be unmixed. Filters only help against
    noise on the mixtures, and against the mean face, which nearly lies in every span. Of all filters, the one is taken
    after which the spans agree best.

    Args:
        requests: two groups of mixtures or more, each float (n, H, W, C).
        count: of the images that are in all of them.
        known: of `learn`, from other images, or None.

    Returns:
        float32 (count, H, W, C), the mean of the groups' own estimates, and how well the spans agree on each, float64
        0..1: without noise 1 where an image really is in all of them.

    Raises:
        FeatureError: fewer than two groups, of different shapes, or with values that are not finite.
        ConfigError: more common images than a group has mixtures.
    """
    groups = [checked(group, f"The mixtures of group {i}") for i, group in enumerate(requests)]
    if len(groups) < 2 or any(a.shape[1:] != b.shape[1:] for a, b in pairwise(groups)):
        raise FeatureError(
            f"{len(groups)} groups of shapes {[group.shape for group in groups]} have no image in common; give two or "
            "more whose mixtures have one shape."
        )
    if not 1 <= count <= min(len(group) for group in groups):
        raise ConfigError(f"count={count} images cannot be in every group; give 1 to the size of the smallest group.")
    check_known(groups[0], known)
    found = []
    for i, one in enumerate(BANK):
        rows = [own_part(one(group), known, i).astype(np.float64) for group in groups]
        found.append(_agreement(rows, count))
    agreed, weights = max(found, key=lambda entry: float(entry[0].min()))
    images = sum(np.tensordot(own.astype(np.float32), group, 1) for own, group in zip(weights, groups, strict=True))
    return np.asarray(images, np.float32) / len(groups), agreed


def _agreement(groups: list[np.ndarray], count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Directions that lie in the spans of all groups of rows (n, d): how well, (count,), and weights (count, n)."""
    bases, turns = [], []
    for rows in groups:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        kept = values > RANK**2 * max(float(values[-1]), 1e-300)
        turns.append((vectors[:, kept] / np.sqrt(values[kept])).T)
        bases.append(turns[-1] @ rows)
    stacked = np.concatenate(bases)
    values, vectors = np.linalg.eigh(stacked @ stacked.T)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    parts = np.split(vectors, np.cumsum([len(basis) for basis in bases])[:-1])
    return values / len(groups), [part.T @ turn for part, turn in zip(parts, turns, strict=True)]
