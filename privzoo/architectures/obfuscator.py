"""The obfuscator and the deobfuscator: from an image to an image of the same size (Leroux et al. 2018, Table 4).

Three bottlenecks halve the side, three double it again. The paper gives 324,518 parameters and 2.6e7 FLOPs at 32 px and
leaves some of the table open. What follows is what gives exactly so many parameters:

- no convolution has a bias; batch norm, with a scale and an offset for each channel, follows each one, the last too;
- the first convolution is 3x3, and no bottleneck has a shortcut around it.

With nearest-neighbour upsampling between the depthwise convolution and the last 1x1 one, there are 2.64e7
multiply-adds. At the other three places in a bottleneck there would be 2.1, 2.9 or 4.3e7; so the paper's FLOPs are
multiply-adds, and that is the place. Table 4's "input size" of the halving bottlenecks is that of their outputs, with a
misprint in the second (64 x 8 x 8).

Not in the paper, and chosen here: the slope of the leaky ReLU, and the end, which is a sigmoid times 255 in place of
the last leaky ReLU, so that what leaves the device is an image, and training cannot make its values larger and larger.
The slope is Keras's: with the usual 0.01 each of the 19 layers enlarges the rounding errors of int8 by half, and
the int8 file no longer computes the network. A side that is not a multiple of 8 is cropped on the way up to what it was
on the way down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from privzoo.architectures.layers import Conv, LayerCost
from privzoo.errors import ConfigError

OBFUSCATOR, DEOBFUSCATOR = "obfuscator", "deobfuscator"  # prefixes of their layers' names
CUT = "image"  # the cut's name: what is sent is an image
END = {OBFUSCATOR: "obfuscated", DEOBFUSCATOR: "deobfuscated"}  # the last layer of each
EXPANSION = 6  # channels inside a bottleneck, as a multiple of those before it
SLOPE = 0.3  # of the leaky ReLU below zero
SMALLEST = 32  # pixels
MULTIPLE = 8  # sides that are halved and doubled three times without cropping


@dataclass(frozen=True)
class Bottleneck:
    """A 1x1 convolution that expands the channels, a 3x3 depthwise one, and a 1x1 one that reduces them."""

    name: str
    filters: int
    upsample: bool  # doubles the side after the depthwise convolution, which otherwise has stride 2


Module = Conv | Bottleneck


def modules(part: str, width: float = 1.0) -> tuple[Module, ...]:
    """Rows of Table 4.

    Args:
        part: `OBFUSCATOR` or `DEOBFUSCATOR`; of both the rows are the same.
        width: of the channels, as a share of the table's.

    Raises:
        ConfigError: a width that leaves no channels.
    """
    if not 0 < width < math.inf:
        raise ConfigError(f"An {part} of width {width} is invalid; give a number above 0, 1 for the published one.")
    first, *down, narrow, last = (max(1, round(count * width)) for count in (32, 32, 64, 128, 64, 32))
    return (
        Conv(f"{part}_conv", first, 3),
        *(Bottleneck(f"{part}_down{i}", count, False) for i, count in enumerate(down, start=1)),
        *(Bottleneck(f"{part}_up{i}", count, True) for i, count in enumerate((narrow, last, 3), start=1)),
    )


def check_side(side: int) -> None:
    """Raises ConfigError for an image that is too small."""
    if side < SMALLEST:
        raise ConfigError(f"An image of {side} px is too small to be obfuscated; use {SMALLEST} px or more.")


def costs(input_shape: tuple[int, int, int], width: float = 1.0, part: str = OBFUSCATOR) -> list[LayerCost]:
    """Cost of each convolution.

    Args:
        input_shape: height, width and channels of the image.
        width: as of `modules`.
        part: as of `modules`.

    Returns:
        Parameters with batch norm folded away, and multiply-adds, as of `layers.feature_costs`.

    Raises:
        ConfigError: an image that is too small, or an invalid width.
    """
    height, width_px, channels = input_shape
    check_side(min(height, width_px))
    sides, found = [(height, width_px)], []

    def add(name: str, shape: tuple[int, int], filters: int, weights: int) -> None:
        # `shape` is where the convolution is computed, which upsampling may follow.
        found.append(LayerCost(name, (*shape, filters), weights + filters, weights * math.prod(shape)))

    for module in modules(part, width):
        if isinstance(module, Conv):
            add(module.name, sides[-1], module.filters, module.kernel**2 * channels * module.filters)
        else:
            inside, before = EXPANSION * channels, sides[-1]
            after = before
            if module.upsample:
                sides.pop()
            else:
                after = (math.ceil(before[0] / 2), math.ceil(before[1] / 2))
                sides.append(after)
            add(f"{module.name}_expand", before, inside, channels * inside)
            add(f"{module.name}_depthwise", after, inside, 9 * inside)
            add(f"{module.name}_project", sides[-1], module.filters, inside * module.filters)
        channels = module.filters
    return found
