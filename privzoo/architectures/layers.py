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


def output_side(side: int, layer: Conv | Pool) -> int:
    """Height (and width) of a layer's output for a square input of `side` pixels."""
    if isinstance(layer, Pool):
        return (side + ceil_padding(side, layer) - layer.size) // layer.stride + 1
    if layer.padding == "same":
        return math.ceil(side / layer.stride)
    return (side - layer.kernel) // layer.stride + 1


def feature_costs(layers: Sequence[Conv | Pool], input_size: int) -> list[LayerCost]:
    """Cost of each convolution and pool of a table.

    Args:
        layers: the table, input first.
        input_size: side of the square RGB input in pixels.

    Returns:
        One `LayerCost` per entry; multiply-adds as in DataMix's Table 1 (biases and ReLU not counted).
    """
    side, channels, costs = input_size, 3, []
    for layer in layers:
        side = output_side(side, layer)
        if isinstance(layer, Conv):
            weights = layer.kernel * layer.kernel * channels * layer.filters
            channels = layer.filters
            costs.append(LayerCost(layer.name, (side, side, channels), weights + channels, weights * side * side))
        else:
            costs.append(LayerCost(layer.name, (side, side, channels), 0, 0))
    return costs


def classifier_costs(inputs: int, widths: Sequence[int], classes: int) -> list[LayerCost]:
    """Cost of the dense layers `fc6`, `fc7` (as many as there are widths) and `fc8`."""
    costs = []
    for name, units in zip([*(f"fc{6 + i}" for i in range(len(widths))), "fc8"], [*widths, classes], strict=True):
        costs.append(LayerCost(name, (units,), inputs * units + units, inputs * units))
        inputs = units
    return costs
