"""Model cards: what a model is, its cost, its training data and its measured figures. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privzoo import card_files, card_text, config, measurement
from privzoo.config import DATAMIX, FULL, OBFUSCATED, SPEECH, ModelConfig, NetworkConfig, to_dict
from privzoo.costs import Cost, cost, heads
from privzoo.crowd import FACES, SPEAKERS, Crowd
from privzoo.measurement import PART, Measurement
from privzoo.outputs import ATTRIBUTES

if TYPE_CHECKING:
    from privzoo.mechanisms.bounds import Bounds

BALANCED = "balanced accuracy"  # the metric, as `privzoo.evaluation.classes` names it
IDENTITY_ATTACK = "identity attack, top-1"  # the metric; `tflite/web` looks it up too
REBUILT = "reconstruction attack, recognised"  # the metric: by the strongest decoder, which sees features alone
UNMIXED = "recovered from the mixtures of one request"  # the metric: the share of its faces


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

    def among(self) -> Crowd:
        """Among whom attackers look for a person: those whom attacks were measured on, else those of the protocol."""
        usual = SPEAKERS if self.network.input == SPEECH else FACES
        # Guessing is measured beside attacks; of older figures, and those of other commands, it is missing.
        guessed = [m.value for m in self.measurements if m.metric == IDENTITY_ATTACK and m.variant.endswith(", chance")]
        return dataclasses.replace(usual, people=round(1 / guessed[-1])) if guessed else usual

    def bound(self) -> float:
        """Highest share of `among` that any attacker identifies from one feature or answer; 1: there is no bound."""
        found = self.bounds()
        return found[0].top1(self.among().people) if found else 1.0

    def identified(self) -> str:
        """How many people the strongest attack identifies, or for a code the most that any attack can."""
        from privzoo.mechanisms.budget import rounded_up

        # No attack can exceed a code's bound, so none needs to be tried.
        if self.model.code and (bound := self.bound()) < 1:
            return f"at most {rounded_up(100 * bound)}%"
        attack = self.identity_attack()
        return f"{attack.value:.1%}" if attack else "not measured"

    def budget(self) -> str:
        """Epsilon of one feature and what it means, in words; empty without noise."""
        from privzoo.evaluation import epsilon

        if code := self.model.code:
            return epsilon.words_of_code(code.symbols, code.epsilon, self.among())
        noise = self.model.noise
        return epsilon.words(noise.sigma, noise.clip, nouns=card_text.nouns(self.network)) if noise else ""

    def identity_attack(self) -> Measurement | None:
        """The strongest identity attack measured on the feature; None if there was none.

        What the answer alone reveals about the person does not count: no embedding hides that.
        """
        from privzoo.evaluation.intervals import highest

        # Codes are attacked at other budgets too, and those are not what the model sends.
        sent = f", feature, epsilon {self.epsilon():g}," if self.model.code else ", feature"
        return highest(m for m in self.measurements if m.metric == IDENTITY_ATTACK and sent in m.variant)

    def unmixed(self) -> Measurement | None:
        """Of a DataMix model, the share of faces that an attacker recovers from a request; None until measured."""
        return next((m for m in self.measurements if m.metric == UNMIXED), None)

    def rebuilt(self) -> Measurement | None:
        """How many faces a recogniser names in what the strongest decoder rebuilds; None until measured."""
        from privzoo.evaluation.intervals import highest

        return highest(m for m in self.measurements if m.metric == REBUILT)

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
            "output": self.network.output,
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

    def _broken(self) -> str:
        return card_text.broken(self.unmixed(), self.identity_attack(), self.among(), card_text.nouns(self.network))

    def _unproved(self) -> str:
        return card_text.unproved(self.rebuilt(), self.identity_attack(), self.among())

    def __str__(self) -> str:
        """The card as Markdown."""
        cost, model, network = self.cost, self.model, self.network
        start = network.training.start or network.parent
        mixing = network.mixing if model.embedding == DATAMIX else None
        told = ", each present or not" if network.output == ATTRIBUTES else ""
        reduction = {"pca": ", by PCA", "autoencoder": ", by an auto-encoder"}[model.reduction]
        lines = [
            f"# {self.model.name}" + ("" if self.head == FULL else f", {self.head} head"),
            "",
            *([self._broken(), ""] if mixing else []),
            *([self._unproved(), ""] if network.obfuscation else []),
            self.network.description,
            "",
            f"- task: {network.task} ({', '.join(network.classes)}){told}, {card_text.input_of(network)}",
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
            *card_text.by_budget(self.at_budgets, network),
            *card_text.by_subgroup(self.subgroups),
            *card_text.bounds(self.bounds(), network, self.among(), self.attack_of),
            "",
            "Limitations:",
            "",
            *(f"- {limit}" for limit in card_text.limits(network, model)),
        ]
        return "\n".join(lines)


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
    figures = measurement.read(model.name, head)
    record, subgroups = _read_record(network), card_files.read_subgroups(model.name, head)
    budgets = card_files.read_budgets(model.name, head) if model.code else None
    return Card(model, network, costs, figures, record, head, subgroups, budgets)
