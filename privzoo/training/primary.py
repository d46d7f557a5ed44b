"""The recipe for a primary network: cross-entropy on the task, auxiliary labels beside it, one learning-rate cycle.

Runs on any Keras backend (TensorFlow or JAX); it uses numpy pipelines and `keras.ops` alone.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import keras
import numpy as np
from absl import logging

from privzoo.architectures import graph
from privzoo.config import NetworkConfig, TrainingConfig, to_dict
from privzoo.data import Dataset, arrays
from privzoo.errors import ConfigError, WeightsError
from privzoo.provenance import git_revision, write_json
from privzoo.training import record
from privzoo.training.batches import PlainBatches, TrainingBatches, remaining_stages
from privzoo.training.schedule import OneCycle

AGE_SCALE = 116.0  # years; the oldest face of UTKFace, so that the age output is about 0..1
AUXILIARY = {"age": 1, "race": 5}  # label -> units of its output


def build(config: NetworkConfig, training: TrainingConfig) -> keras.Model:
    """The network as it is trained: batch norm, dropout, logits, auxiliary outputs, frozen layers.

    Raises:
        ConfigError: an auxiliary label that no output is known for, or a frozen layer that does not exist.
    """
    for label in training.auxiliary:
        if label not in AUXILIARY:
            raise ConfigError(f"{config.name} has the auxiliary label {label!r}; known are {', '.join(AUXILIARY)}.")
    keras.config.set_dtype_policy(training.precision)
    sizes = {stage.input_size for stage in training.stages}
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
            raise ConfigError(f"{config.name} freezes up to {training.frozen!r}, which is no layer of it.")
        for layer in network.layers[: names.index(training.frozen) + 3]:  # with its batch norm and ReLU
            layer.trainable = False
    return network


def load_start_weights(network: keras.Model, path: Path, task: str) -> None:
    """Fills a training network from a start file: `<layer>/<variable>` arrays, outputs under their labels' names.

    Args:
        network: of `build`.
        path: an npz file.
        task: label under which the file has the primary output; without it `fc8` keeps its fresh weights.

    Raises:
        WeightsError: the file is missing or damaged.
        ConfigError: its arrays do not fit the network.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The start weights {path} cannot be read ({error}); give their folder as --init_dir."
        ) from None
    renamed = {}
    for key, value in weights.items():
        layer, _, part = key.rpartition("/")
        layer = "fc8" if layer == task else layer
        renamed[f"{layer}/{part}"] = value
    missing = graph.set_weights(network, renamed, missing_ok=True)
    if any("conv" in key for key in missing):
        raise ConfigError(f"The start weights {path} lack {missing[0]}; they belong to another architecture.")
    if missing:
        logging.info("Start weights leave fresh: %s", ", ".join(missing))


def check_labels(config: NetworkConfig, data: Dataset, labels: dict[str, np.ndarray]) -> None:
    """Refuses a data set that lacks a label which the config learns, or has the classes in another order.

    Raises:
        ConfigError: it names the label or both lists of classes.
    """
    for label in (config.task, *config.training.auxiliary):
        if label not in labels:
            raise ConfigError(f"{config.name} learns {label!r}; {data.name} has {', '.join(labels)}.")
    known = data.classes.get(config.task)
    if known != config.classes:
        raise ConfigError(f"{config.name} has the classes {config.classes}; {data.name} has {known}, in this order.")


def targets(labels: dict[str, np.ndarray], task: str, auxiliary: dict[str, float]) -> dict[str, np.ndarray]:
    """Labels as the outputs learn them: the task under `fc8`, ages scaled to about 0..1."""
    chosen = {"fc8": labels[task], **{label: labels[label] for label in auxiliary}}
    if "age" in chosen:
        chosen["age"] = np.asarray(chosen["age"], np.float32)[:, None] / AGE_SCALE
    return chosen


def compile_network(network: keras.Model, training: TrainingConfig, classes: int, steps: int) -> None:
    """Compiles with Nesterov SGD, one learning-rate cycle over `steps`, and the weighted losses."""
    optimizer = keras.optimizers.SGD(
        OneCycle(training.peak_learning_rate, steps, training.warm_up),
        momentum=training.momentum,
        nesterov=True,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm,
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    primary = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if training.label_smoothing:
        smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)

        def primary(true, logits):
            true = keras.ops.cast(keras.ops.reshape(true, (-1,)), "int32")
            return smoothed(keras.ops.one_hot(true, classes), logits)

    kinds = {
        "age": "mean_absolute_error",
        "race": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    network.compile(
        optimizer,
        loss={"fc8": primary, **{label: kinds[label] for label in training.auxiliary}},
        loss_weights={"fc8": 1.0, **training.auxiliary},
        metrics={"fc8": ["accuracy"]},
        # XLA's convolutions are many times slower than oneDNN's on a CPU; JAX has nothing else.
        jit_compile=keras.backend.backend() == "jax",
    )


class Checkpoint(keras.callbacks.Callback):
    """Keeps the last finished epoch on disk, in whole or not at all.

    Args:
        folder: of the run.
        fingerprint: of the config; a checkpoint of another config is refused.
    """

    def __init__(self, folder: Path, fingerprint: str):
        super().__init__()
        self.weights, self.state, self.fingerprint = (
            folder / "last.weights.h5",
            folder / "last.json",
            fingerprint,
        )
        self.began, self.seconds = time.time(), 0.0  # of all starts of the run together

    def resume(self, model: keras.Model) -> int:
        """Restores the last finished epoch, if there is one, and returns the number of finished epochs.

        Raises:
            ConfigError: the run's folder holds a checkpoint of another config.
            WeightsError: the checkpoint is damaged.
        """
        if not self.state.exists():
            return 0
        state = json.loads(self.state.read_text(encoding="utf-8"))
        if state["fingerprint"] != self.fingerprint:
            raise ConfigError(
                f"{self.state.parent} holds a run of another config; give another --run_dir, or --restart to drop it."
            )
        path = self.weights.with_name(state["weights"])
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"The checkpoint {path} is damaged ({error}); train again with --restart.") from None
        for name, values in state["seeds"].items():
            model.get_layer(name).seed_generator.state.assign(np.array(values, np.uint32))
        self.began = time.time() - state["seconds"]
        return state["epochs"]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes weights and optimizer under a new name, then points to them, then removes the old ones."""
        path = self.weights.with_name(f"epoch_{epoch + 1:03d}.weights.h5")
        self.model.save_weights(path)
        # Keras's weights files leave out the state of dropout's random source.
        seeds = {
            layer.name: keras.ops.convert_to_numpy(layer.seed_generator.state).tolist()
            for layer in self.model.layers
            if hasattr(layer, "seed_generator")
        }
        self.seconds = round(time.time() - self.began, 1)
        state = {
            "epochs": epoch + 1,
            "weights": path.name,
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "seeds": seeds,
        }
        write_json(self.state, state)
        for old in self.state.parent.glob("epoch_*.weights.h5"):
            if old != path:
                old.unlink()


def train(
    config: NetworkConfig,
    train_set: Dataset,
    validation_set: Dataset,
    run: Path,
    init_dir: Path | None = None,
) -> keras.Model:
    """Trains a primary network, from its last finished epoch if the run was broken off.

    Args:
        config: the network.
        train_set, validation_set: of `privzoo.data`, with the labels that the config names.
        run: folder for checkpoints, `log.csv`, `curves.png` and `record.json`.
        init_dir: folder of the start weights that the config names.

    Returns:
        The trained network, as `build` gives it.

    Raises:
        ConfigError, WeightsError, DataError: each says in a sentence what to correct.
    """
    training = config.training
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(training.seed)
    git = git_revision()  # now: the checkout may move on while a long run goes on
    skipped = train_set.skipped + validation_set.skipped
    chips, labels = arrays(train_set, training.chip_size, skipped=skipped)
    validation_chips, validation_labels = arrays(validation_set, training.chip_size, skipped=skipped)
    check_labels(config, train_set, labels)
    network = build(config, training)
    epochs = sum(stage.epochs for stage in training.stages)
    compile_network(network, training, len(config.classes), epochs * (len(chips) // training.batch_size))
    checkpoint = Checkpoint(run, record.fingerprint(config))
    done = checkpoint.resume(network)
    if not done and training.start:
        if init_dir is None:
            raise ConfigError(f"{config.name} starts from {training.start}; give its folder as --init_dir.")
        load_start_weights(network, init_dir / training.start, config.task)
    wanted = targets(labels, config.task, training.auxiliary)
    validation_wanted = targets(validation_labels, config.task, training.auxiliary)
    record.trim_log(run / "log.csv", done)
    # One fit for each size: Keras takes the first batch's shape for that of all batches of a fit.
    for size, first, end in remaining_stages(training.stages, done):
        network.fit(
            TrainingBatches(chips, wanted, training.batch_size, size, training.augmentation, training.seed, first),
            validation_data=PlainBatches(validation_chips, size, labels=validation_wanted),
            epochs=end,
            initial_epoch=first,
            shuffle=False,
            callbacks=[keras.callbacks.CSVLogger(str(run / "log.csv"), append=first > 0), checkpoint],
            verbose="auto",
        )
    if done < epochs or not (run / "record.json").exists():
        record.plot_curves(run / "log.csv", run / "curves.png", config.name)
        record.write(
            run / "record.json",
            config=to_dict(dataclasses.replace(config, weights=None)),
            data={"train": len(chips), "validation": len(validation_chips), "skipped": skipped},
            seconds=checkpoint.seconds,
            epochs_of_last_start=epochs - done,
            git=git,
            curves=run / "log.csv",
        )
    return network
