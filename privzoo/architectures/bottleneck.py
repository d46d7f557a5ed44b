"""The Keras layers of the obfuscator and the deobfuscator, as a chain that goes in front of any network."""

from __future__ import annotations

from typing import Any

import keras

from privzoo.architectures import obfuscator
from privzoo.architectures.layers import Conv
from privzoo.architectures.obfuscator import EXPANSION, MULTIPLE, SLOPE
from privzoo.architectures.residual import BATCH_NORM_EPSILON, MOMENTUM
from privzoo.errors import ConfigError

FULL_SCALE = 255.0  # the largest value of an image


class _Chain:
    """Layers one after the other, each convolution with its batch norm while it is trained."""

    def __init__(self, batch_norm: bool, seed: int | None) -> None:
        self.layers: list[keras.layers.Layer] = []
        self.batch_norm, self.seed = batch_norm, seed

    def _start(self) -> keras.initializers.Initializer:
        # A seed for each layer: equal ones would make layers of one shape start alike.
        return keras.initializers.HeNormal(None if self.seed is None else self.seed + len(self.layers))

    def convolution(self, name: str, filters: int, kernel: int) -> None:
        self._add(
            keras.layers.Conv2D(
                filters,
                kernel,
                padding="same",
                use_bias=not self.batch_norm,
                kernel_initializer=self._start(),
                name=name,
            )
        )

    def depthwise(self, name: str, stride: int) -> None:
        self._add(
            keras.layers.DepthwiseConv2D(
                3,
                stride,
                padding="same",
                use_bias=not self.batch_norm,
                depthwise_initializer=self._start(),
                name=name,
            )
        )

    def _add(self, layer: keras.layers.Layer) -> None:
        self.layers.append(layer)
        if self.batch_norm:
            self.layers.append(
                keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{layer.name}_bn")
            )

    def activation(self, name: str) -> None:
        self.layers.append(keras.layers.LeakyReLU(SLOPE, name=name))


def layers(
    part: str,
    side: int | None,
    width: float = 1.0,
    *,
    batch_norm: bool = False,
    seed: int | None = None,
) -> list[keras.layers.Layer]:
    """The layers of an obfuscator or a deobfuscator with fresh weights.

    Args:
        part: `obfuscator.OBFUSCATOR` or `obfuscator.DEOBFUSCATOR`, with which their names begin.
        side: of the square images in pixels; None for any multiple of 8.
        width: of the channels, as a share of Table 4's.
        batch_norm: batch norm after each convolution, for training; released ones have it folded away.
        seed: of the start weights; None: Keras's.

    Returns:
        Layers from RGB 0..255 to RGB 0..255 of the same size; the last one is `obfuscator.END[part]`, in float32.

    Raises:
        ConfigError: images that are too small, or an invalid width.
    """
    if side is not None:
        obfuscator.check_side(side)
    chain, sides = _Chain(batch_norm, seed), [side]
    chain.layers.append(keras.layers.Rescaling(1 / 64, offset=-2.0, name=f"{part}_normalize"))
    channels = 3
    for module in obfuscator.modules(part, width):
        name = module.name
        if isinstance(module, Conv):
            chain.convolution(name, module.filters, module.kernel)
        else:
            chain.convolution(f"{name}_expand", EXPANSION * channels, 1)
            chain.activation(f"{name}_expand_relu")
            chain.depthwise(f"{name}_depthwise", 1 if module.upsample else 2)
            chain.activation(f"{name}_depthwise_relu")
            if module.upsample:
                chain.layers += _doubling(name, sides)
            else:
                sides.append(None if sides[-1] is None else -(-sides[-1] // 2))
            chain.convolution(f"{name}_project", module.filters, 1)
        channels = module.filters
        chain.activation(f"{name}_relu")
    # In place of the last leaky ReLU, and in float32: bfloat16 has too few levels for an image.
    chain.layers[-1] = keras.layers.Activation("sigmoid", dtype="float32", name=f"{part}_sigmoid")
    chain.layers.append(keras.layers.Rescaling(FULL_SCALE, dtype="float32", name=obfuscator.END[part]))
    return chain.layers


def _doubling(name: str, sides: list[int | None]) -> list[keras.layers.Layer]:
    """Nearest-neighbour upsampling, cropped to the side before the last halving, which it takes off `sides`."""
    small = sides.pop()
    found: list[Any] = [keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_upsample")]
    if small is not None and sides[-1] != 2 * small:
        found.append(keras.layers.Cropping2D(((0, 1), (0, 1)), name=f"{name}_crop"))
    return found


def check_any(sides: set[int]) -> int | None:
    """The side to build for where images have one side, or None for several.

    Raises:
        ConfigError: several, of which one is not a multiple of 8, or one that is too small.
    """
    for side in sorted(sides):
        obfuscator.check_side(side)
    if len(sides) > 1 and (odd := [side for side in sorted(sides) if side % MULTIPLE]):
        raise ConfigError(f"Images of several sizes are obfuscated at multiples of {MULTIPLE} px, not {odd[0]} px.")
    return sides.copy().pop() if len(sides) == 1 else None
