"""A loaded DataMix model: pre for the device, main for the cloud, and what the device does around it."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.card import Card
from privzoo.edge.covers import pool
from privzoo.errors import ConfigError
from privzoo.mechanisms.covers import Covers
from privzoo.mechanisms.mixing import Mixing
from privzoo.model import SplitModel, run

if TYPE_CHECKING:
    import os

    import keras


class MixedModel(SplitModel):
    """A model whose head's features leave the device as mixtures of several faces (`privzoo.mechanisms.mixing`).

    `head` is pre and `tail` main: tail(head(x)) is not an answer. `predict` mixes with a fresh key, unmixes, and
    computes the last layer. All of it happens on this machine, so that a face's covers need not be secret here: by
    default they are made from the package's free portrait. Answers depend on the key and on the covers.

    Args:
        card, network, head, tail: as of `SplitModel`.
        mixing: how features are mixed, and the last layer.
        covers: pool of other faces' chips that fill the groups, each used once; None: the package's, again and again.

    Example:
        >>> model = privzoo.load("vgg16_gender_datamix_block1")  # doctest: +SKIP
        >>> model.predict("photo.jpg")  # doctest: +SKIP
    """

    __slots__ = ("__covers", "__mixing")  # as of `SplitModel`: what mixes cannot be replaced

    def __init__(
        self,
        card: Card,
        network: keras.Model,
        head: keras.Model,
        tail: keras.Model,
        mixing: Mixing,
        covers: Covers | None = None,
    ) -> None:
        super().__init__(card, network, head, tail)
        self.__mixing, self.__covers = mixing, covers

    @property
    def mixing(self) -> Mixing:
        """How features are mixed, and the last layer; a copy, so that edits change nothing."""
        return copy.copy(self.__mixing)

    @property
    def covers(self) -> Covers | None:
        """The pool of other faces' chips, or None."""
        return self.__covers

    def drawn(self, slot: str | None = None) -> dict[str, Any] | None:
        """What is drawn for each answer: a key, which has no budget.

        Raises:
            ConfigError: a slot; keys never repeat.
        """
        super().drawn(slot)
        return self.mixing.drawn()

    def features(self, chips: np.ndarray, rng: random.Random | None = None, slot: str | None = None) -> np.ndarray:
        """What leaves the device for face chips: mixtures in shuffled order, under a key that is thrown away.

        Args:
            chips, rng, slot: as for `SplitModel.features`; whole groups of chips, or with covers to fill the last.

        Returns:
            float32 (M, *feature shape), M the next multiple of the group's size.
        """
        super().drawn(slot)
        with self.mixing.key(len(filled := self._filled(chips)), rng) as key:
            return key.mix(self._pre(filled))

    def classify(self, features: np.ndarray) -> np.ndarray:
        """Refuses: what the tail says of mixtures can be read with their key alone.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"What {self.name} answers to mixtures can be read with their key alone; use predict.")

    def answers(self, chips: np.ndarray, rng: random.Random | None = None) -> np.ndarray:
        """Probabilities of face chips by way of mixtures, float32 (N, classes), in whole groups filled by covers.

        Args:
            chips: uint8 RGB (N, S, S, 3), or float32 0..255.
            rng: for tests and measurements only, a random source that can be repeated.

        Raises:
            FeatureError: the chips have another shape, or values that are not finite.
            ConfigError: the pool has too few covers.
        """
        found, filled = [], self._filled(chips)
        step = self.mixing.group
        for start in range(0, len(filled), step):
            with self.mixing.key(step, rng) as key:
                mixtures = key.mix(self._pre(filled[start : start + step]))
                found.append(key.unmix(run(self.tail, mixtures, self.card.cost.feature_shape, "mixtures")))
        hidden = np.concatenate(found) if found else np.zeros((0, self.mixing.hidden))
        return self.mixing.answers(hidden)[: len(chips)]

    def _answers(self, chips: np.ndarray, slot: str | None) -> np.ndarray:
        self.drawn(slot)
        return self.answers(chips)

    def _pre(self, chips: np.ndarray) -> np.ndarray:
        return run(self.head, chips, (self.input_size, self.input_size, 3), "chips")

    def _filled(self, chips: np.ndarray) -> np.ndarray:
        chips = np.asarray(chips)
        wrong = chips.shape[1:] != (self.input_size, self.input_size, 3)
        if wrong or (count := self.mixing.covers(len(chips))) == 0:  # the head refuses wrong ones, in its own words
            return chips
        if self.covers is None:
            from privzoo.export.calibration import default_calibration

            return np.concatenate([chips, default_calibration(self.input_size, max(2, count))[:count]])
        return np.concatenate([chips, self.covers.take(count, chips if chips.dtype == np.uint8 else None)])

    def manifest(self) -> dict[str, Any]:
        """What head and tail carry when exported, the last layer among it."""
        from privzoo.export import manifests

        return manifests.build(self.card, self.head, self.tail, mixing=self.mixing)


def load(card: Card, network: keras.Model, covers: str | os.PathLike[str] | None = None) -> MixedModel:
    """The model of a card.

    Args:
        card: of a DataMix model.
        network: with its released weights.
        covers: folder of photographs, as for `privzoo.edge.pool`; None: the package's.

    Raises:
        ConfigError: the network was not trained on mixtures at the model's cut, or the folder has no faces.
    """
    from privzoo.architectures import graph
    from privzoo.embeddings import datamix

    mixing = datamix.mixing_of(network, card.network, card.model)
    head, tail = datamix.attach(*graph.split(network, card.model.cut), {}, card.model)
    found = None if covers is None else pool(covers, card.network.input_size)
    return MixedModel(card, network, head, tail, mixing, found)
