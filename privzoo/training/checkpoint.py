"""Common to all recipes: checkpoints after each epoch, resuming, log, curves and record."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo.config import NetworkConfig, Stage, to_dict
from privzoo.errors import ConfigError, WeightsError
from privzoo.files import replacing
from privzoo.provenance import git_revision, write_json
from privzoo.training import record
from privzoo.training.batches import remaining_stages


class Checkpoint(keras.callbacks.Callback):
    """Keeps the last finished epoch on disk, written atomically.

    Args:
        folder: of the run.
        fingerprint: of the config; a checkpoint of another config is refused.
    """

    def __init__(self, folder: Path, fingerprint: str):
        super().__init__()
        self.folder, self.state, self.fingerprint = folder, folder / "last.json", fingerprint
        self.git = git_revision()  # now: the checkout may move on while a long run goes on
        self.done = 0  # epochs that were finished when the run was resumed
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
                f"{self.folder} holds a run of another config; give another --run_dir, or --restart to discard it."
            )
        path = self.folder / state["weights"]
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"The checkpoint {path} is damaged ({error}); train again with --restart.") from None
        for name, values in state["seeds"].items():
            model.get_layer(name).seed_generator.state.assign(np.array(values, np.uint32))
        self.began = time.time() - state["seconds"]
        self.done = state["epochs"]
        return self.done

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes weights and optimizer under a new name, then points to them, then removes the old ones."""
        path = self.folder / f"epoch_{epoch + 1:03d}.weights.h5"
        with replacing(path, suffix=".weights.h5") as temporary:
            self.model.save_weights(temporary)
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
        for old in self.folder.glob("epoch_*.weights.h5"):
            if old != path:
                old.unlink(missing_ok=True)


def fit(
    network: keras.Model,
    config: NetworkConfig,
    batches: Callable[[Stage, int], tuple[keras.utils.PyDataset, keras.utils.PyDataset]],
    checkpoint: Checkpoint,
    data: dict[str, Any],
    callbacks: Callable[[int | None], Sequence[keras.callbacks.Callback]] = lambda size: (),
) -> None:
    """Trains the remaining epochs, then writes `log.csv`, `curves.png` and `record.json` into the run's folder.

    Args:
        network: compiled, with the last finished epoch restored.
        config: of the run.
        batches: stage and first epoch, counted from 0 -> batches of training and of validation.
        checkpoint: of the run, after `resume`.
        data: what the record says about the data.
        callbacks: image size in pixels, None for speech -> further callbacks of that stage.
    """
    run, done = checkpoint.folder, checkpoint.done
    record.trim_log(run / "log.csv", done)
    # One fit for each size: Keras takes the first batch's shape for that of all batches of a fit.
    for stage, first, end in remaining_stages(config.training.stages, done):
        train, validation = batches(stage, first)
        network.fit(
            train,
            validation_data=validation,
            epochs=end,
            initial_epoch=first,
            shuffle=False,
            callbacks=[
                keras.callbacks.CSVLogger(str(run / "log.csv"), append=first > 0),
                checkpoint,
                *callbacks(stage.input_size),
            ],
            verbose="auto",
        )
    finish(config, checkpoint, data)


def finish(config: NetworkConfig, checkpoint: Checkpoint, data: dict[str, Any], curves: Sequence[str] = ()) -> None:
    """Writes `curves.png` and `record.json` of a run whose epochs are all done, unless an earlier start did.

    Args:
        config: of the run.
        checkpoint: of the run.
        data: what the record says about the data.
        curves: columns of the log to be plotted; none: loss and accuracy.
    """
    run, done = checkpoint.folder, checkpoint.done
    epochs = sum(stage.epochs for stage in config.training.stages)
    if done < epochs or not (run / "record.json").exists():
        record.plot_curves(run / "log.csv", run / "curves.png", config.name, curves)
        record.write(
            run / "record.json",
            config=to_dict(dataclasses.replace(config, weights=None)),
            data=data,
            seconds=checkpoint.seconds,
            epochs_of_last_start=epochs - done,
            git=checkpoint.git,
            curves=run / "log.csv",
        )
