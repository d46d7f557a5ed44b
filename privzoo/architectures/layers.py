"""The layer tables from which every network is built, and what each layer costs: no Keras here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """A convolution followed by ReLU."""

    name: str
    filters: int
    kernel: int
    stride: int = 1
    padding: str = "same"  # "same" or "valid"
    lrn: bool = False  # local response normalisation follows in the published network


@dataclass(frozen=True)
class Pool:
    """Max pooling; with `ceil`, a window that passes the border counts, as in Caffe."""

    name: str
    size: int
    stride: int
    ceil: bool = False
    same: bool = False  # padded so that the side is divided by the stride and rounded up


@dataclass(frozen=True)
class Residual:
    """Two 3x3 convolutions and a shortcut around them (He et al. 2016, Figure 2); ReLU after each.

    If they change the shape, the shortcut is a 1x1 convolution (their option B), otherwise nothing.
    """

    name: str
    filters: int
    stride: int = 1  # of the first convolution and of the shortcut

    def convolutions(self, channels: int) -> tuple[Conv, Conv, Conv | None]:
        """The first and second convolution, and the shortcut's, for an input with so many channels."""
        changed = self.stride != 1 or channels != self.filters
        return (
            Conv(f"{self.name}_a", self.filters, 3, self.stride),
            Conv(f"{self.name}_b", self.filters, 3),
            Conv(f"{self.name}_shortcut", self.filters, 1, self.stride) if changed else None,
        )


Layer = Conv | Pool | Residual


@dataclass(frozen=True)
class LayerCost:
    """What one layer gives and costs for one image."""

    name: str
    shape: tuple[int, ...]  # of its output, without the batch: (height, width, channels) or (units,)
    parameters: int  # weights and biases, batch norm folded away
    multiply_adds: int


def ceil_padding(side: int, pool: Pool) -> int:
    """Rows that a ceiling pool needs below (and columns right of) an input of `side` pixels."""
    if not pool.ceil or side <= pool.size:
        return max(0, pool.size - side) if pool.ceil else 0
    return (math.ceil((side - pool.size) / pool.stride) * pool.stride + pool.size) - side


def output_side(side: int, layer: Layer) -> int:
    """Height (or width) of a layer's output for an input of `side` pixels."""
    if isinstance(layer, Residual) or (layer.same if isinstance(layer, Pool) else layer.padding == "same"):
        return math.ceil(side / layer.stride)
    if isinstance(layer, Pool):
        return (side + ceil_padding(side, layer) - layer.size) // layer.stride + 1
    return (side - layer.kernel) // layer.stride + 1


def _convolution(layer: Conv, channels: int, sides: tuple[int, ...]) -> tuple[int, int]:
    """Parameters and multiply-adds of a convolution of an input with so many channels, whose output has these sides."""
    weights = layer.kernel * layer.kernel * channels * layer.filters
    return weights + layer.filters, weights * math.prod(sides)


def feature_costs(layers: Sequence[Layer], input_shape: tuple[int, int, int]) -> list[LayerCost]:
    """Cost of each entry of a table.

    Args:
        layers: the table, input first.
        input_shape: height, width and channels of the input.

    Returns:
        One `LayerCost` per entry; multiply-adds as in DataMix's Table 1 (biases, ReLU and sums not counted).
    """
    *sides, channels = input_shape
    costs = []
    for layer in layers:
        sides = [output_side(side, layer) for side in sides]
        found: list[tuple[int, int]] = []
        if isinstance(layer, Conv):
            found = [_convolution(layer, channels, (*sides,))]
        elif isinstance(layer, Residual):
            first, second, shortcut = layer.convolutions(channels)
            inputs = ((first, channels), (second, layer.filters), (shortcut, channels))
            found = [_convolution(conv, into, (*sides,)) for conv, into in inputs if conv]
        if not isinstance(layer, Pool):
            channels = layer.filters
        parameters, multiply_adds = (sum(column) for column in zip(*found, strict=True)) if found else (0, 0)
        costs.append(LayerCost(layer.name, (*sides, channels), parameters, multiply_adds))
    return costs


def classifier_costs(inputs: int, widths: Sequence[int], classes: int) -> list[LayerCost]:
    """Cost of the dense layers `fc6`, `fc7` (as many as there are widths) and `fc8`."""
    costs = []
    for name, units in zip([*(f"fc{6 + i}" for i in range(len(widths))), "fc8"], [*widths, classes], strict=True):
        costs.append(LayerCost(name, (units,), inputs * units + units, inputs * units))
        inputs = units
    return costs
