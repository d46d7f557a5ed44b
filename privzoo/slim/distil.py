"""A slim head learns its parent's feature: no labels, only the parent's features (Hinton et al. 2015).

The loss is the squared error of the feature, before rounding and noise, in units of its variance over all components:
components that the model shrank, as they say little about the class, drown in the noise and count as little here. The
divergence of the fixed tail's answers to the two features, clipped as on the device, is added to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo import activations
from privzoo.architectures import graph
from privzoo.config import to_dict
from privzoo.data import Dataset, arrays
from privzoo.embeddings.rounding import unrounded
from privzoo.errors import ConfigError
from privzoo.files import replacing
from privzoo.model import SplitModel
from privzoo.training import record
from privzoo.training.augment import augmented_chips
from privzoo.training.checkpoint import Checkpoint
from privzoo.training.schedule import OneCycle

LEAST_PROBABILITY = 1e-6  # of the divergence's logarithms


@dataclass(frozen=True)
class Distillation:
    """Everything that, with the parent, the data, the code and the start weights, decides a run."""

    steps: int = 600  # of the optimizer, in total; 0: the head stays as fitted
    steps_per_epoch: int = 50  # between two checkpoints
    batch_size: int = 64
    peak_learning_rate: float = 2e-5  # of Adam; the start is close to the target, and a higher rate would disturb it
    warm_up: float = 0.05  # share of the steps
    clip_norm: float = 1.0  # of the whole gradient
    divergence: float = 1.0  # weight of the tail's answers; the squared error has 1
    copies: int = 1  # augmented versions of each chip; the first is the one that the reduction was fitted to
    precision: str = "float32"  # a Keras dtype policy
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError for steps that make no whole epochs."""
        if self.steps < 0 or self.steps % self.steps_per_epoch:
            raise ConfigError(
                f"{self.steps} steps are not a whole number of epochs of {self.steps_per_epoch}; change one of them."
            )

    @property
    def epochs(self) -> int:
        """Number of checkpoints."""
        return self.steps // self.steps_per_epoch


@dataclass(frozen=True)
class Taught:
    """Images with the parent head's features."""

    images: np.ndarray  # uint8 (N, S, S, 3)
    features: np.ndarray  # float32 (N, k), before rounding and noise
    labels: np.ndarray  # primary class, int (N,)


def teach(model: SplitModel, data: Dataset, cache: Path, copies: int = 0) -> tuple[Taught, list[Path]]:
    """Computes the parent head's features, piece by piece, and stores everything on disk.

    Args:
        model: the parent.
        data: samples with the primary label.
        cache: folder for images and activations, shared by all tools.
        copies: augmented versions of each chip, as of the network's training; 0: whole chips as they are.

    Returns:
        Images with features and labels, and the files that hold the images.
    """
    network = model.card.network
    chips, labels = arrays(data, network.training.chip_size, network.task)
    sources = [augmented_chips(chips, network.input_size, network.training, copy) for copy in range(copies)]
    found = [
        (_images(source, network.chip_side, cache), _features(model, source, cache))
        for source in sources or [activations.whole_chips(chips, network.input_size)]
    ]
    files, features = zip(*found, strict=True)
    return Taught(read_images(files), np.concatenate(features), np.tile(labels, len(files))), list(files)


def read_images(files: Sequence[Path]) -> np.ndarray:
    """Images of one or more files, mapped from disk if it is one."""
    images = [np.load(file, mmap_mode="r") for file in files]
    return images[0] if len(images) == 1 else np.concatenate(images)


def _images(source: activations.Source, size: int, cache: Path) -> Path:
    path = cache / f"images_{source.key}.npy"
    if not path.exists():
        with replacing(path) as temporary:
            output = np.lib.format.open_memmap(temporary, "w+", np.uint8, (source.count, size, size, 3))
            for index in range(-(-source.count // activations.BATCH)):
                activations.part(output, index)[:] = np.rint(source.batch(index))
            output.flush()
    return path


def _features(model: SplitModel, source: activations.Source, cache: Path) -> np.ndarray:
    """Via the cut's activation, which may be cached from fitting the model."""
    cut = model.config.cut
    kept = activations.at_cuts(model.network, source, [cut], cache)[cut]
    last = graph.after(unrounded(model.head), cut)
    parts = (kept.source.batch(index) for index in range(-(-kept.source.count // activations.BATCH)))
    return np.concatenate([keras.ops.convert_to_numpy(last(part, training=False)) for part in parts])


@keras.saving.register_keras_serializable(package="privzoo")
class Ball(keras.layers.Layer):
    """Shrinks vectors longer than a radius to it, as the device does before the noise.

    Args:
        radius: of the ball.
    """

    def __init__(self, radius: float, **options: Any) -> None:
        super().__init__(**options)
        self.radius = radius

    def call(self, x: Any) -> Any:
        """Clips a (batch, k) tensor."""
        norm = keras.ops.sqrt(keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True) + 1e-12)
        return x * keras.ops.minimum(1.0, self.radius / norm)

    def get_config(self) -> dict:
        """Constructor arguments, for Keras."""
        return {**super().get_config(), "radius": self.radius}


def student(slim: keras.Model, model: SplitModel) -> keras.Model:
    """The slim head followed by the parent's frozen tail: `image` -> `features` and `probabilities`."""
    model.tail.trainable = False
    image = keras.Input(slim.input_shape[1:], name="image")
    x = image
    for layer in graph.layers(unrounded(slim)):
        x = layer(x)
    features = keras.layers.Activation("linear", dtype="float32", name="features")(x)
    noise = model.gaussian
    clipped = Ball(noise.clip, dtype="float32", name="ball")(features) if noise else features
    answer = keras.layers.Activation("linear", dtype="float32", name="probabilities")(model.tail(clipped))
    return keras.Model(image, {"features": features, "probabilities": answer}, name="student")


def divergence(wanted: keras.KerasTensor, found: keras.KerasTensor) -> keras.KerasTensor:
    """Kullback-Leibler divergence of answers, (batch,); Keras's own one gives NaN for answers that are certain."""
    wanted, found = (keras.ops.clip(p, LEAST_PROBABILITY, 1.0) for p in (wanted, found))
    return keras.ops.sum(wanted * (keras.ops.log(wanted) - keras.ops.log(found)), axis=-1)


class _Error(keras.losses.Loss):
    """Squared error in units of the variance of all components together."""

    def __init__(self, variance: float):
        super().__init__(name="error")
        self.variance = variance

    def call(self, wanted: Any, found: Any) -> Any:
        return keras.ops.sum(keras.ops.square(wanted - found), axis=-1) / self.variance


def agreement(wanted: keras.KerasTensor, found: keras.KerasTensor) -> keras.KerasTensor:
    """Share of equal labels."""
    return keras.ops.cast(keras.ops.argmax(wanted, -1) == keras.ops.argmax(found, -1), "float32")


def compile_student(network: keras.Model, settings: Distillation, features: np.ndarray) -> None:
    """Sets losses, metrics and optimizer."""
    network.compile(
        keras.optimizers.Adam(
            OneCycle(settings.peak_learning_rate, settings.steps, settings.warm_up), global_clipnorm=settings.clip_norm
        ),
        loss={"features": _Error(float(features.var(0).sum())), "probabilities": divergence},
        loss_weights={"features": 1.0, "probabilities": settings.divergence},
        metrics={"probabilities": [agreement]},
        jit_compile=keras.backend.backend() == "jax",
    )


class Lessons(keras.utils.PyDataset):
    """Batches of images and the parent's outputs; they depend on seed and epoch alone.

    Args:
        taught: images and features.
        answers: of the tail to the features, float32 (N, classes).
        batch_size: images in a batch.
        steps: batches in an epoch, however many images there are; None: all in their order, for validation.
        seed: of the order.
        epoch: the first one, counted from 0.
    """

    def __init__(
        self, taught: Taught, answers: np.ndarray, batch_size: int, steps: int | None, seed: int = 0, epoch: int = 0
    ):
        super().__init__()
        self.taught, self.answers, self.batch_size, self.steps = taught, answers, batch_size, steps
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.steps or -(-len(self.answers) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Batch `index` of the current epoch."""
        if self.steps is None:
            chosen = np.arange(index * self.batch_size, min(len(self.answers), (index + 1) * self.batch_size))
        else:
            # Epochs continue where the last one ended: every image once, then all in another order.
            in_turn = max(1, len(self.answers) // self.batch_size)
            turn, place = divmod(self.epoch * self.steps + index, in_turn)
            order = np.random.default_rng((self.seed, turn)).permutation(len(self.answers))
            chosen = np.sort(order[place * self.batch_size : (place + 1) * self.batch_size])
        targets = {"features": self.taught.features[chosen], "probabilities": self.answers[chosen]}
        return self.taught.images[chosen].astype(np.float32), targets

    def on_epoch_end(self) -> None:
        """Moves to the next epoch."""
        self.epoch += 1


def answers(model: SplitModel, features: np.ndarray) -> np.ndarray:
    """The tail's output for clipped features, without noise; float32 (N, classes)."""
    from privzoo.mechanisms.gaussian import clip

    noise = model.gaussian
    return model.classify(clip(features, noise.clip).astype(np.float32) if noise else features)


def fingerprint(settings: Distillation, channels: dict[str, int], parent: str, faces: Sequence[int]) -> str:
    """Hash of what decides a run: 16 hex digits."""
    facts = [to_dict(settings), channels, parent, list(faces)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def distil(
    slim: keras.Model,
    model: SplitModel,
    train: Taught,
    validation: Taught,
    settings: Distillation,
    run: Path,
    mark: str,
) -> int:
    """Trains a slim head, resuming if the run's folder holds a part of it; writes `log.csv` there.

    Args:
        slim: with start weights; it is changed in place.
        model: the parent.
        train, validation: the second only measures.
        settings: of the run.
        run: folder.
        mark: of `fingerprint`.

    Returns:
        Seconds that all starts of the run took together.

    Raises:
        ConfigError: the folder holds a run of other settings.
        WeightsError: the checkpoint is damaged.
    """
    run.mkdir(parents=True, exist_ok=True)
    network = student(slim, model)
    compile_student(network, settings, train.features)
    checkpoint = Checkpoint(run, mark)
    done = checkpoint.resume(network)
    log = run / "log.csv"
    record.trim_log(log, done)
    taught, checked = answers(model, train.features), answers(model, validation.features)
    if done < settings.epochs:
        network.fit(
            Lessons(train, taught, settings.batch_size, settings.steps_per_epoch, settings.seed, done),
            validation_data=Lessons(validation, checked, settings.batch_size, None),
            epochs=settings.epochs,
            initial_epoch=done,
            shuffle=False,
            callbacks=[keras.callbacks.CSVLogger(str(log), append=done > 0), checkpoint],
            verbose="auto",
        )
    return round(checkpoint.seconds)
