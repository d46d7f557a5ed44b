"""The simple embedding: the network is cut, and the cut's activation is the feature (Osia et al. 2017, section III).

If the config has a step, the activation is sent in units of it, rounded to integers: that keeps what the class
needs of each value, if the network was trained for it, and drops the small differences that identify people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras

from privzoo.architectures import graph
from privzoo.embeddings.rounding import Round

if TYPE_CHECKING:
    import numpy as np

    from privzoo.config import ModelConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Head and tail as the cut left them, with the rounding between them if the model has a step.

    Args:
        head: `image` -> activation (N, h, w, c); its layers are shared, not copied.
        tail: activation -> probabilities (N, classes), likewise.
        arrays: none.
        model: with `step`, or without.
    """
    if model.step is None:
        return head, tail
    shape = head.output_shape[1:]
    end = [keras.layers.Rescaling(1 / model.step, name="units"), Round(name="round")]
    start = [keras.layers.Rescaling(model.step, name="activation")]
    head = graph.chain([*graph.layers(head), *end], head.input_shape[1:], head.input.name, "head")
    return head, graph.chain([*start, *graph.layers(tail)], shape, "features", "tail")
