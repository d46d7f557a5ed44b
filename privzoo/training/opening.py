"""How every run begins that learns from whole images: seeded, with its checkpoint, and with its images in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo.config import NetworkConfig
from privzoo.data import Dataset, arrays
from privzoo.errors import ConfigError
from privzoo.outputs import ATTRIBUTES
from privzoo.training import record
from privzoo.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Opened:
    """A run whose data are read."""

    checkpoint: Checkpoint
    chips: np.ndarray  # to train on: uint8 (N, side, side, 3), or clips, int16 (N, 16000)
    labels: dict[str, np.ndarray]  # label -> (N,), or (N, A) for attributes
    validation_chips: np.ndarray
    validation_labels: dict[str, np.ndarray]
    counts: dict[str, Any]  # for the record: images of each part, and those skipped


def opened(config: NetworkConfig, train_set: Dataset, validation_set: Dataset, run: Path) -> Opened:
    """Opens a run.

    Args:
        config: the network.
        train_set, validation_set: of `privzoo.data`, with the labels that the config names.
        run: folder; created if missing.

    Raises:
        ConfigError: the run was made for another config, or the data set lacks a label or has other classes.
        DataError: no image can be read.
    """
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.training.seed)
    checkpoint = Checkpoint(run, record.fingerprint(config))
    skipped = train_set.skipped + validation_set.skipped
    side = config.training.chip_size
    chips, labels = arrays(train_set, side, skipped=skipped)
    validation_chips, validation_labels = arrays(validation_set, side, skipped=skipped)
    check_labels(config, train_set, labels)
    counts = {"train": len(chips), "validation": len(validation_chips), "skipped": skipped}
    counts |= {"own": train_set.facts} if train_set.facts else {}
    return Opened(checkpoint, chips, labels, validation_chips, validation_labels, counts)


def check_labels(config: NetworkConfig, data: Dataset, labels: dict[str, np.ndarray]) -> None:
    """Refuses a data set that lacks a label of the config, or has its classes in another order.

    Raises:
        ConfigError: it names the label or both lists of classes.
    """
    for label in (config.task, *config.training.auxiliary):
        if label not in labels:
            raise ConfigError(f"{config.name} learns {label!r}; {data.name} has {', '.join(labels)}.")
    if len(config.classes) < 2 and config.output != ATTRIBUTES:
        raise ConfigError(f"{config.name} has one class, {config.classes[0]}; a network needs two or more.")
    known = data.classes.get(config.task)
    if known != config.classes:
        raise ConfigError(f"{config.name} has the classes {config.classes}; {data.name} has {known}, in this order.")
