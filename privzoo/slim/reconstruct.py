"""The weights of a slim head before any training: every layer fitted, by least squares, to the parent's output.

From front to back, each convolution of the slim head gets the outputs of the slim layers before it, and is fitted to
the output of the parent's convolution before its ReLU (He et al. 2017, section 3.2): so errors do not accumulate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from absl import logging

from privzoo.slim import patches
from privzoo.slim.patches import Stage

STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # tried if there are fewer images than weights
RIDGE = 1e-3  # of the mean variance: how strongly the parent's own weights are kept


def solve(
    seen: np.ndarray, wanted: np.ndarray, start: np.ndarray, strength: float = RIDGE
) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares weights, close to given ones where the data do not determine them.

    Args:
        seen: float (R, inputs).
        wanted: float (R, outputs).
        start: float (inputs, outputs).
        strength: of the ridge that keeps the weights close to `start`, as a share of the mean variance.

    Returns:
        Weights float64 (inputs, outputs), biases (outputs,), and the share of the variance of `wanted` that is left.
    """
    middle, centre = seen.mean(0, dtype=np.float64), wanted.mean(0, dtype=np.float64)
    x, y = seen - middle.astype(np.float32), wanted - centre.astype(np.float32)
    square = (x.T @ x).astype(np.float64)
    ridge = strength * max(np.trace(square) / len(square), 1e-12)
    left = y - x @ start.astype(np.float32)
    kernel = start + np.linalg.solve(square + ridge * np.eye(len(square)), (x.T @ left).astype(np.float64))
    left = y - x @ kernel.astype(np.float32)
    share = float(np.square(left).sum(dtype=np.float64) / max(np.square(y).sum(dtype=np.float64), 1e-300))
    return kernel, centre - middle @ kernel, share


def reconstruct(
    parent: Sequence[Stage], slim: Sequence[Stage], kept: Mapping[str, np.ndarray], images: np.ndarray, seed: int
) -> dict[str, float]:
    """Fills a slim head's layers.

    Args:
        parent: stages of the parent's head.
        slim: stages of the slim one; their weights are overwritten.
        kept: name of a convolution -> the parent's output channels that the slim one has, int.
        images: as for `slim_channels.orders`.
        seed: of the positions.

    Returns:
        Name of each convolution -> share of the variance of its output that is left.
    """
    rng, left = np.random.default_rng(seed), {}
    theirs, ours, inputs = images, images, np.arange(images.shape[-1])
    for old, new in zip(parent[:-1], slim[:-1], strict=True):
        theirs, ours = patches.run(old.between, theirs), patches.run(new.between, ours)
        layer, outputs = old.convolution, kept[old.convolution.name]
        where = patches.positions(patches.output_shape(layer, theirs.shape[1:3]), len(theirs), rng)
        kernel = keras.ops.convert_to_numpy(layer.kernel)[..., outputs]
        bias = keras.ops.convert_to_numpy(layer.bias)[outputs]
        matrix = patches.kernel_matrix(kernel).astype(np.float32)
        wanted = np.concatenate(
            [
                patches.patches(theirs[i : i + 64], layer, where[i : i + 64]) @ matrix + bias
                for i in range(0, len(theirs), 64)
            ]
        )
        start = patches.kernel_matrix(kernel[:, :, inputs])
        fitted, biases, share = solve(patches.patches(ours, new.convolution, where), wanted, start)
        new.convolution.kernel.assign(fitted.reshape(new.convolution.kernel.shape).astype(np.float32))
        new.convolution.bias.assign(biases.astype(np.float32))
        left[layer.name] = round(share, 5)
        logging.info("%s: %d of %d channels, %.4f left.", layer.name, len(outputs), layer.filters, share)
        theirs, ours, inputs = patches.run([layer], theirs), patches.run([new.convolution], ours), outputs
    last, new = parent[-1], slim[-1]
    theirs, ours = patches.run(last.between, theirs), patches.run(new.between, ours)
    left[last.convolution.name] = _fit_reduction(last, new, theirs, ours, inputs)
    logging.info("%s: %.4f left.", last.convolution.name, left[last.convolution.name])
    return left


def _fit_reduction(old: Stage, new: Stage, theirs: np.ndarray, ours: np.ndarray, inputs: np.ndarray) -> float:
    """One factor for each channel and component: there are fewer images than the reduction has weights."""
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in (old.convolution.kernel, old.convolution.bias))
    start = np.array(kernel[:, :, inputs], np.float64)
    biases, errors, variance = np.zeros(len(bias)), 0.0, 0.0
    for component in range(kernel.shape[-1]):
        own = slice(component, component + 1)
        wanted = np.einsum("nhwc,hwck->nk", theirs.astype(np.float32), kernel[..., own], optimize=True)
        seen = np.einsum("nhwc,hwc->nc", ours.astype(np.float32), start[..., component].astype(np.float32))
        factors, offset, share = _solve_checked(seen, wanted)
        start[..., component] *= factors[:, 0]
        biases[component] = offset[0] + bias[component]
        errors, variance = errors + share * wanted.var(), variance + wanted.var()
    new.convolution.kernel.assign(start.astype(np.float32))
    new.convolution.bias.assign(biases.astype(np.float32))
    return round(float(errors / max(variance, 1e-300)), 5)


def _solve_checked(seen: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """As `solve` from ones, with the ridge that does best on a quarter of the images that is held out for it."""
    fitted, start = len(seen) * 3 // 4, np.ones((seen.shape[1], 1))

    def error(strength: float) -> float:
        factors, offset, _ = solve(seen[:fitted], wanted[:fitted], start, strength)
        return float(np.square(seen[fitted:] @ factors + offset - wanted[fitted:]).mean())

    return solve(seen, wanted, start, min(STRENGTHS, key=error))
