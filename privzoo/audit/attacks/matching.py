"""How well images were recovered from mixtures, and how noise is taken out of them."""

from __future__ import annotations

import numpy as np

from privzoo.errors import FeatureError


def correlations(recovered: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """How well each original was recovered, under the best pairing of recovered images with originals.

    Args:
        recovered: float (r, ...).
        originals: float (n, ...), of the same shape.

    Returns:
        float64 (n,): absolute correlation of each original with its partner; 0 where it has none.

    Raises:
        FeatureError: images of different shapes.
    """
    return paired(recovered, originals)[1]


def paired(recovered: np.ndarray, originals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The partner of each original among the recovered images, int (n,), -1 for none, and as for `correlations`."""
    from scipy.optimize import linear_sum_assignment

    if np.shape(recovered)[1:] != np.shape(originals)[1:] or not len(originals):
        raise FeatureError(
            f"Recovered images of shape {np.shape(recovered)} cannot be compared with originals of shape "
            f"{np.shape(originals)}; give images of one shape."
        )
    alike = np.abs(_standard(originals) @ _standard(recovered).T)
    rows, places = linear_sum_assignment(-alike)
    partners, found = np.full(len(originals), -1), np.zeros(len(originals))
    partners[rows], found[rows] = places, np.minimum(alike[rows, places], 1)
    return partners, found


def denoised(images: np.ndarray) -> np.ndarray:
    """Images without the white noise that a device added to mixtures: total variation, as strong as the noise seems.

    Args:
        images: float32 (N, H, W, C).

    Returns:
        Likewise; images that seem free of noise as they are.
    """
    from skimage.restoration import denoise_tv_chambolle

    images = np.array(images, np.float32)
    for image in images:
        for channel in range(image.shape[2]):
            plane = image[..., channel]
            level = noise_level(plane)
            if level > 0.1 * plane.std():
                image[..., channel] = denoise_tv_chambolle(plane, weight=level)
    return images


def noise_level(plane: np.ndarray) -> float:
    """Standard deviation of white noise in an image (H, W), robustly from its finest details (Immerkær 1996)."""
    rows = plane[:, 2:] - 2 * plane[:, 1:-1] + plane[:, :-2]
    details = rows[2:] - 2 * rows[1:-1] + rows[:-2]
    return float(np.median(np.abs(details)) / 0.6745 / 6)


def _standard(images: np.ndarray) -> np.ndarray:
    """Images as rows of mean 0 and length 1; flat ones stay 0."""
    rows = np.asarray(images, np.float64).reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
