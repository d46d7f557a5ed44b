"""From a released network to its reduced and noisy models: features for all cuts at once, then each model's arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from privzoo import activations, embeddings, weights
from privzoo.architectures import graph
from privzoo.config import ModelConfig, NetworkConfig, given, to_dict
from privzoo.data import Dataset, arrays
from privzoo.embeddings import coded, label
from privzoo.mechanisms.gaussian import Noise, spent_epsilon
from privzoo.training import codes, reduction
from privzoo.training.augment import augmented_chips
from privzoo.training.release import ARRAYS_DTYPE, coded_output, golden_output

BATCH = 64


def cut_features(
    config: NetworkConfig, network: keras.Model, cuts: Sequence[str], data: Dataset, cache: Path, augmented: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Activations of a data set at several cuts, by one pass through the network, kept on disk.

    Args:
        config: of the network.
        network: with its released weights.
        cuts: names of layers.
        data: samples with the primary label.
        cache: folder for the activations.
        augmented: change each chip at random as in training, so that the network sees no chip that it was trained on.

    Returns:
        Cut -> float16 (N, h, w, c) on disk, and the primary classes, int (N,).
    """
    training = config.training
    chips, labels = arrays(data, training.chip_size, config.task)
    if augmented:
        source = augmented_chips(chips, config.input_size, training)
    else:
        source = activations.whole_chips(chips, config.input_size)
    kept = activations.at_cuts(network, source, cuts, cache)
    return {cut: one.values for cut, one in kept.items()}, labels


def answers(
    model: ModelConfig, network: keras.Model, fitted: dict[str, np.ndarray], features: np.ndarray, seed: int
) -> np.ndarray:
    """Classes that a reduced model tells, int (N,), with one draw of its noise per face.

    Args:
        model: the model; without noise, none is added.
        network: that it is cut from.
        fitted: its arrays.
        features: of the cut, (N, h, w, c), of validation data.
        seed: of the noise.
    """
    _, tail = embeddings.get("reduced_simple").attach(*graph.split(network, model.cut), fitted, model)
    down = reduction.Linear(fitted["reduce/kernel"], fitted["reduce/bias"])
    reduced = reduction.mapped(features, down)
    arrived = reduction.noisy(np.rint(reduced) if model.step else reduced, model.noise, seed)
    parts = [arrived[i : i + BATCH] for i in range(0, len(arrived), BATCH)]
    return np.concatenate([keras.ops.convert_to_numpy(tail(part, training=False)).argmax(1) for part in parts])


class Fitter:
    """Fits models of one network, whose features and reductions they share.

    Args:
        config: of the network.
        network: with its released weights.
        cuts: of the models.
        train_set, validation_set: of `privzoo.data`; the second only measures.
        cache: folder for the features.
        augmented: as in `cut_features`.
        seed: of all that is random.
    """

    def __init__(
        self,
        config: NetworkConfig,
        network: keras.Model,
        cuts: Sequence[str],
        train_set: Dataset,
        validation_set: Dataset,
        cache: Path,
        augmented: bool = True,
        seed: int = 1,
    ):
        self.config, self.network, self.augmented, self.seed = config, network, augmented, seed
        self._train = cuts, train_set, cache
        self.validation = cut_features(config, network, cuts, validation_set, cache, False)
        self._bases: dict[tuple, Any] = {}

    @functools.cached_property
    def train(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Features of the training faces, and their classes: computed when the first model has something to fit."""
        cuts, train_set, cache = self._train
        return cut_features(self.config, self.network, cuts, train_set, cache, self.augmented)

    def fit(self, model: ModelConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Fits one model.

        Returns:
            Its arrays, and facts for the record, with the accuracy on validation data of its parts one by one.

        Raises:
            ConfigError: the embedding does not go with the network's output.
        """
        embeddings.check(model, self.config)
        if model.code:
            return self._fit_code(model)
        features, labels = self.train[0][model.cut], self.train[1]
        _, tail = graph.split(self.network, model.cut)
        key = (model.cut, model.dimensions, model.reduction)
        if key not in self._bases:
            self._bases[key] = reduction.basis_of(model, features, labels, tail, self.seed)
        fitted, facts = reduction.fit(model, features, labels, tail, self.seed, self._bases[key])
        heldout, wanted = self.validation[0][model.cut], self.validation[1]

        def right(changed: ModelConfig, parts: dict[str, np.ndarray]) -> float:
            return round(float(np.mean(answers(changed, self.network, parts, heldout, self.seed) == wanted)), 5)

        plain = dataclasses.replace(model, noise=None)
        own = {key: value for key, value in fitted.items() if not key.startswith("fc8")}
        found = {"no noise, the network's fc8": right(plain, own), "the network's fc8": right(model, own)}
        if model.refit:
            found["fc8 refitted"] = right(model, fitted)
        parts = [heldout[i : i + BATCH].astype(np.float32) for i in range(0, len(heldout), BATCH)]
        whole = [keras.ops.convert_to_numpy(tail(part, training=False)).argmax(1) for part in parts]
        found["the network"] = round(float(np.mean(np.concatenate(whole) == wanted)), 5)
        facts |= {"validation_accuracy": found, "validation_faces": len(wanted), "training_faces": len(labels)}
        facts["golden_output"] = self._golden_output(model, fitted)
        facts |= {"config": to_dict(model), "augmented": self.augmented, "seed": self.seed}
        if model.noise:
            epsilon = spent_epsilon(Noise(model.noise.sigma, model.noise.clip), 1)
            facts["epsilon_at_delta_1e-5"] = round(epsilon, 3)
        logging.info("%s: %s", model.name, facts["validation_accuracy"])
        return fitted, facts

    def _fit_code(self, model: ModelConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        base, code = weights.of_base(model), given(model.code, f"{model.name} has no code")
        train, held_out = ((np.float64(part[0][model.cut]), part[1]) for part in (self.train, self.validation))
        if base:
            down = reduction.Linear(base["reduce/kernel"], base["reduce/bias"])
            train, held_out = ((reduction.mapped(part, down), labels) for part, labels in (train, held_out))
            fitted = codes.choose(train, held_out, code.epsilon)
        else:
            fitted = codes.of_book(label.book(len(self.config.classes)), train, held_out, code.epsilon)
        arrays = coded.arrays_of(fitted.book, fitted.joint)
        model = dataclasses.replace(model, code=dataclasses.replace(code, symbols=fitted.book.k))
        halves = graph.split(self.network, model.cut)
        head, tail = embeddings.get(model.embedding).attach(*halves, {**base, **arrays}, model)
        facts = {**fitted.facts, "golden_output": coded_output(head, tail, fitted.book, code.epsilon)}
        facts |= {"config": to_dict(model), "augmented": self.augmented, "seed": self.seed}
        logging.info("%s: %s", model.name, facts["held_out_accuracy_by_symbols"])
        return arrays, facts

    def _golden_output(self, model: ModelConfig, fitted: dict[str, np.ndarray]) -> list[float]:
        released = weights.decode(weights.encode(fitted, ARRAYS_DTYPE))
        attach = embeddings.get("reduced_simple").attach
        head, tail = attach(*graph.split(self.network, model.cut), released, model)
        layers = [*graph.layers(head), *graph.layers(tail)]
        return golden_output(graph.chain(layers, head.input_shape[1:], head.input.name, "whole"))
