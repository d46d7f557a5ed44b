"""Random changes of training chips, with the zoo's own crop-and-resize arithmetic."""

from __future__ import annotations

import numpy as np

from privzoo import faces
from privzoo.config import Augmentation

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's mode "L"


def augment(chip: np.ndarray, size: int, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """One random version of a chip.

    Args:
        chip: uint8 RGB (side, side, 3).
        size: side of the result in pixels.
        settings: what may change and how far.
        rng: the random source; the same state gives the same result.

    Returns:
        float32 RGB 0..255 (size, size, 3).
    """
    height, width = chip.shape[:2]
    side = round(rng.uniform(settings.minimum_crop, 1.0) * min(height, width))
    box = faces.Box(int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side)
    image = faces.crop(chip, box, size).astype(np.float32)
    if settings.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < settings.grey:
        image = np.repeat((image @ LUMA)[..., None], 3, axis=-1)
    mean = image.mean()
    image = (image - mean) * rng.uniform(1 - settings.contrast, 1 + settings.contrast) + mean
    return np.clip(image + rng.uniform(-settings.brightness, settings.brightness), 0, 255)
