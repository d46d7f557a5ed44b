"""Fits reduced and noisy embeddings to training features (Osia et al. 2017, sections III.B and III.C).

A feature x becomes a code by PCA or an auto-encoder; a linear map makes the code's components uncorrelated, of mean 0
and standard deviation 1, and shrinks those that say little about the class; the device rounds the result, or clips it
and adds noise; the tail estimates the code from what arrives, with the smallest mean squared error of any linear map,
and x from the code. All linear steps on the device are one layer of the head, and all in the cloud one of the tail.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from privzoo.architectures import graph
from privzoo.config import ModelConfig, NoiseConfig, given
from privzoo.errors import ConfigError
from privzoo.mechanisms.gaussian import Noise, clip, protect

ROWS = 512  # features in memory at once
PCA_ROWS = 50_000  # features that give the principal components; 4 GB of VGG-16's at 96 px
LEAST_RELEVANCE = 1e-4  # share of variance; keeps the map invertible
# The auto-encoder starts at the PCA, so that little is left to learn.
EPOCHS, BATCH, LEARNING_RATE, RECONSTRUCTION = 5, 128, 1e-4, 1.0
NOISY_COPIES = 4  # draws of the noise per face on which the classifier is fitted


@dataclass(frozen=True)
class Linear:
    """An affine map: row vectors x -> x @ kernel + bias."""

    kernel: np.ndarray  # float64 (inputs, outputs)
    bias: np.ndarray  # float64 (outputs,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Maps float rows (N, inputs)."""
        return np.asarray(x, np.float64) @ self.kernel + self.bias

    def then(self, other: Linear) -> Linear:
        """This map and then the other, as one."""
        return Linear(self.kernel @ other.kernel, other(self.bias[None])[0])

    def inverse(self) -> Linear:
        """The map back, of a square one."""
        kernel = np.linalg.inv(self.kernel)
        return Linear(kernel, -self.bias @ kernel)


def rows(features: np.ndarray, chosen: np.ndarray | slice) -> np.ndarray:
    """Some features as float32 vectors (N, D)."""
    part = np.asarray(features[chosen], np.float32)
    return part.reshape(len(part), -1)


def mapped(features: np.ndarray, linear: Linear) -> np.ndarray:
    """Codes of all features, float64 (N, k), piece by piece."""
    return np.concatenate([linear(rows(features, slice(i, i + ROWS))) for i in range(0, len(features), ROWS)])


def principal(features: np.ndarray, dimensions: int, seed: int) -> tuple[Linear, Linear]:
    """Principal components, by randomized singular values: minutes faster than the incremental ones, and as exact.

    Args:
        features: (N, ...) on disk or in memory, of training data; more than `PCA_ROWS` are sampled.
        dimensions: k.
        seed: of the sample and of the solver.

    Returns:
        Map of a feature as a vector (D,) to its first k principal components, and back.

    Raises:
        ConfigError: fewer features, or values in one, than components.
    """
    from sklearn.decomposition import PCA

    width = int(np.prod(features.shape[1:]))
    if dimensions > min(len(features), width):
        raise ConfigError(f"{len(features)} features of {width} values do not have {dimensions} principal components.")
    # Sorted, the file is read from front to back.
    chosen = np.sort(np.random.default_rng(seed).permutation(len(features))[:PCA_ROWS])
    pca = PCA(dimensions, svd_solver="randomized", random_state=seed % 2**32).fit(rows(features, chosen))
    components = pca.components_.astype(np.float64)
    return Linear(components.T, -pca.mean_ @ components.T), Linear(components, pca.mean_.astype(np.float64))


class _Batches(keras.utils.PyDataset):
    """Shuffled features with their labels, and with themselves as what to reconstruct."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, seed: int):
        super().__init__()
        self.features, self.labels, self.rng = features, labels, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self.labels) // BATCH)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        chosen = np.sort(self.order[index * BATCH : (index + 1) * BATCH])
        x = np.asarray(self.features[chosen], np.float32)
        return x, {"probabilities": self.labels[chosen], "reconstructed": x}

    def on_epoch_end(self) -> None:
        self.order = self.rng.permutation(len(self.labels))


def autoencoder(
    start: tuple[Linear, Linear], features: np.ndarray, labels: np.ndarray, tail: keras.Model, seed: int
) -> tuple[Linear, Linear]:
    """Trains reduction and reconstruction end to end: the task's loss through the tail, and the squared error.

    Args:
        start: of `principal`.
        features: (N, h, w, c) of training data.
        labels: primary class, int (N,).
        tail: features -> probabilities; it stays as it is.
        seed: of the order.

    Returns:
        Maps as of `principal`.
    """
    tail.trainable = False
    shape = features.shape[1:]
    x = keras.Input(shape, name="features")
    down = keras.layers.Dense(start[0].kernel.shape[1], name="reduce")
    up = keras.layers.Dense(start[1].kernel.shape[1], name="reconstruct")
    seen = keras.layers.Reshape(shape, name="reconstructed")(up(down(keras.layers.Flatten(name="vector")(x))))
    model = keras.Model(x, {"probabilities": tail(seen), "reconstructed": seen})
    for layer, linear in ((down, start[0]), (up, start[1])):
        layer.set_weights([linear.kernel, linear.bias])
    sample = rows(features, np.sort(np.random.default_rng(seed).permutation(len(features))[:ROWS]))
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        loss={"probabilities": "sparse_categorical_crossentropy", "reconstructed": "mean_squared_error"},
        # In units of the features' own variance, so that the two losses are of one order.
        loss_weights={"probabilities": 1.0, "reconstructed": RECONSTRUCTION / max(float(sample.var(0).mean()), 1e-12)},
        jit_compile=keras.backend.backend() == "jax",
    )
    keras.utils.set_random_seed(seed)
    model.fit(_Batches(features, labels, seed), epochs=EPOCHS, shuffle=False, verbose="auto")
    kernels = [[np.asarray(w, np.float64) for w in layer.get_weights()] for layer in (down, up)]
    return Linear(*kernels[0]), Linear(*kernels[1])


def scaling(codes: np.ndarray, labels: np.ndarray, relevance: float) -> tuple[Linear, np.ndarray]:
    """Map that makes codes uncorrelated, of mean 0 and standard deviation 1, and then shrinks them by their relevance.

    Args:
        codes: float (N, k) of training data.
        labels: primary class, int (N,).
        relevance: exponent r. 0 shrinks nothing. Otherwise the components are rotated so that the first separates the
            classes most, and each is multiplied by (share of its variance that the classes explain) ** (r / 2): equal
            noise on all then costs the classes little and hides the rest.

    Returns:
        The map, and the share of each component's variance that the classes explain, largest first if rotated.
    """
    mean = codes.mean(0)
    values, vectors = np.linalg.eigh(np.cov(codes.T, ddof=0).reshape(codes.shape[1], codes.shape[1]))
    whiten = (vectors / np.sqrt(np.maximum(values, values.max() * 1e-12)))[:, ::-1]
    white = (codes - mean) @ whiten
    between = sum(
        np.mean(labels == label) * np.outer(m, m)
        for label in np.unique(labels)
        for m in (white[labels == label].mean(0),)
    )
    share = np.diag(between)
    if relevance:
        share, turn = np.linalg.eigh(between)
        share, turn = share[::-1], turn[:, ::-1]
        whiten = whiten @ turn * np.clip(share, LEAST_RELEVANCE, 1) ** (relevance / 2)
    return Linear(whiten, -mean @ whiten), share


def estimate(codes: np.ndarray, sent: np.ndarray, sigma: float) -> Linear:
    """Linear map from what arrives to the code, of least mean squared error (Wiener's filter).

    Args:
        codes: what is wanted, float (N, k).
        sent: what is sent, clipped or rounded, before noise, float (N, k).
        sigma: standard deviation of the noise added to it.
    """
    centre, middle = sent.mean(0), codes.mean(0)
    covariance = (sent - centre).T @ (sent - centre) / len(sent) + sigma**2 * np.eye(sent.shape[1])
    # The pseudo-inverse: a component that is always rounded to one value carries no information.
    kernel = np.linalg.pinv(covariance, hermitian=True) @ ((sent - centre).T @ (codes - middle) / len(sent))
    return Linear(kernel, middle - centre @ kernel)


def fit(
    model: ModelConfig,
    features: np.ndarray,
    labels: np.ndarray,
    tail: keras.Model,
    seed: int,
    basis: tuple[Linear, Linear] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fits a model's arrays.

    Args:
        model: with `dimensions`, and with `noise` for a noisy one.
        features: of the cut, (N, h, w, c), of training data.
        labels: primary class, int (N,).
        tail: features -> probabilities, as the cut left it.
        seed: of all that is random here.
        basis: maps of `basis_of`, if already computed.

    Returns:
        Arrays as `privzoo.embeddings.reduced` takes them, and facts for the record.
    """
    down, up = basis or basis_of(model, features, labels, tail, seed)
    codes = mapped(features, down)
    scale, share = scaling(codes, labels, model.relevance)
    facts: dict[str, Any] = {"variance_explained_by_class": [round(max(0.0, float(s)), 4) for s in share]}
    if model.step:
        scale = Linear(scale.kernel / model.step, scale.bias / model.step)
    reduced = scale(codes)
    back = scale.inverse()
    if model.step:
        reduced = np.rint(reduced)
        back = estimate(codes, reduced, 0.0)
        facts["levels"] = [len(np.unique(column)) for column in reduced.T]
    if model.noise:
        back = estimate(codes, clip(reduced, model.noise.clip), model.noise.sigma)
        norms = np.linalg.norm(reduced, axis=1)
        facts["share_clipped"] = round(float(np.mean(norms > model.noise.clip)), 4)
        facts["norm_quantiles"] = {q: round(float(np.quantile(norms, q / 100)), 3) for q in (50, 90, 99)}
    reduce, reconstruct = down.then(scale), back.then(up)
    arrays = {
        "reduce/kernel": reduce.kernel,
        "reduce/bias": reduce.bias,
        "reconstruct/kernel": reconstruct.kernel,
        "reconstruct/bias": reconstruct.bias,
    }
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    if model.refit:
        arrays |= refitted(arrays, noisy(reduced, model.noise, seed, NOISY_COPIES), labels, tail)
    return arrays, facts


def basis_of(
    model: ModelConfig, features: np.ndarray, labels: np.ndarray, tail: keras.Model, seed: int
) -> tuple[Linear, Linear]:
    """Reduction and reconstruction before any scaling and noise: all models of one cut and size share them."""
    found = principal(features, given(model.dimensions, f"{model.name} has no dimensions"), seed)
    return found if model.reduction == "pca" else autoencoder(found, features, labels, tail, seed)


def noisy(reduced: np.ndarray, noise: NoiseConfig | None, seed: int, copies: int = 1) -> np.ndarray:
    """What arrives in the cloud, with reproducible noise: for fitting and measuring, not for protection.

    Args:
        reduced: float (N, k).
        noise: of the model; without it, there is one copy.
        seed: of the draws.
        copies: draws per feature, one after the other.

    Returns:
        float32 (copies * N, k).
    """
    if noise is None:
        return reduced.astype(np.float32)
    rng, settings = random.Random(seed), Noise(noise.sigma, noise.clip)
    return np.concatenate([protect(reduced, settings, rng) for _ in range(copies)])


def refitted(
    arrays: dict[str, np.ndarray], arrived: np.ndarray, labels: np.ndarray, tail: keras.Model
) -> dict[str, np.ndarray]:
    """Refits the last layer, by logistic regression on the outputs of the layers before it for what arrives.

    Args:
        arrays: with the reconstruction.
        arrived: float32 (copies * N, k).
        labels: primary class, int (N,).
        tail: features -> probabilities, with the last layer `fc8`.

    Returns:
        `fc8/kernel` float32 (units, classes) and `fc8/bias` (classes,).
    """
    from sklearn.linear_model import LogisticRegression

    layers = graph.layers(tail)
    end = [layer.name for layer in layers].index("fc8")
    body = graph.chain(layers[:end], tail.input_shape[1:], "features", "body")
    parts = (arrived[i : i + BATCH] for i in range(0, len(arrived), BATCH))
    hidden = np.concatenate([_reconstructed(body, arrays, part) for part in parts])
    # Standardised: the solver needs it, and the penalty then means the same at every cut.
    mean, deviation = hidden.mean(0), hidden.std(0)
    deviation[deviation < 1e-6] = 1
    regression = LogisticRegression(max_iter=1000)
    regression.fit((hidden - mean) / deviation, np.tile(labels, len(arrived) // len(labels)))
    kernel = regression.coef_.T / deviation[:, None]
    bias = regression.intercept_ - mean @ kernel
    if kernel.shape[1] == 1:  # two classes have one logit there, the second's over the first's
        kernel, bias = np.concatenate([-kernel, kernel], 1) / 2, np.concatenate([-bias, bias]) / 2
    return {"fc8/kernel": kernel.astype(np.float32), "fc8/bias": bias.astype(np.float32)}


def _reconstructed(body: keras.Model, arrays: dict[str, np.ndarray], arrived: np.ndarray) -> np.ndarray:
    x = arrived @ arrays["reconstruct/kernel"] + arrays["reconstruct/bias"]
    return keras.ops.convert_to_numpy(body(x.reshape(len(x), *body.input_shape[1:]), training=False))
