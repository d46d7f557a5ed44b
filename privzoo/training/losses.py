"""Losses of the recipes: classification, those that make the features of a class similar (Osia et al. 2017, III.A), and
those of the game between obfuscator and deobfuscator (Leroux et al. 2018, section 2).

The losses of a batch of pairs take the features of the first faces and then of their partners, float32 (2P, d), and
as target float32 (2P, 2): whether the face's pair is similar (1 or 0), and the face's class.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from privzoo.config import NetworkConfig, SiameseConfig, TrainingConfig
from privzoo.outputs import ATTRIBUTES

Loss = Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]
TINY = 1e-12  # keeps the root's gradient finite where two features are the same


def classification(training: TrainingConfig, classes: int) -> Loss:
    """Cross-entropy of logits (N, classes) with labels (N,), smoothed according to the config."""
    if not training.label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)

    def loss(true: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        true = keras.ops.cast(keras.ops.reshape(true, (-1,)), "int32")
        return smoothed(keras.ops.one_hot(true, classes), logits)

    return loss


def attributes(training: TrainingConfig) -> Loss:
    """Cross-entropy of each attribute's logit, mean over attributes: logits (N, A), labels 0 or 1 (N, A).

    Rare attributes are not weighted up: probabilities stay those of the training data, and mean accuracy is what the
    papers report. What that costs where few faces have an attribute, balanced accuracy shows.
    """
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)


def primary(config: NetworkConfig) -> tuple[Loss, str | keras.metrics.Metric]:
    """Loss of a network's primary logits, and the metric that is called accuracy: of attributes, the mean over them."""
    if config.output != ATTRIBUTES:
        return classification(config.training, len(config.classes)), "accuracy"

    def right(true: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        hits = keras.ops.equal(keras.ops.cast(true, "bool"), keras.ops.greater(logits, 0))
        return keras.ops.mean(keras.ops.cast(hits, "float32"), axis=-1)

    return attributes(config.training), keras.metrics.MeanMetricWrapper(right, name="accuracy")


def contrastive(margin: float) -> Loss:
    """Equation 1: squared distance of similar pairs, squared shortfall from the margin of dissimilar ones."""

    def loss(target: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
        first, second = keras.ops.split(features, 2)
        similar = keras.ops.split(target[:, 0], 2)[0]
        squared = keras.ops.sum(keras.ops.square(first - second), axis=1)
        shortfall = keras.ops.relu(margin - keras.ops.sqrt(squared + TINY))
        return similar * squared + (1 - similar) * keras.ops.square(shortfall)

    return loss


def _centred(target: keras.KerasTensor, features: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Features minus the mean of their class in the batch."""
    members = keras.ops.one_hot(keras.ops.cast(target[:, 1], "int32"), classes, dtype="float32")
    counts = keras.ops.maximum(keras.ops.sum(members, axis=0), 1)
    means = keras.ops.matmul(keras.ops.transpose(members / counts), features)
    return features - keras.ops.matmul(members, means)


def within(classes: int) -> Loss:
    """Variance within the classes of a batch over all variance: 0 if each class is one point."""

    def loss(target: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
        inside = keras.ops.sum(keras.ops.square(_centred(target, features, classes)))
        whole = keras.ops.sum(keras.ops.square(features - keras.ops.mean(features, axis=0)))
        return inside / (whole + TINY)

    return loss


def information(classes: int, noise: float) -> Loss:
    """What features reveal besides their class when each value gets Gaussian noise: capacity of that channel, in nats.

    log det(1 + covariance within classes / noise^2) / 2 bounds the information about anything else, identity first, for
    a Gaussian spread. Unlike a distance it captures directions of tiny variance, which an attacker can whiten.
    """

    def loss(target: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
        centred = _centred(target, features, classes) / noise
        # By the batch's Gram matrix: a feature has more values than a batch has faces, and the determinant is the same.
        order = keras.ops.cumsum(keras.ops.ones_like(centred[:, 0]))
        gram = keras.ops.matmul(centred, keras.ops.transpose(centred)) / order[-1]
        identity = keras.ops.cast(keras.ops.equal(order[:, None], order), "float32")
        _, logarithm = keras.ops.slogdet(gram + identity)
        return logarithm / 2

    return loss


def unexplained(original: keras.KerasTensor, rebuilt: keras.KerasTensor) -> keras.KerasTensor:
    """Squared error of each image that was rebuilt, as a share of what the mean image leaves.

    The mean image's error is estimated on the batch, without bias: the variance around its own mean, over N - 1.

    Args:
        original: a batch of at least 2 images or activations, float32 (N, ...).
        rebuilt: of the same shape.

    Returns:
        float32 (N,): 0 for a perfect copy; a mean of 1 over the batch is no better than the mean image.
    """
    axes = tuple(range(1, len(original.shape)))
    error = keras.ops.mean(keras.ops.square(rebuilt - original), axis=axes)
    spread = keras.ops.mean(keras.ops.square(original - keras.ops.mean(original, axis=0, keepdims=True)), axis=axes)
    return error / (keras.ops.sum(spread) / (keras.ops.sum(keras.ops.ones_like(spread)) - 1) + TINY)


def exposed(_: keras.KerasTensor, share: keras.KerasTensor) -> keras.KerasTensor:
    """The obfuscator's part of L_r: how far what was rebuilt is better than the mean image, 0 if it is no better.

    Without this bottom, the error could be raised for ever, which says nothing of what the image reveals.
    """
    return keras.ops.relu(1 - keras.ops.mean(share))


def rebuilding(_: keras.KerasTensor, share: keras.KerasTensor) -> keras.KerasTensor:
    """L_r itself: the mean of `unexplained` over a batch."""
    return keras.ops.mean(share)


def of_pairs(siamese: SiameseConfig, classes: int) -> dict[str, tuple[Loss, float]]:
    """Losses at the cut that the config gives a weight: name -> loss and weight."""
    every = {
        "contrastive": (contrastive(siamese.margin), siamese.contrastive),
        "within": (within(classes), siamese.within),
        "information": (information(classes, siamese.information_noise), siamese.information),
    }
    return {name: (loss, weight) for name, (loss, weight) in every.items() if weight}
