"""Photographs for tests, decoded, and drawings that are as different as photographs."""

from __future__ import annotations

import numpy as np

from privzoo.faces.images import decode, sources


def as_images(images):
    """Name and pixels of each."""
    return [(name, decode(source, name)) for name, source in sources(images)]


def drawings(count: int, seed: int = 0, side: int = 32) -> np.ndarray:
    """Grey images with edges of their own, float32 (count, side, side, 1)."""
    rng = np.random.default_rng(seed)
    images = np.full((count, side, side, 1), 100.0)
    for image in images:
        for _ in range(8):
            top, left = rng.integers(0, side - 4, 2)
            height, width = rng.integers(3, side // 2, 2)
            image[top : top + height, left : left + width] += rng.normal(0, 40)
    return (images + rng.normal(0, 0.5, images.shape)).astype(np.float32)
