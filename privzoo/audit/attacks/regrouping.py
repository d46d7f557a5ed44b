"""Which mixtures of a shuffled request of DataMix belong together (Liu et al. 2020, section 4.2).

By local coherence: where one image has an edge and the others have none, the mixtures of its group, and only those, are
multiples of each other.
"""

from __future__ import annotations

import numpy as np

from privzoo.audit.attacks.unmixing import Known, blurred, check_known, checked, unmix
from privzoo.errors import ConfigError

PATCH = 6  # pixels; side of the places at which mixtures are compared
COHERENCE = (0.7, 1.4)  # blur in pixels of the edges that are compared
ROUNDS = 30  # of the balanced assignment to groups


def unmix_request(
    mixtures: np.ndarray, size: int, known: Known | None = None, *, orthogonal: bool = True, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Recovers the images of a whole request, whose groups were shuffled.

    Args:
        mixtures: of all groups, in any order, float (n, H, W, C).
        size: of a group, which is public.
        known, orthogonal, seed: as for `unmix`.

    Returns:
        The images, float32 (n, H, W, C) at most, and the group that each mixture was put into, int (n,).

    Raises:
        FeatureError: as `unmix`.
        ConfigError: the mixtures do not make whole groups of two or more.
    """
    mixtures = checked(mixtures, "The mixtures")
    groups = regroup(mixtures, size, known)
    parts = [
        unmix(mixtures[groups == group], known, orthogonal=orthogonal, seed=seed).images
        for group in range(len(mixtures) // size)
    ]
    return np.concatenate(parts), groups


def regroup(mixtures: np.ndarray, size: int, known: Known | None = None) -> np.ndarray:
    """Which mixtures of a shuffled request belong together.

    Args:
        mixtures, size: as for `unmix_request`.
        known: of `learn`, or None.

    Returns:
        int (n,): the group of each, 0..n/size-1, each `size` times.

    Raises:
        FeatureError, ConfigError: as `unmix_request`.
    """
    mixtures = checked(mixtures, "The mixtures")
    check_known(mixtures, known)
    if size < 2 or len(mixtures) % size:
        raise ConfigError(
            f"{len(mixtures)} mixtures do not make groups of {size}; give whole groups of two mixtures or more."
        )
    if len(mixtures) == size:
        return np.zeros(size, int)
    return balanced_groups(coherence(mixtures, known), size)


def coherence(mixtures: np.ndarray, known: Known | None = None) -> np.ndarray:
    """How often two mixtures have the same edges, up to a factor: the mean squared correlation over small places.

    Args:
        mixtures: float32 (n, H, W, C).
        known: of `learn`; the filtered mean of its images is taken out of the mixtures.

    Returns:
        float64 (n, n), 0..1.
    """
    count, channels = len(mixtures), mixtures.shape[3]
    total, places = np.zeros((count, count)), 0
    for sigma in COHERENCE:
        for channel in range(channels):
            edges = _edges(mixtures[..., channel], sigma)
            if known is not None:
                usual = _edges(known.mean[None, ..., channel], sigma).reshape(1, -1)
                rows = edges.reshape(count, -1)
                weights = rows @ usual.T / max(float(np.square(usual).sum()), 1e-12)
                edges = (rows - weights * usual).reshape(edges.shape)
            height, width = (side // PATCH for side in edges.shape[2:])
            cut = edges[:, :, : height * PATCH, : width * PATCH]
            cells = cut.reshape(count, 2, height, PATCH, width, PATCH).transpose(2, 4, 0, 1, 3, 5)
            cells = cells.reshape(height * width, count, -1)
            lengths = np.sqrt(np.square(cells).sum(axis=2, keepdims=True))
            # Where nothing changes there is only rounding to compare.
            cells = cells / (lengths + 1e-3 * lengths.mean() + 1e-12)
            for cell in cells:
                total += np.square(cell @ cell.T)
            places += len(cells)
    return total / max(places, 1)


def balanced_groups(alike: np.ndarray, size: int) -> np.ndarray:
    """Groups of equal size whose members are alike: average linkage, then assignments until nothing changes.

    Args:
        alike: float (n, n), higher for more alike; symmetric, its diagonal does not count.
        size: of a group; divides n.

    Returns:
        int (n,): 0..n/size-1, each `size` times.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.optimize import linear_sum_assignment

    count, groups = len(alike), len(alike) // size
    alike = (alike + alike.T) / 2
    np.fill_diagonal(alike, 0)
    distances = alike.max() - alike[np.triu_indices(count, 1)]
    found = fcluster(linkage(distances, "average"), groups, "maxclust") - 1
    for _ in range(ROUNDS):
        members = np.eye(groups)[found]
        others = members.sum(axis=0) - members  # without the mixture itself
        fit = alike @ members / np.maximum(others, 1)
        rows, places = linear_sum_assignment(-np.repeat(fit, size, axis=1))
        moved = np.empty(count, int)
        moved[rows] = places // size
        if np.array_equal(moved, found):
            break
        found = moved
    return found


def _edges(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Horizontal and vertical differences of planes (n, H, W): (n, 2, H - 1, W - 1)."""
    smooth = blurred(planes[..., None], sigma)[..., 0]
    return np.stack([np.diff(smooth, axis=2)[:, 1:], np.diff(smooth, axis=1)[:, :, 1:]], axis=1)
