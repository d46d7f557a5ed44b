"""The recipe for DataMix: mixing-aware training, from the trained network (Liu et al. 2020, section 4.2).

Each batch goes through pre, is mixed in groups with fresh secret coefficients, goes through main as mixtures, is
unmixed, and goes through post to the loss of each face's own label. All three parts are trained, as in the paper: what
pre costs is a few percent of a step, while its outputs are larger than main's whole work could save (at one block
1.2 MB for each version of each face, so that they are computed rather than stored).

Mixing is linear; a bias is not, and neither is batch norm. A network of the zoo has batch norm folded into its biases,
which are made for faces, not for mixtures: coefficients add up to anything, so that main meets faces that are faint,
strong and negative. So batch norm is put back before training, with the statistics of faces, which changes nothing; in
training it comes to have those of mixtures, and it is folded again afterwards. At inference main is then a network of
convolutions and biases like any other. What remains is that main is not linear: training makes the unmixed outputs
tell the classes, and how well is measured, not proved.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo import config as configs
from privzoo.architectures import graph
from privzoo.config import Augmentation, MixingConfig, NetworkConfig, SpeechAugmentation, Stage
from privzoo.data import Dataset
from privzoo.errors import ConfigError, DataError
from privzoo.mechanisms import mixing
from privzoo.training import primary
from privzoo.training.batches import PlainBatches, TrainingBatches, steps
from privzoo.training.checkpoint import fit
from privzoo.training.opening import opened

IMAGE, COEFFICIENTS, INVERSE = "image", "coefficients", "inverse"  # inputs of the network in training


@keras.saving.register_keras_serializable(package="privzoo")
class Combine(keras.layers.Layer):
    """Linear combinations of a batch: coefficients (N, N) times x (N, ...)."""

    def call(self, coefficients: Any, x: Any) -> Any:
        """The combinations, of x's shape."""
        return keras.ops.tensordot(coefficients, x, axes=1)

    def compute_output_spec(self, coefficients: Any, x: Any) -> keras.KerasTensor:
        """Of x's shape, whatever the size of its images."""
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


def blocks(settings: MixingConfig, count: int, rng: random.Random, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a batch, whose groups are consecutive, and what undoes them.

    Args:
        settings: size and kind of the groups.
        count: faces in the batch, a multiple of the size.
        rng: the random source.
        share: below 1, coefficients of `eased`.

    Returns:
        Two float32 arrays (count, count), zero outside the groups' blocks; the second is the first one's inverse.
    """
    mixed, unmixed = np.zeros((2, count, count), np.float32)
    for start in range(0, count, settings.group):
        place = slice(start, start + settings.group)
        drawn = mixing.draw(settings.group, settings.coefficients, rng)
        drawn = eased(drawn, share, rng) if share < 1 else drawn
        mixed[place, place], unmixed[place, place] = drawn, np.linalg.inv(drawn)
    return mixed, unmixed


def eased(drawn: np.ndarray, share: float, rng: random.Random) -> np.ndarray:
    """Orthogonal coefficients between single faces of either sign (share 0) and any mixture (share 1).

    A network that knows faces learns first what their negatives are, then what sums are, and can keep its features.

    Args:
        drawn: of the Haar measure, (size, size).
        share: 0..1.
        rng: the random source.

    Returns:
        The orthogonal matrix nearest to the weighted sum of `drawn` and a random permutation with random signs.
    """
    size = len(drawn)
    single = np.eye(size)[rng.sample(range(size), size)] * np.array([rng.choice((-1.0, 1.0)) for _ in range(size)])
    u, _, v = np.linalg.svd((1 - share) * single + share * drawn)
    return u @ v


def _inputs(images: np.ndarray, settings: MixingConfig, *seed: int, share: float = 1.0) -> dict[str, np.ndarray]:
    mixed, unmixed = blocks(settings, len(images), random.Random(" ".join(map(str, seed))), share)
    return {IMAGE: images, COEFFICIENTS: mixed, INVERSE: unmixed}


class MixedBatches(TrainingBatches):
    """Training batches with coefficients for each group, which also depend only on seed, epoch and batch.

    Args:
        chips, labels, batch_size, size, augmentation, seed, epoch: as of `TrainingBatches`; a batch is cut to whole
            groups.
        settings: size and kind of the groups.
        epochs: of the whole run, over which the mixtures are eased.
    """

    def __init__(
        self,
        chips: np.ndarray,
        labels: dict[str, np.ndarray],
        batch_size: int,
        size: int | None,
        augmentation: Augmentation | SpeechAugmentation,
        seed: int,
        epoch: int,
        settings: MixingConfig,
        epochs: int,
    ):
        super().__init__(chips, labels, whole_groups(batch_size, len(chips), settings), size, augmentation, seed, epoch)
        self.settings, self.epochs = settings, epochs

    def __getitem__(  # type: ignore[override]  # Keras takes both
        self, index: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Batch `index` of the current epoch."""
        images, labels = super().__getitem__(index)
        done = (self.epoch + index / len(self)) / self.epochs
        share = min(1.0, done / self.settings.easing) if self.settings.easing else 1.0
        return _inputs(images, self.settings, self.seed, self.epoch, index, share=share), labels


class PlainMixedBatches(PlainBatches):
    """Whole chips in random groups, always the same ones with the same coefficients: for validation.

    Args:
        chips, size, batch_size, labels: as of `PlainBatches`; the chips that complete no group are left out.
        settings: size and kind of the groups.
        seed: of groups and coefficients.
    """

    def __init__(
        self,
        chips: np.ndarray,
        size: int | None,
        batch_size: int,
        labels: dict[str, np.ndarray] | None,
        settings: MixingConfig,
        seed: int,
    ):
        # Data sets are sorted by label, and a group of one class would be easy.
        self.order = np.random.default_rng(seed).permutation(len(chips))[
            : len(chips) // settings.group * settings.group
        ]
        chosen = None if labels is None else {name: values[self.order] for name, values in labels.items()}
        super().__init__(chips[self.order], size, whole_groups(batch_size, len(chips), settings), chosen)
        self.settings, self.seed = settings, seed

    def __getitem__(self, index: int) -> Any:
        """Batch `index`: images with coefficients, and labels if any."""
        found = super().__getitem__(index)
        images, labels = found if isinstance(found, tuple) else (found, None)
        inputs = _inputs(images, self.settings, self.seed, -1, index)
        return inputs if labels is None else (inputs, labels)


def whole_groups(batch_size: int, count: int, settings: MixingConfig) -> int:
    """Images in a batch: as many as asked for or as there are, in whole groups, of which there is at least one."""
    return max(settings.group, min(batch_size, count) // settings.group * settings.group)


def even_groups(batch_size: int, count: int, settings: MixingConfig) -> int:
    """As `whole_groups`, but the largest number of images that makes all batches of one size.

    Keras fixes the size of the coefficients, which depends on that of the batch, by the first batches.
    """
    groups, most = count // settings.group, whole_groups(batch_size, count, settings) // settings.group
    return settings.group * max((n for n in range(1, most + 1) if groups % n == 0), default=1)


def check(config: NetworkConfig) -> tuple[MixingConfig, NetworkConfig]:
    """Settings and parent of a network; raises ConfigError for what this recipe cannot do."""
    settings = configs.given(config.mixing, f"{config.name} is not trained on mixtures")
    if not config.parent:
        raise ConfigError(f"{config.name} is trained on mixtures, but has no parent; give the network to start from.")
    parent = configs.network(config.parent)
    # With average pooling the same weights take any size.
    sized = ("input_size",) if config.classifier else ()
    for name in ("architecture", "task", "classes", "output", "classifier", "lrn", *sized):
        if getattr(parent, name) != getattr(config, name):
            raise ConfigError(f"{config.name} and its parent {parent.name} differ in {name}; make them the same.")
    if config.training.start:
        raise ConfigError(f"{config.name} starts from its parent: start cannot be given.")
    return settings, parent


def build(config: NetworkConfig) -> keras.Model:
    """The network as it is trained: mixed after pre, unmixed before post; batch norm, dropout, logits.

    Returns:
        `image` (N, S, S, 3), `coefficients` and `inverse` (N, N) -> logits under `fc8`, and auxiliary outputs, for the
        images themselves. Its weights are fresh.

    Raises:
        ConfigError: no such blocks, an unknown parent, or one that differs.
    """
    settings, _ = check(config)
    pre, main, post = graph.parts(whole := primary.build(config, config.training), settings.blocks)
    image = x = keras.Input(whole.input.shape[1:], name=IMAGE)
    mixed, unmixed = keras.Input((None,), name=COEFFICIENTS), keras.Input((None,), name=INVERSE)
    for layer in pre:
        x = layer(x)
    x = Combine(name="mix", dtype=config.training.precision)(mixed, x)
    for layer in main:
        x = layer(x)
    x = Combine(name="unmix", dtype="float32")(unmixed, x)
    outputs = {}
    for layer in post:
        if isinstance(layer, keras.layers.Dense):  # fc8 and the auxiliary outputs share what comes before
            outputs[layer.name] = layer(x)
        else:
            x = layer(x)
    return keras.Model({IMAGE: image, COEFFICIENTS: mixed, INVERSE: unmixed}, outputs, name=config.architecture)


def start(network: keras.Model, config: NetworkConfig, chips: np.ndarray) -> None:
    """Fills a network of `build` with its parent's weights; auxiliary outputs keep their fresh ones.

    Raises:
        WeightsError: the parent's weights are missing or damaged.
    """
    check(config)
    primary.start_from_parent(network, config, chips)


def answers(
    network: keras.Model, settings: MixingConfig, chips: np.ndarray, size: int | None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A network's answers by way of mixtures, in float32, with groups and coefficients of a seed.

    Args:
        network: of `graph.inference_network`.
        settings: which part sees mixtures, and how they are made.
        chips: uint8 (N, side, side, 3), or clips, int16 (N, 16000).
        size: side of the network's input in pixels; None for clips.
        seed: of groups and coefficients.

    Returns:
        Probabilities (M, classes), and the numbers of the M chips that they are for: all but those that complete no
        group.
    """
    batches = PlainMixedBatches(chips, size, inference_batch(settings), None, settings, seed)
    pre, main, post = graph.split3(network, settings.blocks)
    found = []
    for index in range(len(batches)):
        inputs = batches[index]
        features = keras.ops.convert_to_numpy(pre(inputs[IMAGE], training=False))
        mixtures = np.tensordot(inputs[COEFFICIENTS], features, 1)
        hidden = np.tensordot(inputs[INVERSE], keras.ops.convert_to_numpy(main(mixtures, training=False)), 1)
        found.append(keras.ops.convert_to_numpy(post(hidden, training=False)))
    return np.concatenate(found), batches.order


def inference_batch(settings: MixingConfig) -> int:
    """Images that go through the network at once where nothing is trained, in whole groups."""
    return whole_groups(64, 64, settings)


def train(config: NetworkConfig, train_set: Dataset, validation_set: Dataset, run: Path) -> keras.Model:
    """Trains a network on mixtures, from its last finished epoch if the run was interrupted.

    Args:
        config: the network, with `mixing` and a released `parent`.
        train_set, validation_set: of `privzoo.data`, with the labels that the config names. Of the validation set the
            faces that complete no group are left out.
        run: folder for checkpoints, `log.csv`, `curves.png` and `record.json`.

    Returns:
        The trained network, as `build` gives it.

    Raises:
        ConfigError, WeightsError, DataError: each says what to correct.
    """
    training, (settings, _) = config.training, check(config)
    begun = opened(config, train_set, validation_set, run)
    checkpoint, chips, validation_chips = begun.checkpoint, begun.chips, begun.validation_chips
    if min(len(chips), len(validation_chips)) < settings.group:
        raise DataError(
            f"{train_set.name} has {len(chips)} images to train on and {len(validation_chips)} to validate on; a group "
            f"of {settings.group} needs as many of each."
        )
    network = build(config)
    batch = whole_groups(training.batch_size, len(chips), settings)
    validated = even_groups(batch, len(validation_chips), settings)
    epochs = sum(stage.epochs for stage in training.stages)
    primary.compile_network(network, config, epochs * steps(len(chips), batch))
    if not checkpoint.resume(network):
        start(network, config, chips)
    wanted = primary.targets(begun.labels, config.task, training.auxiliary)
    validation_wanted = primary.targets(begun.validation_labels, config.task, training.auxiliary)

    def batches(stage: Stage, first: int) -> tuple[MixedBatches, PlainMixedBatches]:
        size = stage.input_size
        trained = MixedBatches(chips, wanted, batch, size, training.changes, training.seed, first, settings, epochs)
        return trained, PlainMixedBatches(validation_chips, size, validated, validation_wanted, settings, training.seed)

    fit(network, config, batches, checkpoint, begun.counts)
    return network
