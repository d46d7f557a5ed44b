"""Random inputs for any model: chips of noise, or made-up words."""

from __future__ import annotations

import numpy as np

from privzoo.audio.synthesis import words
from privzoo.inputs import Speech


def random_inputs(model, count: int, seed: int) -> np.ndarray:
    """What `model.features` takes: uint8 (count, S, S, 3), or int16 (count, 16000)."""
    if isinstance(model.input, Speech):
        return words(count, seed)
    return np.random.default_rng(seed).integers(0, 256, (count, *model.input.shape), np.uint8)


def predicted(model, inputs: np.ndarray) -> np.ndarray:
    """Answers for them."""
    return model.predict(inputs) if isinstance(model.input, Speech) else model.predict(inputs, face="given")
