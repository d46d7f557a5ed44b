"""The layer that rounds a feature on the device, for every embedding whose config has a step."""

from __future__ import annotations

from typing import Any

import keras

from privzoo.architectures import graph


@keras.saving.register_keras_serializable(package="privzoo")
class Round(keras.layers.Layer):
    """Rounds to whole numbers."""

    def call(self, x: Any) -> Any:
        """Rounds a tensor of any shape."""
        return keras.ops.round(x)


def unrounded(head: keras.Model) -> keras.Model:
    """A head without the rounding at its end, which has no gradient; the layers are shared."""
    layers = [layer for layer in graph.layers(head) if not isinstance(layer, Round)]
    return graph.chain(layers, head.input_shape[1:], head.input.name, "head")
