"""The label of data sets that say of each face which of many attributes it has: 0 or 1 for each, in one order."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from privzoo.data.samples import Dataset, Sample
from privzoo.errors import ConfigError

LABEL = "attributes"  # a sample's label with all of them; `Dataset.classes` has their names


def check_attributes(data: str, wanted: Sequence[str], known: Collection[str]) -> None:
    """Refuses attributes that a data set lacks.

    Args:
        data: the set's name, for the message.
        wanted: attributes.
        known: those that it has.

    Raises:
        ConfigError: it names the first one.
    """
    for name in wanted:
        if name not in known:
            raise ConfigError(f"{data} has no attribute {name}: use one of {', '.join(known)}.")


def chosen(data: Dataset, wanted: Sequence[str]) -> Dataset:
    """The same samples with some of their attributes, in another order.

    Args:
        data: with the label attributes.
        wanted: names of attributes, in the order of the result.

    Raises:
        ConfigError: the data set has no attributes, or lacks one of these.

    Example:
        >>> chosen(celeba.load("data"), ["Smiling", "Male"]).samples[0].labels["attributes"]  # doctest: +SKIP
        (1, 0)
    """
    known = data.classes.get(LABEL)
    if known is None:
        raise ConfigError(f"{data.name} has no attributes: it has {', '.join(data.classes)}.")
    if known == tuple(wanted):
        return data
    check_attributes(data.name, wanted, known)
    columns = [known.index(name) for name in wanted]

    def some(sample: Sample) -> Sample:
        values: Any = sample.labels[LABEL]
        return dataclasses.replace(sample, labels={**sample.labels, LABEL: tuple(values[k] for k in columns)})

    samples = [some(sample) for sample in data.samples]
    return dataclasses.replace(data, samples=samples, classes={**data.classes, LABEL: tuple(wanted)})
