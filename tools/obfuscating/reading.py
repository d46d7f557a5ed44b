"""Networks that read images obfuscated for them, or for others (Leroux et al. 2018, Tables 1 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import architectures, card, config, zoo
from privzoo.config import OBFUSCATED, NetworkConfig
from privzoo.data import Dataset, arrays
from privzoo.errors import UnknownNameError
from privzoo.evaluation import intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.model import BATCH
from privzoo.outputs import decided

if TYPE_CHECKING:
    import keras

    from privzoo.card import Card


def obfuscated(pattern: str) -> list[Card]:
    """Cards of the obfuscated models that match a shell pattern and have weights.

    Raises:
        UnknownNameError: none does.
    """
    found = [card.read(name) for name in zoo.list_models(pattern)]
    found = [one for one in found if one.model.embedding == OBFUSCATED]
    if not found:
        raise UnknownNameError(f"No obfuscated model that matches {pattern!r} is released; privzoo list shows all.")
    return found


def readers(network: NetworkConfig) -> list[NetworkConfig]:
    """The released networks of plain images that can be given a network's obfuscated ones, its parent first."""
    found = []
    for name in config.networks():
        other = config.network(name)
        same = (other.task, other.classes, other.input) == (network.task, network.classes, network.input)
        fits = not other.classifier or other.input_size == network.input_size
        if same and fits and other.weights and not (other.mixing or other.obfuscation):
            found.append(other)
    return sorted(found, key=lambda other: (other.name != network.parent, other.name))


def answers(model: keras.Model, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """A model's output for images, RGB 0..255 (N, S, S, 3)."""
    parts = [
        np.asarray(model(np.asarray(images[i : i + BATCH], np.float32), training=False))
        for i in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def measure(cards: Sequence[Card], data: Callable[[NetworkConfig], Dataset]) -> Iterator[dict[str, Any]]:
    """Accuracy of each network on plain faces and on those that each model obfuscates, by the float head.

    Args:
        cards: of obfuscated models.
        data: network -> faces that it was never trained on.

    Yields:
        A row for each model and reader. Shares are in 0..1, with `_low` and `_high`: `plain` and `obfuscated` accuracy,
        `lost`, the first minus the second on the same faces, and `kept`, the second over the first. `multiply_adds` and
        `parameters` are the obfuscator's, as shares of the reader's.
    """
    for one in cards:
        network, settings = one.network, one.network.obfuscation
        assert settings is not None, "the cards are of obfuscated models"
        own = data(network)
        labelled = [sample for sample in own.samples if network.task in sample.labels]
        chips, labels = arrays(labelled or own, network.input_size)
        people = labels.get("identity")
        images = answers(zoo.load(one.model.name).head, chips)
        for reader in readers(network):
            read = zoo.load_network(reader)
            hits = {
                name: _hits(decided(answers(read, faces), network.output) == labels[network.task])
                for name, faces in (("plain", chips), ("obfuscated", images))
            }
            found = {name: intervals.share(values, people) for name, values in hits.items()}
            found["lost"] = intervals.difference(hits["plain"], hits["obfuscated"], people)
            if hits["plain"].any():
                found["kept"] = intervals.ratio(hits["obfuscated"], hits["plain"], people)
            yield {
                "model": one.model.name,
                "reader": reader.name,
                "trained_for_it": reader.name in (network.parent, *settings.also),
                "same_architecture": reader.architecture == network.architecture,
                **{
                    f"{name}{end}": value
                    for name, figure in found.items()
                    for end, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))
                },
                **_overhead(one, reader),
                "data": own.name,
                "faces": len(chips),
                "people": found["plain"].clusters,
                "seed": network.training.seed,
            }


def _overhead(one: Card, reader: NetworkConfig) -> dict[str, float]:
    layers = architectures.costs(reader.architecture, one.network.input_shape, len(reader.classes), reader.classifier)
    return {
        "multiply_adds": one.cost.head_multiply_adds / sum(layer.multiply_adds for layer in layers),
        "parameters": one.cost.head_parameters / sum(layer.parameters for layer in layers),
    }


def estimate(row: dict[str, Any], name: str) -> Estimate | None:
    """A figure of a row with its interval; None if it has none."""
    if f"{name}_low" not in row:
        return None
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], row["faces"], row["people"])


def _hits(right: np.ndarray) -> np.ndarray:
    """Of each face, whether it was answered rightly; of attributes, the share of them."""
    return right.reshape(len(right), -1).mean(1)
