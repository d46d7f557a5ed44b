"""The networks' layer graphs: which there are, where they may be cut, what their layers cost."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from privzoo.architectures import vgg16, vgg_s
from privzoo.architectures.layers import Conv, LayerCost, Pool, classifier_costs, feature_costs
from privzoo.errors import UnknownNameError

ARCHITECTURES: dict[str, ModuleType] = {"vgg16": vgg16, "vgg_s": vgg_s}
MINIMUM_INPUT_SIZE = 48  # pixels; below it VGG-16's pools leave nothing


def layers(architecture: str) -> tuple[Conv | Pool, ...]:
    """Layer table of an architecture.

    Raises:
        UnknownNameError: for any other name than those of `ARCHITECTURES`.
    """
    try:
        return ARCHITECTURES[architecture].LAYERS
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        raise UnknownNameError(f"There is no architecture {architecture!r}; the zoo has {known}.") from None


def cuts(architecture: str) -> tuple[str, ...]:
    """Names of the layers after which an architecture may be split."""
    layers(architecture)
    return ARCHITECTURES[architecture].CUTS


def trunk(architecture: str) -> str:
    """Name of the last layer that fine-tuned networks share with their parent, as far as their configs leave it so."""
    layers(architecture)
    return ARCHITECTURES[architecture].TRUNK


def costs(architecture: str, input_size: int, classes: int, classifier: Sequence[int] = ()) -> list[LayerCost]:
    """Shape, parameters and multiply-adds of every layer, without building the network.

    Args:
        architecture: `vgg16` or `vgg_s`.
        input_size: side of the square input in pixels.
        classes: width of the last layer, `fc8`.
        classifier: widths of `fc6` and `fc7`, (4096, 4096) as published; empty: average pooling, then `fc8`.
    """
    features = feature_costs(layers(architecture), input_size)
    side, _, channels = features[-1].shape
    return features + classifier_costs(side * side * channels if classifier else channels, classifier, classes)


def check_cut(architecture: str, cut: str) -> None:
    """Raises UnknownNameError unless an architecture has the cut."""
    if cut not in cuts(architecture):
        raise UnknownNameError(
            f"{architecture} has no cut {cut!r}; it can be cut after {', '.join(cuts(architecture))}."
        )
