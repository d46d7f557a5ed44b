"""The attacks that are run on a model: cells of the grid, and the figures made from their results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.audit import limits
from privzoo.audit.attacks import attackers, attributes, deep, identity, symbols
from privzoo.audit.attacks.deep import EPOCHS as DEEP_EPOCHS
from privzoo.audit.attacks.rank import rank_privacy
from privzoo.audit.features import Faces, Features, View, stored
from privzoo.audit.report.summary import RANKS
from privzoo.audit.runner import Cell
from privzoo.evaluation import drawn, intervals
from privzoo.evaluation.drawn import Coded
from privzoo.mechanisms.gaussian import Noise
from privzoo.model import SplitModel
from privzoo.outputs import ATTRIBUTES, Output, decided

TINY = 1e-12  # smallest probability whose logarithm is taken


@dataclass(frozen=True)
class Plan:
    """What an audit does, the same for every model."""

    cache: Path
    seeds: tuple[int, ...] = identity.SEEDS
    queries: tuple[int, ...] = identity.QUERIES
    attackers: tuple[str, ...] = tuple(attackers.ATTACKERS)
    # Float heads that the deep attacker attacks: activations of the "last" cut, those of every cut ("spatial"),
    # "all", or "none". Before the last cut, convolutions are to be trained: minutes for each seed.
    deep: str = "last"
    deep_epochs: int = DEEP_EPOCHS
    epsilons: tuple[float, ...] = ()  # further budgets for models with noise or a code; of a code, () is 1, 2 and 4


@dataclass(frozen=True)
class Known:
    """Faces with their features: one side of an attack."""

    features: tuple[Features, ...]  # of the faces, and maybe of their mirror images
    faces: Faces

    def labels(self, label: str) -> np.ndarray:
        """A label of every row."""
        return np.tile(self.faces.labels[label], len(self.features))

    @property
    def ids(self) -> list[str]:
        """Identifiers of the photographs, for every row."""
        return list(self.faces.ids) * len(self.features)

    def rows(self) -> np.ndarray:
        """All rows, float32 (N, ...)."""
        parts = [f.read() for f in self.features]
        return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)

    def light(self) -> Known:
        """The same without the chips, to be sent to other processes."""
        return replace(self, faces=replace(self.faces, chips=np.empty(0, np.uint8)))

    @property
    def keys(self) -> list[str]:
        """Hashes of what decides the rows and their labels."""
        return [*(f.key for f in self.features), self.faces.key]


@dataclass(frozen=True)
class Target:
    """One feature, under one noise, that is attacked."""

    feature: str  # "features", "label", "logit", "gradients"
    view: View
    train: Known
    test: Known
    noise: Noise | Coded | None = None
    epsilon: float | None = None  # of the noise, if a budget set it
    background: Known | None = None

    @property
    def dimensions(self) -> int:
        """Numbers in a feature."""
        return int(np.prod(self.test.features[0].read().shape[1:]))

    def answers(self, model: SplitModel, cache: Path) -> tuple[Target, Target]:
        """What the service itself learns, as two more targets: the predicted class, and the probabilities."""
        sides = [[_answers(model, f, self.noise) for f in side.features] for side in (self.train, self.test)]

        def target(name: str, made: Callable[[np.ndarray], np.ndarray]) -> Target:
            train, test = (
                Known(tuple(stored(made(p), cache) for p in side), known.faces)
                for side, known in zip(sides, (self.train, self.test), strict=True)
            )
            return replace(self, feature=name, train=train, test=test, noise=None, epsilon=None, background=None)

        label, logit = (functools.partial(made, output=model.output) for made in (_label, _logit))
        return target("label", label), target("logit", logit)


def _answers(model: SplitModel, features: Features, noise: Noise | Coded | None) -> np.ndarray:
    values = np.asarray(features.read())
    # One answer for each image, as the service gets it; the same at every run.
    return model.classify(drawn.arrived(values, noise, np.random.default_rng(0)))


def _label(probabilities: np.ndarray, output: Output) -> np.ndarray:
    if output == ATTRIBUTES:
        return decided(probabilities, output).astype(np.float32)
    return np.eye(probabilities.shape[1], dtype=np.float32)[probabilities.argmax(1)]


def _logit(probabilities: np.ndarray, output: Output) -> np.ndarray:
    logs = np.log(np.maximum(probabilities, TINY))
    if output == ATTRIBUTES:
        return logs - np.log(np.maximum(1 - probabilities, TINY))
    return logs[:, 1:] - logs[:, :1] if logs.shape[1] == 2 else logs


def attack(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: an identity or attribute attack. Returns hits, or errors in years, of each seed and face."""
    train, test, background = inputs["train"], inputs["test"], inputs["background"]
    label, layers = settings["label"], inputs["layers"]
    if background:
        identity.check_apart(background.ids, test.ids)
    noise = limits.mechanism(settings["noise"])
    options: dict[str, Any] = {"noise": noise, "queries": settings["queries"], "seeds": tuple(settings["seeds"])}
    options |= {"train_ids": train.ids, "test_ids": test.ids}
    known, labels, scored, truth = train.rows(), train.labels(label), test.rows(), test.labels(label)
    if label == "age":
        errors = attributes.regress(known, labels, scored, truth, **options)
        return {"errors": {name: _short(rows) for name, rows in errors.items()}}
    kind = "person" if label == "identity" else f"{label} class"
    if settings["attackers"] == [symbols.NAME]:
        code = drawn.averaged(noise, settings["queries"])
        assert isinstance(code, Coded), "symbols are attacked only where a code sends them"
        fit = symbols.attacker(code, known)
        options |= {"attackers": {symbols.NAME: fit}, "prepared": False}
    elif layers:
        fit = deep.attacker(layers, known.shape[1:], settings["epochs"])
        options |= {"attackers": {settings["attackers"][0]: fit}, "prepared": False}
    else:
        others = background and (background.rows(), background.labels("identity"))
        options |= {"attackers": settings["attackers"], "background": others}
    outcomes = identity.attack(known, labels, scored, truth, **options, kind=kind).outcomes
    return {
        "top1": {o.attacker: _short(o.top1) for o in outcomes},
        "top5": {o.attacker: _short(o.top5) for o in outcomes},
    }


def _short(values: np.ndarray) -> list[list[float]]:
    return np.round(values.astype(np.float64), 6).tolist()


def make(
    target: Target,
    label: str,
    plan: Plan,
    queries: int = 1,
    names: Sequence[str] | None = None,
    layers: list[dict[str, Any]] | None = None,
) -> list[Cell]:
    """Cells of one attack on one target: one for each seed, or one for all if they share the expensive part.

    Args:
        target: what is attacked.
        label: "identity", "race", "age" or "gender".
        plan: seeds and attackers.
        queries: features of one image that the attacker averages.
        names: of the attackers; None: the plan's.
        layers: of a deep attacker, whose name is then the only one.
    """
    if isinstance(target.noise, Coded) and target.noise.permanent:
        # All queries are one answer: the cells are those of one query without permanent answers.
        target, queries = replace(target, noise=replace(target.noise, permanent=False)), 1
    noise = limits.described(target.noise)
    background = target.background if layers is None and label == "identity" else None
    settings = {
        "label": label,
        "train": target.train.keys,
        "test": target.test.keys,
        "background": background and background.keys,
        "noise": noise,
        "queries": queries,
        "attackers": list(names or plan.attackers),
        "layers": layers,
        "epochs": plan.deep_epochs if layers else None,
    }
    inputs = {
        "train": target.train.light(),
        "test": target.test.light(),
        "background": background and background.light(),
        "layers": layers,
    }
    # Without noise the components of long features are the same for every seed, and take longest of all.
    shared = noise is None and layers is None
    groups = [list(plan.seeds)] if shared else [[seed] for seed in plan.seeds]
    return [Cell(attack, {**settings, "seeds": seeds}, inputs) for seeds in groups]


def common(target: Target, label: str, plan: Plan, queries: int) -> dict[str, Any]:
    """What the figures of one attack share."""
    return {
        "attack": label,
        "variant": target.view.name,
        "feature": target.feature,
        "noise": limits.entry(target.noise, target.epsilon),
        "queries": queries,
        "count": len(target.test.faces.ids),
        "seeds": list(plan.seeds),
        "data": target.test.faces.name,
        "sha256": target.view.sha256,
        "weak": False,
    }


def figures(target: Target, label: str, plan: Plan, queries: int, results: Iterable[dict[str, Any]]) -> list[dict]:
    """Figures of one attack from the results of its cells, in the format of `privzoo.audit.runner`.

    Args:
        target: what was attacked.
        label: what was learnt.
        plan: its seeds.
        queries: features of one image that were averaged.
        results: of the cells of each group of attackers, in the order of seeds.
    """
    results = list(results)
    shared = common(target, label, plan, queries)
    kinds = {"errors": "mean error"} if label == "age" else {"top1": "top-1", "top5": "top-5"}
    if label in ("race", "gender"):
        kinds = {"top1": "balanced accuracy"}
    truth = np.unique(target.test.labels(label), return_inverse=True)[1]
    people = target.test.faces.labels.get("identity")  # if the data set has identities
    found = []
    bound = limits.top1(target.noise, queries, target.dimensions, int(truth.max()) + 1)
    bounded = {"top1": bound, "top5": None, "errors": None}
    sent = drawn.averaged(target.noise, queries)
    exact = isinstance(sent, Coded) and sent.outcomes() is not None
    for key, metric in kinds.items():
        table: dict[str, list[list[float]]] = {}
        for result in results:
            for name, rows in result[key].items():
                table.setdefault(name, []).extend(rows)
        own = []
        for name, rows in table.items():
            values = np.array(rows)
            if label == "identity":
                figure = intervals.over_people(values, truth)
            elif label == "age":
                figure = intervals.mean(values, people)
            else:
                figure = intervals.balanced(values, truth, people)
            shown = {k: round(v, 6) for k, v in figure.ends().items()}
            own.append(limits.judged({**shared, "metric": metric, "attacker": name, **shown}, bounded[key], exact))
        pick = min if label == "age" else max
        best = pick((f for f in own if f["attacker"] != "chance"), key=lambda f: f["value"])
        found += [{**f, "best": f is best} for f in own]
        if label == "identity":
            tables = [np.array(rows) for name, rows in table.items() if name != "chance"]
            # Not all attackers have the same seeds; only the mean over them counts here.
            best_value = next(f for f in found if f["best"] and f["metric"] == metric)
            best_value["optimism"] = round(intervals.best_of(tables, truth), 6)
            if key == "top1":
                best_value["by_person"] = _by_person(np.array(table[best_value["attacker"]]), truth)
    return found


def _by_person(hits: np.ndarray, people: np.ndarray) -> list[str]:
    """Each person's share of hits, as text, for comparisons with attacks on the same people: a line for each seed."""
    return [" ".join(f"{share:.4g}" for share in row) for row in intervals.by_person(hits, people)]


def chance(target: Target, label: str) -> list[dict]:
    """Figures of guessing among classes."""
    share = 1 / len(np.unique(target.test.labels(label)))
    metrics = {"top-1": share, "top-5": min(1.0, 5 * share)} if label == "identity" else {"balanced accuracy": share}
    return [
        {
            "attack": label,
            "metric": metric,
            "variant": target.view.name,
            "feature": "chance",
            "noise": None,
            "queries": 1,
            "attacker": "chance",
            "best": True,
            **dict.fromkeys(("value", "low", "high"), round(value, 6)),
            "count": len(target.test.faces.ids),
            "seeds": [],
            "data": target.test.faces.name,
            "sha256": target.view.sha256,
            "weak": False,
        }
        for metric, value in metrics.items()
    ]


def rank(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: rank privacy, with all seeds, of one kind in `RANKS`."""
    train, test = inputs["train"], inputs["test"]
    known, people = train.rows(), train.labels("identity")
    noise = settings["noise"]
    options: dict[str, Any] = {"seeds": tuple(settings["seeds"])}
    if settings["kind"] == "other photographs":
        options["queries"] = (test.rows(), test.labels("identity"))
    else:
        known, people = np.concatenate([known, test.rows()]), np.concatenate([people, test.labels("identity")])
        options["per_sample"] = settings["kind"] == "per sample"
    sigma, radius = (noise["sigma"], noise["clip"]) if noise else (0.0, None)
    found = rank_privacy(known, people, sigma, radius=radius, **options)
    return {"count": found.count, **{key: round(getattr(found, key), 6) for key in ("value", "low", "high")}}


def make_ranks(target: Target, plan: Plan) -> list[Cell]:
    """Cells of rank privacy, one for each kind; mirror images do not count as separate photographs."""
    train, test = (replace(side.light(), features=side.features[:1]) for side in (target.train, target.test))
    noise = limits.described(target.noise)
    settings = {"train": train.keys, "test": test.keys, "noise": noise, "seeds": list(plan.seeds)}
    return [Cell(rank, {**settings, "kind": kind}, {"train": train, "test": test}) for kind in RANKS]


def rank_figures(target: Target, plan: Plan, results: Iterable[dict[str, Any]]) -> list[dict]:
    """Figures of rank privacy: 1 / people to 1, and 0.5 + 0.5 / people if features say nothing about the person."""
    shared = common(target, "rank", plan, 1)
    return [
        {**shared, **result, "metric": "rank privacy", "attacker": kind, "best": kind != "per sample"}
        for kind, result in zip(RANKS, results, strict=True)
    ]
