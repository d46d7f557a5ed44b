"""The reduced embeddings: a few numbers in place of the cut's activation (Osia et al. 2017, section III.B).

The head ends with a linear reduction and the tail begins with a linear reconstruction, found by principal component
analysis or as an auto-encoder in `privzoo.training.reduction`. They are:

    reduced = (activation as a vector) @ reduce/kernel + reduce/bias
    activation = reduced @ reconstruct/kernel + reconstruct/bias, for the rest of the network

If the config has a step, the reduced feature is in units of it and rounded to integers: a few levels per
component carry the class, and directions of tiny variance, which identify people, are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from privzoo.architectures import graph
from privzoo.config import given
from privzoo.embeddings.rounding import Round
from privzoo.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from privzoo.config import ModelConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Appends the reduction to the head and puts the reconstruction in front of the tail.

    Args:
        head: `image` -> activation (N, h, w, c), as the cut left it; its layers are shared, not copied.
        tail: activation -> probabilities (N, classes), likewise.
        arrays: `reduce/kernel` (h*w*c, k), `reduce/bias` (k,), `reconstruct/kernel` (k, h*w*c), `reconstruct/bias`
            (h*w*c,), and `fc8/kernel` and `fc8/bias` if the classifier was refitted.
        model: with `dimensions`, k.

    Returns:
        head: `image` -> `features` (N, k), and tail: `features` -> probabilities.

    Raises:
        WeightsError: arrays are missing, as before the embedding was fitted.
        ConfigError: arrays do not fit the cut or the dimensions.
    """
    _check(arrays, head.output_shape[1:], model)
    shape, dimensions = head.output_shape[1:], given(model.dimensions, f"{model.name} has no dimensions")
    reduce, *end = reducing(shape, model)
    reconstruct = keras.layers.Dense(int(np.prod(shape)), name="reconstruct")
    start = [reconstruct, keras.layers.Reshape(shape, name="activation")]
    rest = [_refitted(layer, arrays) for layer in graph.layers(tail)]
    head = graph.chain([*graph.layers(head), reduce, *end], head.input_shape[1:], head.input.name, "head")
    tail = graph.chain([*start, *rest], (dimensions,), "features", "tail")
    fitted = {**arrays, "reduce/kernel": arrays["reduce/kernel"].reshape(*shape, dimensions)}
    for layer in (reduce, reconstruct, *(layer for layer in rest if layer.name == "fc8")):
        for variable in layer.weights:
            if (key := f"{layer.name}/{variable.name}") in fitted:
                variable.assign(fitted[key])
    return head, tail


def reducing(shape: tuple[int, ...], model: ModelConfig) -> list[keras.layers.Layer]:
    """Layers from an activation of a shape (h, w, c) to the reduced feature, the first of them with the weights."""
    # A convolution as large as the activation, not a dense layer: TFLite gives each component its own int8 scale.
    return [
        keras.layers.Conv2D(model.dimensions, shape[:2], name="reduce"),
        keras.layers.Reshape((model.dimensions,), name="vector"),
        *([Round(name="round")] if model.step else []),
    ]


def _refitted(layer: keras.layers.Layer, arrays: Mapping[str, np.ndarray]) -> keras.layers.Layer:
    # A layer of this model's own: the network's fc8 is shared with its other models.
    own = layer.name == "fc8" and "fc8/kernel" in arrays
    return type(layer).from_config(layer.get_config()) if own else layer


def _check(arrays: Mapping[str, np.ndarray], shape: tuple[int, ...], model: ModelConfig) -> None:
    if not model.dimensions:
        raise ConfigError(f"{model.name} reduces to {model.dimensions} dimensions; give its config a number of them.")
    size = int(np.prod(shape))
    expected = {
        "reduce/kernel": (size, model.dimensions),
        "reduce/bias": (model.dimensions,),
        "reconstruct/kernel": (model.dimensions, size),
        "reconstruct/bias": (size,),
    }
    for key, wanted in expected.items():
        if key not in arrays:
            raise WeightsError(f"The model {model.name} has no released {key} yet; fit it with tools/fit.py.")
        if arrays[key].shape != wanted:
            raise ConfigError(f"{key} of {model.name} has shape {arrays[key].shape}, not {wanted}; fit it again.")
