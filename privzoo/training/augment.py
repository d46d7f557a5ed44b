"""Random changes of training chips, with the zoo's own crop-and-resize arithmetic, and of training clips."""

from __future__ import annotations

import numpy as np

from privzoo import activations, faces
from privzoo.config import Augmentation, SpeechAugmentation, TrainingConfig, to_dict
from privzoo.training import speech

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's mode "L"


def augment(
    chip: np.ndarray, size: int | None, settings: Augmentation | SpeechAugmentation, rng: np.random.Generator
) -> np.ndarray:
    """One random version of a chip or clip.

    Args:
        chip: uint8 RGB (side, side, 3), or a clip, int16 (16000,).
        size: side of the result in pixels; None for clips.
        settings: what may change and how far.
        rng: the random source; the same state gives the same result.

    Returns:
        float32 RGB 0..255 (size, size, 3), or a spectrogram.
    """
    if isinstance(settings, SpeechAugmentation) or size is None:
        assert isinstance(settings, SpeechAugmentation) and size is None, "settings of the other kind of input"
        return speech.augment(chip, settings, rng)
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


def augmented_chips(chips: np.ndarray, size: int | None, training: TrainingConfig, copy: int = 0) -> activations.Source:
    """A random version of each chip, always the same one.

    Args:
        chips: uint8 RGB (N, side, side, 3), or clips, int16 (N, 16000).
        size: side of the network's input in pixels; None for clips.
        training: with augmentation and seed.
        copy: number of the version.
    """
    settings = training.changes

    def batch(index: int) -> np.ndarray:
        rng = np.random.default_rng((training.seed, copy, index))
        return np.stack([augment(chip, size, settings, rng) for chip in activations.part(chips, index)])

    key = activations.key(chips=chips, size=size, augmentation=to_dict(settings), seed=training.seed, copy=copy)
    return activations.Source(key, len(chips), batch)
