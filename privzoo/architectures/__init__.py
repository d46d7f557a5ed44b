"""The networks' layer graphs: which there are, where they may be cut, what their layers cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType

from privzoo.architectures import obfuscator, resnet18, vgg16, vgg_s
from privzoo.architectures.layers import Conv, Layer, LayerCost, Pool, classifier_costs, feature_costs
from privzoo.errors import ConfigError, UnknownNameError

ARCHITECTURES: dict[str, ModuleType] = {"resnet18": resnet18, "vgg16": vgg16, "vgg_s": vgg_s}
LAST = "fc8"  # the layer whose outputs are the classes' logits
BLOCK = "block"  # a cut's name is this and a number where it is DataMix's, after so many blocks
RGB = 3  # channels
Shape = tuple[int | None, int | None, int]  # height, width and channels of an input; None: of any size


def layers(architecture: str, channels: Mapping[str, int] | None = None) -> tuple[Layer, ...]:
    """Layer table of an architecture.

    Args:
        architecture: one of `ARCHITECTURES`.
        channels: for slim heads: convolution -> its output channels, where they are others than the published ones.

    Raises:
        UnknownNameError: for any other name than those of `ARCHITECTURES`, or channels of a layer that it lacks.
    """
    try:
        table = ARCHITECTURES[architecture].LAYERS
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        raise UnknownNameError(f"There is no architecture {architecture!r}; the zoo has {known}.") from None
    channels = channels or {}
    if unknown := sorted(set(channels) - {layer.name for layer in table if isinstance(layer, Conv)}):
        raise UnknownNameError(f"{architecture} has no convolution {unknown[0]!r} to give other channels.")
    return tuple(
        dataclasses.replace(layer, filters=channels[layer.name])
        if isinstance(layer, Conv) and layer.name in channels
        else layer
        for layer in table
    )


def shape_of(input_size: int | Shape | None) -> Shape:
    """Shape of an input: that of a square RGB image if only its side is given, of any RGB image for None."""
    return input_size if isinstance(input_size, tuple) else (input_size, input_size, RGB)


def cuts(architecture: str) -> tuple[str, ...]:
    """Names of the layers after which an architecture may be split."""
    layers(architecture)
    return ARCHITECTURES[architecture].CUTS


def block_cut(architecture: str, blocks: int) -> str:
    """Name of the last layer of the first blocks: DataMix's cuts (Liu et al. 2020, Table 1).

    Args:
        architecture: `vgg16` or `vgg_s`.
        blocks: 1 or more. A block is one convolution with all that follows it up to the next one, such as a pool.

    Raises:
        ConfigError: the architecture does not have so many blocks and a convolution left for the cloud.
    """
    names = [layer.name for layer in layers(architecture)]
    starts = [i for i, layer in enumerate(layers(architecture)) if not isinstance(layer, Pool)]
    if not 1 <= blocks < len(starts):
        raise ConfigError(f"{architecture} cannot be cut after {blocks} blocks; give 1 to {len(starts) - 1}.")
    return names[starts[blocks] - 1]


def cut_layer(architecture: str, cut: str) -> str:
    """Name of the layer after which a cut splits: a layer's own name, or that of `block_cut` for "block2".

    An obfuscated network is cut at its "image", after the obfuscator, whatever its architecture.

    Raises:
        ConfigError: as `block_cut`.
    """
    if architecture in ARCHITECTURES and cut in cuts(architecture):  # ResNet-18 has cuts of such names of its own
        return cut
    if cut == obfuscator.CUT:
        return obfuscator.END[obfuscator.OBFUSCATOR]
    number = cut.removeprefix(BLOCK)
    return block_cut(architecture, int(number)) if cut != number and number.isdecimal() else cut


def trunk(architecture: str) -> str:
    """Name of the last layer that fine-tuned networks share with their parent, as far as their configs leave it so."""
    layers(architecture)
    return ARCHITECTURES[architecture].TRUNK


def smallest(architecture: str) -> int:
    """Least height and width of an input in pixels; below it the pools leave nothing."""
    layers(architecture)
    return ARCHITECTURES[architecture].SMALLEST


def costs(
    architecture: str,
    input_size: int | tuple[int, int, int],
    classes: int,
    classifier: Sequence[int] = (),
    channels: Mapping[str, int] | None = None,
) -> list[LayerCost]:
    """Shape, parameters and multiply-adds of every layer, without building the network.

    Args:
        architecture: one of `ARCHITECTURES`.
        input_size: side of the square RGB input in pixels, or height, width and channels of another one.
        classes: width of the last layer, `fc8`.
        classifier: widths of `fc6` and `fc7`, (4096, 4096) as published; empty: average pooling, then `fc8`.
        channels: as of `layers`.
    """
    shape = input_size if isinstance(input_size, tuple) else (input_size, input_size, RGB)
    features = feature_costs(layers(architecture, channels), shape)
    height, width, depth = features[-1].shape
    return features + classifier_costs(height * width * depth if classifier else depth, classifier, classes)


def check_cut(architecture: str, cut: str) -> None:
    """Raises UnknownNameError, or ConfigError for a block, unless an architecture has the cut."""
    if cut_layer(architecture, cut) != cut:
        return
    if cut not in cuts(architecture):
        raise UnknownNameError(
            f"{architecture} has no cut {cut!r}; it can be cut after {', '.join(cuts(architecture))}."
        )
