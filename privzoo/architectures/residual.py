"""The residual block as one Keras layer, so that a network with shortcuts is a chain that can be cut like any other."""

from __future__ import annotations

from typing import Any

import keras

from privzoo.architectures.layers import Conv, Residual

BATCH_NORM_EPSILON = 1e-3
_PLACES = ("a", "b", "shortcut")
MOMENTUM = 0.9  # of a block's batch norm, as He et al. have it: a short run's statistics must keep up with its weights


def convolution(layer: Conv, **options: Any) -> keras.layers.Conv2D:
    """A convolution as the layer tables describe it.

    Args:
        layer: of a table.
        options: more of Keras's layer.
    """
    return keras.layers.Conv2D(
        layer.filters,
        layer.kernel,
        strides=layer.stride,
        padding=layer.padding,
        kernel_initializer="he_normal",
        name=layer.name,
        **options,
    )


@keras.saving.register_keras_serializable(package="privzoo")
class ResidualBlock(keras.layers.Layer):
    """relu(b(relu(a(x))) + shortcut(x)), each convolution followed by batch norm while a network is trained.

    Args:
        block: of a layer table, or its fields.
        batch_norm: released networks have it folded into the convolutions.
    """

    def __init__(self, block: Residual | dict[str, Any], batch_norm: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block if isinstance(block, Residual) else Residual(**block)
        self.batch_norm = batch_norm

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes the layers for an input (batch, height, width, channels)."""
        channels = shape[-1]
        assert channels is not None, "a convolution needs to know its input's channels"
        # All have names of their own in the whole network: weights are stored under these.
        for place, layer in zip(_PLACES, self.block.convolutions(channels), strict=True):
            made = norm = None
            if layer is not None:
                made = convolution(layer, use_bias=not self.batch_norm, dtype=self.dtype_policy)
                made.build(shape if place != "b" else (*shape[:-1], self.block.filters))
                if self.batch_norm:
                    norm = keras.layers.BatchNormalization(
                        momentum=MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{layer.name}_bn", dtype=self.dtype_policy
                    )
                    norm.build((*shape[:-1], self.block.filters))
            setattr(self, place, made)
            setattr(self, f"{place}_bn", norm)
        super().build(shape)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the output for that of the input."""
        return self.a.compute_output_shape(shape)

    def norms(self) -> list[keras.layers.BatchNormalization]:
        """Its batch norms, none once they are folded away."""
        return [norm for place in _PLACES if (norm := getattr(self, f"{place}_bn")) is not None]

    def _through(self, place: str, x: Any, training: bool | None) -> Any:
        layer, norm = getattr(self, place), getattr(self, f"{place}_bn")
        if layer is None:
            return x
        return layer(x) if norm is None else norm(layer(x), training=training)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Runs the block on a (batch, height, width, channels) tensor."""
        inside = keras.ops.relu(self._through("a", x, training))
        return keras.ops.relu(self._through("b", inside, training) + self._through("shortcut", x, training))

    def get_config(self) -> dict:
        """Constructor arguments, for Keras."""
        block = {"name": self.block.name, "filters": self.block.filters, "stride": self.block.stride}
        return {**super().get_config(), "block": block, "batch_norm": self.batch_norm}
