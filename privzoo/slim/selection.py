"""Which channels a slim head keeps: those without which the feature could not be reconstructed.

A convolution's output is a linear function of its input. So the loss from dropping some of its input channels, with
the others reweighted, is known in closed form (the optimal brain surgeon, Hassibi and Stork 1993; for whole channels
as in He et al. 2017): with W the kernel and H the inverse covariance of its input, dropping the rows
R of W costs trace(W_R' inverse(H_RR) W_R), and what stays becomes W_K - H_KR inverse(H_RR) W_R. Outputs are weighted by
their contribution to the feature. From the costs of all layers, each layer's number of channels is chosen for a budget
of multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from absl import logging

from privzoo import architectures
from privzoo.architectures.layers import Conv
from privzoo.errors import ConfigError
from privzoo.slim import patches
from privzoo.slim.patches import Stage

MULTIPLE = 8  # numbers of channels are multiples of this: int8 kernels process so many at once
LEAST = 1 / 8  # share of its channels that each layer keeps at least
RIDGE = 1e-4  # of the mean variance, added to all: the inverse must exist


@dataclass(frozen=True)
class Order:
    """The order in which a layer's channels may be dropped, and the loss."""

    kept: np.ndarray  # int (C,): channels, the one to keep longest first
    lost: np.ndarray  # float (C + 1,): share of what reads them that is lost with the first 0, 1, .. C kept


def eliminate(covariance: np.ndarray, kernel: np.ndarray, channels: int, least: int, at_once: int = 1) -> Order:
    """Drops channels one after another, each time the cheapest ones.

    Args:
        covariance: of a convolution's input, float64 (positions * channels, same), channels counting fastest.
        kernel: float64 (positions * channels, outputs), each output in units of its weight.
        channels: of the input.
        least: number of channels that stay, whatever they are.
        at_once: channels that go in one step.

    Returns:
        Their order; the loss with fewer than `least` is infinite.
    """
    width = len(covariance) // channels
    total = float(np.einsum("io,ij,jo->", kernel, covariance, kernel, optimize=True))
    ridge = RIDGE * max(np.trace(covariance) / len(covariance), 1e-12)
    # Channel by channel, so that a channel's columns are one block.
    turn = np.arange(len(covariance)).reshape(width, channels).T.ravel()
    inverse = np.linalg.inv(covariance[np.ix_(turn, turn)] + ridge * np.eye(len(covariance)))
    weights, left = kernel[turn], np.arange(channels)
    gone, lost = [], np.full(channels + 1, math.inf)
    lost[channels] = spent = 0.0
    while len(left) > least:
        blocks = inverse.reshape(len(left), width, len(left), width)[np.arange(len(left)), :, np.arange(len(left))]
        rows = weights.reshape(len(left), width, -1)
        costs = np.einsum("cio,cio->c", rows, np.linalg.solve(blocks, rows))
        going = np.argsort(costs, kind="stable")[: min(at_once, len(left) - least)]
        mask = np.zeros(len(left), bool)
        mask[going] = True
        out, stay = np.flatnonzero(np.repeat(mask, width)), np.flatnonzero(np.repeat(~mask, width))
        inner = np.linalg.solve(
            inverse[np.ix_(out, out)], np.concatenate([inverse[np.ix_(out, stay)], weights[out]], 1)
        )
        spent += float(np.sum(weights[out] * inner[:, len(stay) :]))
        weights = weights[stay] - inverse[np.ix_(stay, out)] @ inner[:, len(stay) :]
        inverse = inverse[np.ix_(stay, stay)] - inverse[np.ix_(stay, out)] @ inner[:, : len(stay)]
        gone += left[going].tolist()
        left = left[~mask]
        lost[len(left)] = spent / max(total, 1e-300)
    known = np.flatnonzero(np.isfinite(lost))
    lost[least:] = np.interp(np.arange(least, channels + 1), known, lost[known])
    return Order(np.concatenate([left, np.array(gone[::-1], int)]), lost)


def orders(found: Sequence[Stage], images: np.ndarray, seed: int) -> dict[str, Order]:
    """Orders of the channels of every convolution except the last.

    Args:
        found: of the parent's head.
        images: uint8 or float (N, S, S, 3), training chips as the head gets them.
        seed: of the sampled positions.

    Returns:
        Name of a convolution -> order of its output channels.
    """
    covariances, spreads = [], []
    rng, values = np.random.default_rng(seed), images
    for stage in found[:-1]:
        values, layer = patches.run(stage.between, values), stage.convolution
        where = patches.positions(patches.output_shape(layer, values.shape[1:3]), len(values), rng)

        def seen(
            some: slice, v: np.ndarray = values, k: keras.layers.Conv2D = layer, w: np.ndarray = where
        ) -> np.ndarray:
            return patches.patches(v[some], k, w[some])

        covariances.append(patches.covariance(seen, len(values)))
        matrix = patches.kernel_matrix(keras.ops.convert_to_numpy(layer.kernel))
        spreads.append(np.einsum("io,ij,jo->o", matrix, covariances[-1], matrix, optimize=True))
        logging.info("%s: covariance of %d values.", layer.name, len(matrix))
        values = patches.run([layer], values)
    last = found[-1].convolution
    values = patches.run(found[-1].between, values)
    parts = contributions(values, keras.ops.convert_to_numpy(last.kernel))
    readers = [(np.cov(parts.T, ddof=0), np.ones((parts.shape[1], 1)))]
    chosen: dict[str, Order] = {}
    # From the back, as the weight of an output is what it contributes to those who read it.
    for index in range(len(found) - 2, -1, -1):
        layer, (covariance, kernel) = found[index].convolution, readers[-1]
        channels = layer.filters
        least = max(1, math.ceil(channels * LEAST / MULTIPLE) * MULTIPLE) if channels > MULTIPLE else 1
        chosen[layer.name] = eliminate(covariance, kernel, channels, least, max(1, channels // 64))
        width = len(covariance) // channels
        blocks = covariance.reshape(width, channels, width, channels).transpose(1, 3, 0, 2)
        rows = kernel.reshape(width, channels, -1).transpose(1, 0, 2)
        own = np.einsum("cio,cij,cjo->c", rows, blocks[np.arange(channels), np.arange(channels)], rows, optimize=True)
        weight = np.sqrt(own / np.maximum(spreads[index], 1e-12))
        matrix = patches.kernel_matrix(keras.ops.convert_to_numpy(layer.kernel))
        readers.append((covariances[index], matrix * (weight / max(weight.max(), 1e-300))))
        half = chosen[layer.name].lost[channels // 2]
        logging.info("%s: half of its %d channels lose %.3f of their readers.", layer.name, channels, half)
    return chosen


def contributions(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What each channel adds to each component of the feature, centred; float64 (N * k, channels).

    Args:
        values: input of the reduction, (N, h, w, c).
        kernel: of the reduction, (h, w, c, k).
    """
    parts = [
        np.einsum("nhwc,hwck->nkc", values[i : i + 64].astype(np.float32), kernel, optimize=True)
        for i in range(0, len(values), 64)
    ]
    found = np.concatenate(parts).astype(np.float64)
    return (found - found.mean(0)).reshape(-1, found.shape[-1])


def head_multiply_adds(architecture: str, cut: str, size: int, dimensions: int, channels: Mapping[str, int]) -> int:
    """Multiply-adds of a head with some numbers of channels; without an entry, a layer has its table's."""
    costs = architectures.costs(architecture, size, 2, channels=channels)
    upto = costs[: [cost.name for cost in costs].index(cut) + 1]
    return sum(cost.multiply_adds for cost in upto) + math.prod(upto[-1].shape) * dimensions


def widths(
    chosen: Mapping[str, Order], architecture: str, cut: str, size: int, dimensions: int, budget: float
) -> dict[str, int]:
    """Numbers of channels that keep a budget and lose the least: greedily, by what is lost per multiply-add.

    Args:
        chosen: of `orders`.
        architecture: of the network.
        cut: its last layer on the device.
        size: side of the input in pixels.
        dimensions: of the feature.
        budget: multiply-adds that the head may have.

    Returns:
        Name of a convolution -> its channels.

    Raises:
        ConfigError: no number of channels keeps the budget.
    """
    table = {layer.name: layer.filters for layer in architectures.layers(architecture) if isinstance(layer, Conv)}
    now = {name: table[name] for name in chosen}

    def spent(channels: Mapping[str, int]) -> int:
        return head_multiply_adds(architecture, cut, size, dimensions, channels)

    while (cost := spent(now)) > budget:
        best = None
        for name, order in chosen.items():
            fewer = {**now, name: (now[name] - 1) // MULTIPLE * MULTIPLE}
            if fewer[name] < 1 or not math.isfinite(order.lost[fewer[name]]):
                continue
            loss = (order.lost[fewer[name]] - order.lost[now[name]]) / (cost - spent(fewer))
            if best is None or loss < best[0]:
                best = loss, fewer
        if best is None:
            raise ConfigError(
                f"No head cut after {cut} has {budget:,.0f} multiply-adds or fewer; the slimmest has {cost:,}."
            )
        now = best[1]
    return now
