"""The recipe for a primary network: cross-entropy on the task, with auxiliary labels and one learning-rate cycle.

The task is one class, or attributes that are each present or not (`losses.primary`).

Runs on any Keras backend (TensorFlow or JAX); it only uses numpy pipelines and `keras.ops`.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from absl import logging

from privzoo import activations, weights
from privzoo import config as configs
from privzoo.architectures import LAST, Shape, graph
from privzoo.config import SPEECH, NetworkConfig, Stage, TrainingConfig
from privzoo.data import Dataset
from privzoo.errors import ConfigError, DataError, WeightsError
from privzoo.training import losses
from privzoo.training.batches import PlainBatches, TrainingBatches, steps
from privzoo.training.checkpoint import fit
from privzoo.training.opening import opened
from privzoo.training.schedule import optimizer
from privzoo.training.statistics import LONG_RUN, TrainingStatistics

AGE_SCALE = 116.0  # years; the oldest face of UTKFace, so that the age output is about 0..1
SAMPLE = 128  # faces on which batch norm's statistics are measured where a network starts from its parent
AUXILIARY = {"age": 1, "race": 5}  # label -> units of its output


def build(config: NetworkConfig, training: TrainingConfig) -> keras.Model:
    """The network as it is trained: batch norm, dropout, logits, auxiliary outputs, frozen layers.

    Raises:
        ConfigError: an unknown auxiliary label, or a frozen layer that does not exist.
    """
    for label in training.auxiliary:
        if label not in AUXILIARY:
            raise ConfigError(f"{config.name} has the auxiliary label {label!r}; known are {', '.join(AUXILIARY)}.")
    keras.config.set_dtype_policy(training.precision)
    sizes: set[int | Shape | None] = {stage.input_size for stage in training.stages}
    if config.input == SPEECH:
        sizes = {config.input_shape}
    try:
        network = graph.build(
            config.architecture,
            len(config.classes),
            input_size=sizes.pop() if len(sizes) == 1 else None,
            classifier=config.classifier,
            lrn=config.lrn,
            batch_norm=True,
            dropout=training.dropout,
            auxiliary={label: AUXILIARY[label] for label in training.auxiliary},
            probabilities=False,
        )
    finally:
        keras.config.set_dtype_policy("float32")
    if training.frozen:
        names = [layer.name for layer in network.layers]
        if training.frozen not in names:
            raise ConfigError(f"{config.name} freezes up to {training.frozen!r}, which is not a layer of it.")
        for layer in network.layers[: names.index(training.frozen) + 3]:  # with its batch norm and ReLU
            layer.trainable = False
    return network


def load_start_weights(network: keras.Model, path: Path, task: str) -> None:
    """Fills a training network from a start file: `<layer>/<variable>` arrays, outputs under their labels' names.

    Args:
        network: of `build`.
        path: an npz file.
        task: label under which the file has the primary output; without it `fc8` keeps its initial weights.

    Raises:
        WeightsError: the file is missing or damaged.
        ConfigError: its arrays do not fit the network.
    """
    if not path.exists():
        raise WeightsError(f"The start weights {path} cannot be read (no such file); give their folder as --init_dir.")
    stored = weights.read(path)  # as they are, or coded as released ones
    renamed = {}
    for key, value in stored.items():
        layer, _, part = key.rpartition("/")
        layer = "fc8" if layer == task else layer
        renamed[f"{layer}/{part}"] = value
    missing = graph.set_weights(network, renamed, missing_ok=True)
    if any("conv" in key for key in missing):
        raise ConfigError(f"The start weights {path} lack {missing[0]}; they belong to another architecture.")
    if missing:
        logging.info("Not in the start weights: %s", ", ".join(missing))


def targets(labels: dict[str, np.ndarray], task: str, auxiliary: dict[str, float]) -> dict[str, np.ndarray]:
    """Labels in the form that the outputs learn: the task under `fc8`, ages scaled to about 0..1."""
    chosen = {"fc8": labels[task], **{label: labels[label] for label in auxiliary}}
    if "age" in chosen:
        chosen["age"] = np.asarray(chosen["age"], np.float32)[:, None] / AGE_SCALE
    return chosen


def compile_network(network: keras.Model, config: NetworkConfig, steps: int) -> None:
    """Compiles with Nesterov SGD, one learning-rate cycle over `steps`, and the weighted losses."""
    training, (primary, accuracy) = config.training, losses.primary(config)
    kinds = {
        "age": "mean_absolute_error",
        "race": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    network.compile(
        optimizer(training, steps),
        loss={"fc8": primary, **{label: kinds[label] for label in training.auxiliary}},
        loss_weights={"fc8": 1.0, **training.auxiliary},
        metrics={"fc8": [accuracy]},
        # XLA's convolutions are many times slower than oneDNN's on a CPU; JAX has nothing else.
        jit_compile=keras.backend.backend() == "jax",
    )


def start_from_parent(network: keras.Model, config: NetworkConfig, chips: np.ndarray) -> None:
    """Fills a training network with its parent's weights, with batch norm put back; what the parent lacks stays fresh.

    Args:
        network: of `build`, or one with its layers. Of a parent for other classes the last layer is not taken.
        config: with a released `parent`.
        chips: uint8 (N, side, side, 3), or clips, on some of which batch norm's statistics are measured.

    Raises:
        ConfigError: an unknown parent, or one of another shape.
        WeightsError: the parent's weights are missing or damaged.
    """
    parent = configs.network(configs.given(config.parent, f"{config.name} has no parent"))
    # With average pooling the same weights take any size.
    sized = ("input_size",) if config.classifier else ()
    for name in ("architecture", "input", "classifier", "lrn", *sized):
        if getattr(parent, name) != getattr(config, name):
            raise ConfigError(f"{config.name} and its parent {parent.name} differ in {name}; make them the same.")
    released = graph.inference_network(parent, weights.load(parent))
    sample = chips[:: max(1, len(chips) // SAMPLE)][:SAMPLE]
    found = graph.unfold_batch_norm(released, activations.prepared(sample, parent.input_size))
    if (parent.task, parent.classes) != (config.task, config.classes):
        found = {key: value for key, value in found.items() if key.rpartition("/")[0] != LAST}
    fresh = {LAST, *config.training.auxiliary}
    missing = [key for key in graph.set_weights(network, found, missing_ok=True) if key.rpartition("/")[0] not in fresh]
    if missing:
        raise ConfigError(f"{config.name} cannot start from {parent.name}, which lacks {missing[0]}; leave parent out.")


def unchanged(network: keras.Model, config: NetworkConfig) -> dict[str, np.ndarray]:
    """The parent's weights of frozen layers: folding batch norm in and out of them again would change their last bits.

    Args:
        network: of `build`.
        config: of the network; empty without a parent.
    """
    if not config.parent or not config.training.frozen:
        return {}
    frozen = {layer.name for layer in network.layers if not layer.trainable}
    parent = weights.load(configs.network(config.parent))
    return {key: value for key, value in parent.items() if key.rpartition("/")[0] in frozen}


def _start(network: keras.Model, config: NetworkConfig, chips: np.ndarray, init_dir: Path | None) -> None:
    start = config.training.start
    if start and config.parent:
        raise ConfigError(f"{config.name} has a parent to start from: start cannot be given too.")
    if config.parent:
        start_from_parent(network, config, chips)
    elif start:
        if init_dir is None:
            raise ConfigError(f"{config.name} starts from {start}; give its folder as --init_dir.")
        load_start_weights(network, init_dir / start, config.task)


def train(
    config: NetworkConfig,
    train_set: Dataset,
    validation_set: Dataset,
    run: Path,
    init_dir: Path | None = None,
) -> keras.Model:
    """Trains a primary network, from its last finished epoch if the run was interrupted.

    It starts from its parent if it has one, whose task may be another (transfer), from the start weights, or from fresh
    ones.

    Args:
        config: the network.
        train_set, validation_set: of `privzoo.data`, with the labels that the config names.
        run: folder for checkpoints, `log.csv`, `curves.png` and `record.json`.
        init_dir: folder of the start weights that the config names.

    Returns:
        The trained network, as `build` gives it.

    Raises:
        ConfigError, WeightsError, DataError: each says what to correct.
    """
    training = config.training
    begun = opened(config, train_set, validation_set, run)
    checkpoint, chips, validation_chips = begun.checkpoint, begun.chips, begun.validation_chips
    if len(chips) < 2:
        raise DataError(f"{train_set.name} has one usable sample to train on; give 2 or more of each class.")
    network = build(config, training)
    total = sum(stage.epochs for stage in training.stages) * steps(len(chips), training.batch_size)
    compile_network(network, config, total)
    if not checkpoint.resume(network):
        _start(network, config, chips, init_dir)
    wanted = targets(begun.labels, config.task, training.auxiliary)
    validation_wanted = targets(begun.validation_labels, config.task, training.auxiliary)

    def batches(stage: Stage, first: int) -> tuple[TrainingBatches, PlainBatches]:
        size = stage.input_size
        train = TrainingBatches(chips, wanted, training.batch_size, size, training.changes, training.seed, first)
        return train, PlainBatches(validation_chips, size, labels=validation_wanted)

    def callbacks(size: int | None) -> list[TrainingStatistics]:
        return [TrainingStatistics(chips, size, training.batch_size, training.seed)] if total < LONG_RUN else []

    fit(network, config, batches, checkpoint, begun.counts, callbacks)
    return network
