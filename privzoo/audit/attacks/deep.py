"""The paper's deep attacker: the rest of the network from a random start (Osia et al. 2017, section IV.A, Figure 6).

The head is frozen; it is followed by the tail's architecture with one output for each person. For raw pixels, where no
tail fits, there is a small convolutional network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.audit.attacks.attackers import Fit, Score, Training, log_loss
from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import keras

EPOCHS, PATIENCE, BATCH, RATE, DROPOUT = 12, 4, 32, 1e-3, 0.3


def tail_layers(tail: keras.Model) -> list[dict[str, Any]]:
    """The architecture of a tail up to its classifier, as plain data and without its weights.

    Args:
        tail: `features` -> probabilities, ending with fc8 and its softmax.
    """
    import keras

    from privzoo.architectures import graph

    chained = graph.layers(tail)
    names = [layer.name for layer in chained]
    if "fc8" not in names:
        raise ConfigError(f"The tail has the layers {', '.join(names)}, but no fc8 for the attacker to replace.")
    return [keras.saving.serialize_keras_object(layer) for layer in chained[: names.index("fc8")]]


def small_network(mirror: bool = True) -> list[dict[str, Any]]:
    """A small convolutional network for grey pixels, as plain data; it shifts its training images at random."""
    import keras

    layers = [keras.layers.RandomTranslation(0.06, 0.06, fill_mode="nearest")]
    if mirror:
        layers.append(keras.layers.RandomFlip("horizontal"))
    for filters in (32, 64, 128, 256):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.MaxPooling2D(2),
        ]
    return [keras.saving.serialize_keras_object(layer) for layer in [*layers, keras.layers.Flatten()]]


def attacker(layers: Sequence[dict[str, Any]], shape: Sequence[int], epochs: int = EPOCHS) -> Fit:
    """A deep attacker for `identity.attack(..., attackers={"deep": ...}, prepared=False)`.

    Args:
        layers: of `tail_layers` or `small_network`.
        shape: of one feature.
        epochs: at most; fewer if the held-out loss stops falling.

    Returns:
        Fits the network with Adam, fresh noise at each epoch, and keeps the weights of the best held-out loss.
    """

    def fit(training: Training) -> Score:
        import keras

        keras.utils.set_random_seed(training.seed)
        learnt, judged = training.parts()
        sample = training.draw(learnt)
        mean, deviation = float(sample.mean()), float(sample.std()) or 1.0

        def inputs(rows: np.ndarray) -> np.ndarray:
            return ((rows - mean) / deviation).reshape(-1, *shape).astype(np.float32)

        model = _build(layers, shape, training.classes)
        model.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        best, weights, since = np.inf, model.get_weights(), 0
        for _ in range(epochs):
            model.fit(inputs(training.draw(learnt)), training.labels[learnt], BATCH, 1, verbose=0)
            scores = model.predict(inputs(training.draw(judged)), verbose=0)
            loss = log_loss(scores, training.labels[judged])
            since += 1
            if loss < best:
                best, weights, since = loss, model.get_weights(), 0
            if since >= PATIENCE:
                break
        model.set_weights(weights)
        return lambda x: model.predict(inputs(x), verbose=0) - np.log(training.counts)

    return fit


def _build(layers: Sequence[dict[str, Any]], shape: Sequence[int], classes: int) -> keras.Model:
    import keras

    from privzoo.architectures import graph  # noqa: F401  # registers its layers with Keras

    rebuilt = [keras.saving.deserialize_keras_object(layer) for layer in layers]
    return keras.Sequential(
        [keras.Input(tuple(shape)), *rebuilt, keras.layers.Dropout(DROPOUT), keras.layers.Dense(classes)]
    )
