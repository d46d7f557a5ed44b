"""The training and validation parts of a data set, by the name that a config uses."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

from privzoo.data.samples import Dataset
from privzoo.errors import UnknownNameError

TRAINABLE = (
    "utkface",
    "fer2013",
    "celeba",
    "imdb_wiki",
    "folder",
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


def take(data: Dataset, count: int) -> Dataset:
    """About `count` samples, evenly spaced over the set, whose order is often by label."""
    step = max(1, len(data) // count)
    return dataclasses.replace(data, samples=data.samples[::step][:count])
