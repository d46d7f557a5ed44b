"""What int8 heads are calibrated with by default: face chips from scikit-image's photographs, and made-up words."""

from __future__ import annotations

import numpy as np
from PIL import Image

from privzoo import faces, inputs
from privzoo.audio.synthesis import words
from privzoo.errors import MissingExtraError

COUNT = 64
_TEXTURES = ("chelsea", "coffee", "camera", "grass", "gravel", "brick")


def calibrating(kind: inputs.Input, count: int = COUNT) -> np.ndarray:
    """Chips or clips to calibrate a head with that takes these; see `default_calibration` and `audio.synthesis.words`.

    Raises:
        MissingExtraError: for faces, scikit-image is not installed.
    """
    return words(count) if isinstance(kind, inputs.Speech) else default_calibration(kind.size, count)


def default_calibration(size: int, count: int = COUNT) -> np.ndarray:
    """Makes varied face chips from the one free face available, the same ones at each call.

    One face alone excites only part of a network: its last layers then saturate in int8 on other faces. Rotated,
    scaled, relit and half of them blended with other photographs, the chips reach the activations that a set of real
    faces reaches. Chips of the faces that a head is meant for are still better.

    Args:
        size: side of the chips in pixels.
        count: number of chips.

    Returns:
        uint8 array (count, size, size, 3), RGB.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError:
        raise MissingExtraError(
            "The default calibration needs scikit-image; run: pip install 'privzoo[detect]', or give face chips."
        ) from None
    photograph = skimage.data.astronaut()
    box = faces.detect(photograph)[0]
    textures = [faces.decode(getattr(skimage.data, name)()) for name in _TEXTURES]
    rng = np.random.default_rng(0)
    return np.stack([_chip(photograph, box, textures, size, rng) for _ in range(count)])


def _chip(
    photograph: np.ndarray, box: faces.Box, textures: list[np.ndarray], size: int, rng: np.random.Generator
) -> np.ndarray:
    centre = np.array([box.x, box.y]) + box.size / 2
    turned = Image.fromarray(photograph).rotate(
        rng.uniform(-20, 20), Image.Resampling.BILINEAR, center=(float(centre[0]), float(centre[1]))
    )
    side = round(box.size * rng.uniform(0.6, 1.5))
    corner = centre + rng.uniform(-0.1, 0.1, 2) * box.size - side / 2
    chip = _crop(np.asarray(turned), corner, side, size)
    if rng.random() < 0.5:
        chip = chip[:, ::-1]
    if rng.random() < 0.3:
        chip = np.repeat(chip.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.5:
        chip = _blend(chip, textures[rng.integers(len(textures))], size, rng)
    mean = chip.mean()
    chip = (chip - mean) * rng.uniform(0.5, 2.0) + mean + rng.uniform(-70, 70)
    return np.clip(np.rint(chip * rng.uniform(0.85, 1.15, 3)), 0, 255).astype(np.uint8)


def _blend(chip: np.ndarray, texture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    limit = min(texture.shape[:2])
    side = int(rng.integers(limit // 4, limit))
    corner = rng.uniform(0, 1, 2) * (texture.shape[1] - side, texture.shape[0] - side)
    other = _crop(texture, corner, side, size)
    weight = rng.uniform(0.15, 0.6)
    if rng.random() < 0.5:
        return chip * (1 - weight) + other * weight
    return np.clip(chip + 2 * weight * (other - other.mean()), 0, 255)


def _crop(image: np.ndarray, corner: np.ndarray, side: int, size: int) -> np.ndarray:
    x, y = np.rint(corner).astype(int)
    return faces.crop(image, faces.Box(int(x), int(y), side), size).astype(np.float32)
