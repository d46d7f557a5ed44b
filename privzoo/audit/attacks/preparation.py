"""How an attacker prepares features: whitened principal components, found quickly even for long features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privzoo.audit.attacks import attackers
from privzoo.errors import FeatureError

COMPONENTS = 600
ROWS = 3600  # used to find components; more take long and change little
BACKGROUND_SHRINKAGE = 0.1
TINY = 1e-5  # of the largest standard deviation: smaller components are rounding errors


def as_rows(features: np.ndarray, name: str) -> np.ndarray:
    """Features as finite float32 rows (N, d).

    Raises:
        FeatureError: no numbers, no rows, or NaN or infinity among them.
    """
    values = np.asarray(features)
    if values.dtype.kind not in "fiub" or values.ndim < 2 or 0 in values.shape:
        raise FeatureError(
            f"The {name} features are {values.dtype} of shape {values.shape}; give numbers of shape (N, ...)."
        )
    rows = values.reshape(len(values), -1).astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        raise FeatureError(f"{bad} of {len(rows)} {name} features hold NaN or infinity; check the head and its images.")
    return rows


@dataclass(frozen=True)
class Preparation:
    """An affine map of features to what attackers see, and whether rows are then scaled to length 1."""

    mean: np.ndarray  # (d,)
    basis: np.ndarray  # (d, k)
    unit: bool
    spread: np.ndarray | None  # (k,): deviations of the components before they were whitened; None: no longer known

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Prepares rows (N, d): float32 (N, k)."""
        # The mean goes last: subtracting it from the rows would copy them.
        prepared = (rows @ self.basis - self.mean @ self.basis).astype(np.float32)
        return attackers.unit(prepared).astype(np.float32) if self.unit else prepared


def principal_components(rows: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, components and deviations of rows, by the smaller of covariance and Gram matrix.

    Args:
        rows: float32 (N, d).
        count: components wanted; fewer if the rows have fewer.
        seed: of the choice of rows if there are more than `ROWS`.

    Returns:
        mean (d,), orthonormal components (d, k), deviations along them (k,), falling.
    """
    from scipy.linalg import eigh

    if len(rows) > ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:ROWS])]
    mean = rows.mean(0, dtype=np.float64).astype(np.float32)
    centred = rows - mean
    wide = rows.shape[1] > len(rows)
    product = (centred @ centred.T if wide else centred.T @ centred).astype(np.float64)
    side = len(product)
    values, vectors = eigh(product, subset_by_index=(max(0, side - count), side - 1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    lengths = np.sqrt(values)
    kept = lengths > TINY * lengths[0]
    if not kept.any():  # all rows are equal: they carry no information, so that attackers can only guess
        return mean, np.zeros((rows.shape[1], 1), np.float32), np.ones(1, np.float32)
    lengths, vectors = lengths[kept], vectors[:, kept]
    components = (centred.T @ (vectors / lengths).astype(np.float32)) if wide else vectors.astype(np.float32)
    return mean, components, (lengths / np.sqrt(len(rows))).astype(np.float32)


def prepare(
    rows: np.ndarray, seed: int, background: tuple[np.ndarray, np.ndarray] | None = None, count: int = COMPONENTS
) -> Preparation:
    """Finds the whitened principal components of training features.

    Args:
        rows: float32 (N, d), with noise if any.
        seed: see `principal_components`.
        background: features (M, d) and labels (M,) of other people, on which the attacker learns which differences
            are between people and which between photographs of one.
        count: components at most.

    Returns:
        The map; long rows (more than `attackers.SMALL` components) end with length 1, since length says more about the
        photograph than about the person.
    """
    everything = rows if background is None else np.concatenate([rows, background[0]])
    mean, components, deviations = principal_components(everything, count, seed)
    basis, spread = components / deviations, deviations / deviations[0]
    if background is not None:
        _, labels = np.unique(background[1], return_inverse=True)
        others = (background[0] - mean) @ basis
        basis = basis @ attackers.within_whitening(others, labels, BACKGROUND_SHRINKAGE).astype(np.float32)
        spread = None
    return Preparation(mean, basis, basis.shape[1] > attackers.SMALL, spread)
