"""A head taken apart into its convolutions, and their inputs at single positions: the data of the linear fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from privzoo.architectures import graph
from privzoo.errors import ConfigError

BATCH = 64  # images per batch
POSITIONS = 40  # sampled per image and convolution
REDUCE = "reduce"  # the last convolution of a reduced head: as large as its input, so that it has one position


@dataclass(frozen=True)
class Stage:
    """A convolution with the layers between it and the one before: pools, normalisation, padding."""

    between: tuple[keras.layers.Layer, ...]  # they leave the number of channels as it is
    convolution: keras.layers.Conv2D


def stages(head: keras.Model) -> list[Stage]:
    """The convolutions of a reduced head in their order; the last one is the reduction.

    Raises:
        ConfigError: the head does not end with a reduction.
    """
    found: list[Stage] = []
    between: list[keras.layers.Layer] = []
    for layer in graph.layers(head):
        if isinstance(layer, keras.layers.Conv2D):
            found.append(Stage(tuple(between), layer))
            between = []
        else:
            between.append(layer)
    if not found or found[-1].convolution.name != REDUCE:
        raise ConfigError(f"The head {head.name!r} sends an activation; only heads of reduced features are made slim.")
    return found


def run(layers: Sequence[keras.layers.Layer], values: np.ndarray) -> np.ndarray:
    """The outputs of layers, batch by batch, stored as float16 to save space.

    Args:
        layers: in their order.
        values: (N, h, w, c), any number type.
    """
    if not layers:
        return values
    model = graph.chain(layers, values.shape[1:], "values", "piece")
    parts = (values[i : i + BATCH].astype(np.float32) for i in range(0, len(values), BATCH))
    done = [keras.ops.convert_to_numpy(model(part, training=False)) for part in parts]
    return np.concatenate([part.astype(np.float16) for part in done])


def positions(shape: tuple[int, int], images: int, rng: np.random.Generator) -> np.ndarray:
    """Draws positions of a convolution's output, int (images, P, 2): row and column."""
    return np.stack([rng.integers(side, size=(images, POSITIONS)) for side in shape], axis=-1)


def output_shape(layer: keras.layers.Conv2D, shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    if layer.padding == "same":
        return tuple(-(-side // step) for side, step in zip(shape, layer.strides, strict=True))
    return tuple((s - k) // d + 1 for s, k, d in zip(shape, layer.kernel_size, layer.strides, strict=True))


def patches(values: np.ndarray, layer: keras.layers.Conv2D, where: np.ndarray) -> np.ndarray:
    """A convolution's inputs at some positions.

    Args:
        values: its input, (N, h, w, c).
        layer: the convolution; with padding "same", of stride 1, as all of the zoo are.
        where: of `positions`.

    Returns:
        float32 (N * P, rows of the kernel * columns * c), in the order of the kernel's own axes.
    """
    (high, wide), (down, right) = layer.kernel_size, layer.strides
    if layer.padding == "same":
        edges = [((k - 1) // 2, k // 2) for k in (high, wide)]
        values = np.pad(values, [(0, 0), *edges, (0, 0)])
    rows = where[..., 0, None, None] * down + np.arange(high)[:, None]
    columns = where[..., 1, None, None] * right + np.arange(wide)
    found = values[np.arange(len(values))[:, None, None, None], rows, columns]
    return found.reshape(where.shape[0] * where.shape[1], -1).astype(np.float32)


def kernel_matrix(kernel: np.ndarray) -> np.ndarray:
    """A kernel (rows, columns, inputs, outputs) as float64 (rows * columns * inputs, outputs)."""
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def covariance(make: Callable[[slice], np.ndarray], count: int, step: int = 64) -> np.ndarray:
    """Covariance of rows that are made piece by piece, float64 (columns, columns).

    Args:
        make: slice of the images -> rows (R, columns) float32.
        count: of the images.
        step: images in a piece.
    """
    total: float | np.ndarray = 0.0
    square: float | np.ndarray = 0.0
    number = 0
    for start in range(0, count, step):
        rows = make(slice(start, start + step))
        total, square, number = total + rows.sum(0, dtype=np.float64), square + rows.T @ rows, number + len(rows)
    mean = total / number
    return np.asarray(square, np.float64) / number - np.outer(mean, mean)
