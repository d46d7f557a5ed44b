"""The baseline that every split model has to beat: the whole network on the device, which sends the predicted class.

The class is sent like a code, by randomized response, and the tail is Bayes' rule (`privzoo.embeddings.coded`).
Nothing of the network is left for the cloud. It lacks the advantages of a tail: several tasks from one
feature, finer probabilities, weights that stay secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from privzoo.embeddings import coded
from privzoo.mechanisms.codebook import Codebook

if TYPE_CHECKING:
    from privzoo.config import ModelConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Keeps the whole network as the head, and replaces the tail by Bayes' rule.

    Args:
        head: `image` -> logits (N, classes), the network cut after its last layer.
        tail: logits -> probabilities; a label has no use for it.
        arrays: those of `coded.arrays_of`.
        model: with a code that has no base, and as many dimensions and symbols as there are classes.

    Returns:
        head: `image` -> logits, of which `book` takes the largest, and the tail of `coded.tail_of`.

    Raises:
        ConfigError: the model's config has no code, or arrays do not fit it.
        WeightsError: arrays are missing, as before the label's errors were counted.
    """
    coded.check(arrays, head.output_shape[-1], model)
    return head, coded.tail_of(arrays[coded.JOINT])


def book(classes: int) -> Codebook:
    """Codebook whose symbol is the class of the largest of its logits."""
    rows = tuple(tuple(float(column == row) for column in range(classes)) for row in range(classes))
    return Codebook(rows, (0.0,) * classes, tuple(range(classes)))
