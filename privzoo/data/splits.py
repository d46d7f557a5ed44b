"""The parts of the data set that a network is trained on, and the data that it is measured on."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

from privzoo.config import NetworkConfig
from privzoo.data import arabic_speech, attributes, fer2013, folder, folder_attributes, lfw
from privzoo.data.samples import Dataset
from privzoo.errors import ConfigError, UnknownNameError
from privzoo.outputs import ATTRIBUTES

TRAINABLE = (
    "utkface",
    "fer2013",
    "celeba",
    "imdb_wiki",
    "arabic_speech",
    "folder",
    "lfw_attributes",
    "lfwa",
)  # modules of privzoo.data with both splits


def load_splits(name: str, root: str | Path) -> tuple[Dataset, Dataset]:
    """Loads the splits "train" and "validation" of a data set.

    Args:
        name: module of `privzoo.data`.
        root: its folder or zip, or the folder that holds either.

    Raises:
        UnknownNameError: no such data set, or one that is never trained on (LFW).
        DataError: the data are missing or not in their official layout.
    """
    if name not in TRAINABLE:
        raise UnknownNameError(f"There is no data set {name!r} to train on; there are {', '.join(TRAINABLE)}.")
    loader = importlib.import_module(f"privzoo.data.{name}")
    return loader.load(root, split="train"), loader.load(root, split="validation")


def of_network(network: NetworkConfig, root: str | Path) -> tuple[Dataset, Dataset]:
    """Loads the training and validation parts of the data that a network's config names.

    Args:
        network: whose task and classes are those of the user's own data.
        root: as for `load_splits`.

    Raises:
        UnknownNameError, DataError: as `load_splits`.
    """
    if not network.own_data:
        train, validation = load_splits(network.training.dataset, root)
        return _of(network, train), _of(network, validation)
    return _own(network, root, "train"), _own(network, root, "validation")


def validation_name(data: Dataset) -> str:
    """Name of a validation part, as figures give it: research data sets' own names do not say which part it is."""
    return data.name if data.name.endswith("validation") else f"{data.name}-validation"


def test_set(network: NetworkConfig, root: str | Path) -> Dataset:
    """Loads the data that a network is measured on, and was never trained on.

    Args:
        network: for one trained on the user's own data, its test part; else by the task, LFW for gender and FER2013's
            test part for emotion, Arabic Speech Commands' for keywords, the test part of their own data set for
            attributes (protocols 1, 2, 9 and 10).
        root: folder of the data sets, or of the user's own data.

    Raises:
        DataError: the data are missing, or the user's own have no test part.
        ConfigError: it is not defined what such a network is measured on.
    """
    if network.own_data:
        return _own(network, root, "test")
    if network.output == ATTRIBUTES:
        loader = importlib.import_module(f"privzoo.data.{network.training.dataset}")
        return _of(network, loader.load(root, split="test"))
    if network.task == "gender":
        return lfw.load(root)
    if network.task == "emotion":
        return fer2013.load(root, split="test")
    if network.task == "keyword":
        return arabic_speech.load(root, split="test")
    raise ConfigError(
        f"{network.name} learns {network.task!r} from {network.training.dataset}, for which there are no test data; "
        "test data exist for gender, emotion, keyword, and any task of your own class folders."
    )


def _of(network: NetworkConfig, data: Dataset) -> Dataset:
    """Data with the attributes that a network learns, in its order."""
    return attributes.chosen(data, network.classes) if network.output == ATTRIBUTES else data


def own_people(network: NetworkConfig, root: str | Path, unseen: bool) -> Dataset:
    """Loads the user's own images for the identity attack: those of the test part, or all."""
    return _own(network, root, "test" if unseen else "all")


def _own(network: NetworkConfig, root: str | Path, split: str) -> Dataset:
    load = folder_attributes.load if network.output == ATTRIBUTES else folder.load
    return load(root, network.task, network.classes, split)


def take(data: Dataset, count: int) -> Dataset:
    """About `count` samples, evenly spaced over the set, whose order is often by label."""
    step = max(1, len(data) // count)
    return dataclasses.replace(data, samples=data.samples[::step][:count])
