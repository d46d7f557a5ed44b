"""Converts a head for tf_keras: plain data of its layers and its weights, independent of both versions of Keras.

tensorflow-model-optimization only takes tf_keras models, and importing it switches TensorFlow to tf_keras for the
whole process. So a head is passed in files to a separate process (`optimising.tf_keras_training`), and comes back
as files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import keras

# Layer -> the config entries that determine what it computes.
LAYERS = {
    "Rescaling": ("scale", "offset"),
    "Conv2D": ("filters", "kernel_size", "strides", "padding", "activation", "use_bias"),
    "DepthwiseConv2D": ("kernel_size", "strides", "padding", "activation", "use_bias"),
    "ZeroPadding2D": ("padding",),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "Reshape": ("target_shape",),
    "Round": (),
}
UNIT = {"dilation_rate": (1, 1), "groups": 1, "depth_multiplier": 1, "data_format": "channels_last"}


def describe(head: keras.Model) -> list[dict[str, Any]]:
    """Layers of a head as JSON-compatible data, in order.

    Args:
        head: a chain of layers, `image` -> features.

    Returns:
        For each layer `kind`, `name` and what `LAYERS` lists.

    Raises:
        ConfigError: a layer that cannot be converted, or one with an unusual setting.
    """
    from privzoo.architectures import graph

    described = []
    for layer in graph.layers(head):
        kind, config = type(layer).__name__, layer.get_config()
        unusual = [key for key, usual in UNIT.items() if key in config and _plain(config[key]) != _plain(usual)]
        if kind not in LAYERS or unusual:
            what = f"{unusual[0]} {config[unusual[0]]}" if unusual else "its kind"
            raise ConfigError(
                f"The layer {layer.name!r} ({kind}) cannot be converted to tf_keras for {what}; use a head of "
                f"{', '.join(LAYERS)}."
            )
        described.append({"kind": kind, "name": layer.name, **{key: _plain(config[key]) for key in LAYERS[kind]}})
    return described


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def weights(head: keras.Model) -> dict[str, np.ndarray]:
    """Weights of a head as `<layer>/<variable>` -> float32 array: names under which `model_sha256` hashes them."""
    from privzoo.architectures import graph

    return {name: np.asarray(value, np.float32) for name, value in graph.get_weights(head).items()}
