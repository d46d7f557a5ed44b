"""Model cards: what a model is, its cost, its training data and its measured figures. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privzoo import architectures, card_files, card_text, config
from privzoo.architectures import obfuscator
from privzoo.architectures.layers import LayerCost
from privzoo.card_text import DATAMIX, OBFUSCATED
from privzoo.config import FULL, HEADS, SLIM, ModelConfig, NetworkConfig, from_dict, to_dict
from privzoo.errors import ConfigError, UnknownNameError
from privzoo.provenance import write_json

if TYPE_CHECKING:
    from privzoo.evaluation.intervals import Estimate
    from privzoo.mechanisms.bounds import Bounds

BYTES_OF_FLOAT32 = 4
LABEL = "label"  # the embedding that leaves no part of the network to the cloud

BALANCED = "balanced accuracy"  # the metric, as `privzoo.evaluation.classes` names it
PART = ", one face in "  # in a measurement's data: not on all of its faces
IDENTITY_ATTACK = "identity attack, top-1"  # the metric; `tflite/web` looks it up too


@dataclass(frozen=True)
class Measurement:
    """One measured figure, as a command of the project wrote it."""

    metric: str  # "accuracy", "label agreement", ...
    variant: str  # what was measured, such as "int8 head + tail"
    data: str  # data set and split
    value: float  # share in 0..1, or in `unit`
    low: float  # 95% interval
    high: float
    count: int  # faces
    seeds: tuple[int, ...]  # of all randomness; empty if there was none
    date: str  # ISO 8601
    git: str  # revision of the code
    command: str  # reproduces it
    sha256: str  # of the head that was measured: the .tflite's flatbuffer, or the float weights
    unit: str = "share"  # or "years"
    clusters: int = 0  # people, or faces if identities are unknown; 0: written before this was recorded
    method: str = ""  # of the interval, as `privzoo.evaluation.intervals` names it

    def estimate(self) -> Estimate:
        """The figure alone, for comparisons and goals."""
        from privzoo.evaluation.intervals import Estimate

        return Estimate(self.value, self.low, self.high, self.count, self.clusters, self.method)

    def shown(self, value: float) -> str:
        """Formats the value, or an end of its interval, for people."""
        return f"{value:.2%}" if self.unit == "share" else f"{value:.1f} {self.unit}"


@dataclass(frozen=True)
class Cost:
    """What a model's two halves cost per image; counts come from the layer tables."""

    feature_shape: tuple[int, ...]  # height, width, channels, or (dimensions,); a code is a symbol and its epsilon
    feature_bytes: int  # as float32, before any framing; the symbol of a code is one byte
    head_parameters: int
    tail_parameters: int
    head_multiply_adds: int
    tail_multiply_adds: int
    network_multiply_adds: int  # of the full head and the tail

    @property
    def head_share(self) -> float:
        """The head's multiply-adds as a share of the full head's and the tail's, 0..1."""
        return self.head_multiply_adds / self.network_multiply_adds


@dataclass(frozen=True)
class Card:
    """Everything that the zoo says about a model with one of its heads."""

    model: ModelConfig
    network: NetworkConfig
    cost: Cost
    measurements: tuple[Measurement, ...]
    record: dict[str, Any] | None  # of training and release, stored next to the weights; None until released
    head: str = FULL  # "full" or "slim"
    subgroups: dict[str, Any] | None = None  # as in `card_files.write_subgroups`; None until measured
    at_budgets: dict[str, Any] | None = None  # of a code: what tools/codes.py measured at each budget; None until then

    @property
    def artefact(self) -> str:
        """The stem of this head's file names: the model, and the head unless it is the full one."""
        return self.model.name if self.head == FULL else f"{self.model.name}_{self.head}"

    @property
    def own_head(self) -> bool:
        """Whether the head shares no layer with other models' heads: a slim one, or an obfuscator."""
        return self.head != FULL or self.model.embedding == OBFUSCATED

    def figure(self, metric: str, variant: str) -> Measurement | None:
        """The measurement of a metric for a variant, on the most faces if there are several; None if there is none."""
        found = [m for m in self.measurements if (m.metric, m.variant) == (metric, variant)]
        return max(found, key=lambda m: m.count, default=None)

    def one_answer(self) -> Measurement | None:
        """The accuracy of always answering the most frequent class, on the most faces; None if not measured."""
        found = [m for m in self.measurements if m.metric == "accuracy" and m.variant.startswith("always ")]
        return max(found, key=lambda m: m.count, default=None)

    def told(self) -> tuple[Measurement | None, Measurement | None]:
        """Accuracy and balanced accuracy, both of one head on the same faces; `card_text.TOLD` says of which.

        Of a card without balanced accuracy, accuracy alone.
        """
        from privzoo.evaluation.variants import FLOAT, INT8

        variants = (INT8, FLOAT)
        found = {(m.metric, m.variant, m.data): m for m in self.measurements}
        # A part of the faces counts only where there is nothing on all of them.
        for part, variant in itertools.product((False, True), variants):
            on = [m for m in self.measurements if m.variant == variant and (PART in m.data) == part]
            both = [(a, b) for a in on if a.metric == "accuracy" and (b := found.get((BALANCED, variant, a.data)))]
            if both:
                return max(both, key=lambda pair: pair[0].count)
        alone = (self.figure("accuracy", variant) for variant in variants)
        return next((m for m in alone if m), None), None

    def epsilon(self) -> float | None:
        """Budget that one feature spends, at delta 1e-05, or at delta 0 for a code; None without noise."""
        from privzoo.mechanisms.gaussian import Gaussian

        if self.model.code:
            return self.model.code.epsilon
        noise = self.model.noise
        return Gaussian(noise.sigma, noise.clip).epsilon() if noise else None

    def feature(self) -> str:
        """What leaves the device, in a few characters."""
        return "1 symbol" if self.model.code else "x".join(map(str, self.cost.feature_shape))

    def budget(self) -> str:
        """Epsilon of one feature and what it means, in words; empty without noise."""
        from privzoo.evaluation import epsilon

        if code := self.model.code:
            return epsilon.words_of_code(code.symbols, code.epsilon)
        noise = self.model.noise
        return epsilon.words(noise.sigma, noise.clip) if noise else ""

    def identity_attack(self) -> Measurement | None:
        """The strongest identity attack measured on the feature; None if there was none.

        What the answer alone reveals about the person does not count: no embedding hides that.
        """
        from privzoo.evaluation.intervals import highest

        # Codes are attacked at other budgets too, and those are not what the model sends.
        sent = f", feature, epsilon {self.epsilon():g}," if self.model.code else ", feature"
        return highest(m for m in self.measurements if m.metric == IDENTITY_ATTACK and sent in m.variant)

    def bounds(self) -> tuple[Bounds, ...]:
        """What no attacker can exceed from one, 10 and 100 features or answers; empty for a code not yet fitted."""
        from privzoo.mechanisms.bounds import QUERIES, bounds
        from privzoo.mechanisms.gaussian import Gaussian
        from privzoo.mechanisms.randomized_response import RandomizedResponse

        code, noise = self.model.code, self.model.noise
        if code:
            if code.symbols is None:
                return ()
            response = RandomizedResponse(code.symbols, code.epsilon)
            repeated = bounds(response, QUERIES[-1], permanent=True)
            return (*(bounds(response, queries) for queries in QUERIES), repeated)
        mechanism = Gaussian(noise.sigma, noise.clip) if noise else None
        size = math.prod(self.cost.feature_shape)
        return tuple(bounds(mechanism, queries, dimensions=size) for queries in QUERIES)

    def attack_of(self, queries: int) -> Measurement | None:
        """The strongest identity attack measured that averages so many queries, at the model's own budget."""
        from privzoo.evaluation.intervals import highest

        epsilon = self.epsilon()
        budget = "" if epsilon is None else f"epsilon {round(epsilon, 3):g}, "
        asked = f", feature, {budget}{queries} {'query' if queries == 1 else 'queries'}"
        if epsilon is None:  # one feature tells as much as many
            asked = ", feature"
        return highest(m for m in self.measurements if m.metric == IDENTITY_ATTACK and asked in m.variant)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, one flat entry per fact, as `privzoo list --json` prints it."""
        return {
            "name": self.model.name,
            "task": self.network.task,
            "classes": list(self.network.classes),
            "network": self.model.network,
            "architecture": self.network.architecture,
            "cut": self.model.cut,
            "embedding": self.model.embedding,
            "version": self.model.version,
            "head": self.head,
            "heads": list(heads(self.model)),
            "reduction": self.model.reduction if self.model.dimensions else None,
            "step": self.model.step,
            "noise": to_dict(self.model.noise) if self.model.noise else None,
            "code": to_dict(self.model.code) if self.model.code else None,
            "mixing": to_dict(self.network.mixing) if self.network.mixing else None,
            "obfuscation": to_dict(self.network.obfuscation) if self.network.obfuscation else None,
            "budget": self.budget() or None,
            # JSON has no infinity: null where there is no bound.
            "bounds": [
                {key: None if value == math.inf else value for key, value in dataclasses.asdict(one).items()}
                for one in self.bounds()
            ],
            "input": self.network.input,
            "input_size": self.network.input_size,
            **to_dict(self.cost),
            "head_share_of_multiply_adds": self.cost.head_share,
            "measurements": [to_dict(m) for m in self.measurements],
            "subgroups": self.subgroups,
            "at_budgets": self.at_budgets,
            "training_data": card_text.training_data(self.network, self.record),
            "start_weights": self.network.training.start or self.network.parent,
            "weights": to_dict(self.network.weights) if self.network.weights else None,
            "embedding_weights": to_dict(self.model.weights) if self.model.weights else None,
            "slim_weights": to_dict(self.model.slim.weights) if self.model.slim else None,
            "training_record": self.record,
            "description": self.network.description,
            "licence": self.network.licence,
            "limits": list(card_text.limits(self.network, self.model)),
        }

    def __str__(self) -> str:
        """The card as Markdown."""
        cost, model, network = self.cost, self.model, self.network
        start = network.training.start or network.parent
        mixing = network.mixing if model.embedding == DATAMIX else None
        reduction = {"pca": ", by PCA", "autoencoder": ", by an auto-encoder"}[model.reduction]
        lines = [
            f"# {self.model.name}" + ("" if self.head == FULL else f", {self.head} head"),
            "",
            self.network.description,
            "",
            f"- task: {network.task} ({', '.join(network.classes)}), {card_text.input_of(network)}",
            f"- network {self.model.network} ({self.network.architecture}), cut after {self.model.cut}, "
            f"embedding {self.model.embedding}, version {self.model.version}",
            card_text.feature(model, cost) + (reduction if model.dimensions and not model.code else ""),
            *(
                f"- code: {code.symbols} symbols, "
                + (f"of the reduced feature of {code.base}" if code.base else "the classes that the network predicts")
                + f", fitted on {code.faces:,} training {card_text.nouns(network)}; randomized response on the device; "
                + self.budget()
                for code in (model.code,)
                if code
            ),
            *(
                f"- noise: Gaussian, standard deviation {noise.sigma:g}, on features clipped to radius {noise.clip:g}, "
                f"drawn on the device; {self.budget()}"
                for noise in (model.noise,)
                if noise
            ),
            *(
                f"- mixed: in groups of {one.group}, with {one.coefficients} coefficients drawn on the device for each "
                "request; the last layer is computed on the device"
                for one in (mixing,)
                if one
            ),
            *card_text.obfuscation(network),
            f"- {self.head} head: {cost.head_parameters:,} parameters, {cost.head_multiply_adds:,} multiply-adds "
            f"({cost.head_share:.1%} of the network's)",
            f"- tail: {cost.tail_parameters:,} parameters, {cost.tail_multiply_adds:,} multiply-adds",
            *(
                f'- another head for the same tail: privzoo.load("{self.model.name}", head="{other}")'
                for other in heads(self.model)
                if other != self.head
            ),
            f"- trained on {card_text.training_data(network, self.record)}" + (f", from {start}" if start else ""),
            *card_text.own_data(self.record),
            *card_text.history(self.record, network),
            f"- licence: {self.network.licence}",
            "",
            *card_text.figures(self.measurements, network),
            *card_text.by_budget(self.at_budgets),
            *card_text.by_subgroup(self.subgroups),
            *card_text.bounds(self),
            "",
            "Limitations:",
            "",
            *(f"- {limit}" for limit in card_text.limits(network, model)),
        ]
        return "\n".join(lines)


def heads(model: ModelConfig) -> tuple[str, ...]:
    """Heads that a model has."""
    return HEADS if model.slim else (FULL,)


def check_head(model: ModelConfig, head: str) -> None:
    """Raises UnknownNameError unless a model has the head."""
    if head not in heads(model):
        raise UnknownNameError(f"{model.name} has no head {head!r}; it has {', '.join(heads(model))}.")


def _head_costs(
    model: ModelConfig, network: NetworkConfig, channels: Mapping[str, int] | None = None
) -> list[LayerCost]:
    """Costs of the layers up to the cut, and of the reduction if there is one."""
    layers = architectures.costs(
        network.architecture, network.input_shape, len(network.classes), network.classifier, channels
    )
    cut = architectures.cut_layer(network.architecture, model.cut)
    found = layers[: [layer.name for layer in layers].index(cut) + 1]
    if model.dimensions and model.embedding != LABEL:
        products = math.prod(found[-1].shape) * model.dimensions
        found.append(LayerCost("reduce", (model.dimensions,), products + model.dimensions, products))
    return found


def cost(model: ModelConfig, network: NetworkConfig, head: str = FULL) -> Cost:
    """Computes a model's cost from the layer tables and its reduction.

    Raises:
        UnknownNameError: the network's architecture cannot be cut there, or the model has no such head.
        ConfigError: an obfuscated model of a network without an obfuscator, or another model of one with it.
    """
    if (model.embedding == OBFUSCATED) != (network.obfuscation is not None):
        raise ConfigError(
            f"{model.name} is {model.embedding}, but {network.name} has {'an' if network.obfuscation else 'no'} "
            "obfuscator; an obfuscated model needs a network that was trained with one, and other models one without."
        )
    if model.embedding != LABEL or model.cut != architectures.LAST:
        architectures.check_cut(network.architecture, model.cut)
    check_head(model, head)
    layers = architectures.costs(network.architecture, network.input_shape, len(network.classes), network.classifier)
    if network.obfuscation:
        front = obfuscator.costs(network.input_shape, network.obfuscation.width)
        return _cost(front, layers, front)
    end = [layer.name for layer in layers].index(architectures.cut_layer(network.architecture, model.cut)) + 1
    full, tail = _head_costs(model, network), layers[end:]
    if model.embedding == DATAMIX:  # the last layer is the device's too
        shape = full[-1].shape
        found = _cost([*full, tail[-1]], tail[:-1], [*full, tail[-1]])
        return dataclasses.replace(found, feature_shape=shape, feature_bytes=math.prod(shape) * BYTES_OF_FLOAT32)
    if model.code:
        weights = (model.code.symbols or 0) * len(network.classes)
        found = _cost(full, [LayerCost("posterior", (len(network.classes),), weights, weights)], full)
        return dataclasses.replace(found, feature_shape=(2,), feature_bytes=1)
    if model.dimensions:
        shape = layers[end - 1].shape
        products = math.prod(shape) * model.dimensions
        tail.insert(0, LayerCost("reconstruct", shape, products + math.prod(shape), products))
    own = _head_costs(model, network, model.slim.channels) if head == SLIM and model.slim else full
    return _cost(own, tail, full)


def _cost(head: list[LayerCost], tail: list[LayerCost], full: list[LayerCost]) -> Cost:
    return Cost(
        feature_shape=head[-1].shape,
        feature_bytes=math.prod(head[-1].shape) * BYTES_OF_FLOAT32,
        head_parameters=sum(layer.parameters for layer in head),
        tail_parameters=sum(layer.parameters for layer in tail),
        head_multiply_adds=sum(layer.multiply_adds for layer in head),
        tail_multiply_adds=sum(layer.multiply_adds for layer in tail),
        network_multiply_adds=sum(layer.multiply_adds for layer in (*full, *tail)),
    )


def _measurements_file(name: str, head: str) -> Path:
    return card_files.path("cards", name, head)


def read_measurements(name: str, head: str = FULL) -> tuple[Measurement, ...]:
    """Measured figures of a model's head, empty if nothing has been measured yet.

    Raises:
        ConfigError: the file is damaged.
    """
    path = _measurements_file(name, head)
    if not path.exists():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"The card {path} is not valid JSON ({error}); delete it and measure again with tools/evaluate.py."
        ) from None
    return tuple(from_dict(Measurement, entry, str(path)) for entry in entries)


def write_measurements(name: str, new: list[Measurement], head: str = FULL) -> None:
    """Adds measurements to the card of a model's head, replacing those with the same metric, variant and data.

    A figure on every Nth face of a data set is dropped if there is one on all faces: it is the same quantity.
    """
    merged = {(m.metric, m.variant, m.data): m for m in (*read_measurements(name, head), *new)}
    kept = [m for m in merged.values() if PART not in m.data or _on_all_faces(m) not in merged]
    write_json(_measurements_file(name, head), [to_dict(m) for m in kept])


def _on_all_faces(m: Measurement) -> tuple[str, str, str]:
    return m.metric, m.variant, m.data.partition(PART)[0]


def _read_record(network: NetworkConfig) -> dict[str, Any] | None:
    if network.weights is None:
        return None
    path = (config.config_folder() / "weights" / network.weights.file).with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read(name: str, head: str = FULL) -> Card:
    """Card of a model by its name, with its full or its slim head.

    Raises:
        UnknownNameError: no such model, or the model has no such head.
    """
    model = config.model(name)
    network = config.network(model.network)
    costs = cost(model, network, head)
    figures = read_measurements(model.name, head)
    record, subgroups = _read_record(network), card_files.read_subgroups(model.name, head)
    budgets = card_files.read_budgets(model.name, head) if model.code else None
    return Card(model, network, costs, figures, record, head, subgroups, budgets)
