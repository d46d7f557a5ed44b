"""Measures what a slim head loses compared with the full one, in one run: accuracy, and identification rate."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo import card
from privzoo.audit import features, model_audit
from privzoo.audit.attacks import attackers, identity
from privzoo.config import FULL, HEADS, SLIM
from privzoo.data import Dataset, splits
from privzoo.errors import ConfigError
from privzoo.evaluation import bars, drawn, intervals
from privzoo.evaluation.intervals import Estimate, exact
from privzoo.evaluation.variants import FLOAT
from privzoo.mechanisms.gaussian import Noise
from privzoo.model import SplitModel
from privzoo.provenance import git_revision
from privzoo.slim import ABOVE, LOST

SHARE, ACCURACY, IDENTITY = 0.25, 0.01, 0.003  # the goals: at most so much
QUERIES = (1, 100)
AGREEMENT = "label agreement with the full head, without noise"
QUANTIZATIONS = ("float", "int8")
People = tuple[features.Faces, features.Faces]  # training and scored faces


@dataclass(frozen=True)
class Seen:
    """What one head gives for faces with the task's label, and for the people who are attacked."""

    sha256: str  # of the head
    test: np.ndarray  # (N, k)
    known: np.ndarray  # (2 M, k): training faces of the people and their mirror images
    scored: np.ndarray  # (L, k)


def variant(quantization: str) -> str:
    """Name of a head with the tail, as cards have it."""
    return FLOAT if quantization == "float" else f"{quantization} TFLite head + tail"


def sent(quantization: str, epsilon: float | None, queries: int) -> str:
    """Name of what a head sends, as cards have it."""
    view = "float head" if quantization == "float" else f"{quantization} TFLite head"
    return model_audit.attacked(view, "features", epsilon, queries)


def hits(
    model: SplitModel, values: np.ndarray, labels: np.ndarray, noise: Noise | None, seeds: Sequence[int]
) -> np.ndarray:
    """Whether the tail tells the class of each face, bool (draws, N): a row for each seed of the noise."""
    return drawn.labels(model.classify, values, noise, seeds) == labels


def attacked(seen: Seen, people: People, noise: Noise | None, queries: int, plan: Mapping[str, Any]) -> identity.Result:
    """The identity attack of protocol 3 on one head."""
    train, test = people
    return identity.attack(
        seen.known,
        np.tile(train.labels["identity"], len(seen.known) // len(train.ids)),
        seen.scored,
        test.labels["identity"],
        noise=noise,
        queries=queries,
        train_ids=list(train.ids) * (len(seen.known) // len(train.ids)),
        test_ids=test.ids,
        **plan,
    )


def _seen(view: features.View, test: features.Faces, people: People, quick: bool) -> Seen:
    train, scored = people
    known = [view.extract(train), *([] if quick else [view.extract(train.mirrored())])]
    rows = [np.asarray(found.read()) for found in (view.extract(test), *known, view.extract(scored))]
    return Seen(view.sha256, rows[0], np.concatenate(rows[1:-1]), rows[-1])


@dataclass(frozen=True)
class Compared:
    """Both heads on the same faces and people, with the same attackers and draws of the noise."""

    figures: list[dict[str, Any]]  # metric, variant, head, value, low, high, count and sha256
    accuracy: Mapping[str, Estimate]  # quantization -> what the slim head loses
    people: Mapping[tuple[str, int], Estimate]  # quantization, averaged queries -> of how many more it gives away


def measure(
    full: SplitModel,
    slim: SplitModel,
    test_set: Dataset,
    validation: Dataset,
    data: model_audit.Data,
    cache: Path,
    seeds: Sequence[int] = identity.SEEDS,
    names: Sequence[str] = tuple(attackers.ATTACKERS),
    heads: Path | None = None,
) -> dict[str, Any]:
    """Measures both heads on the same faces, with the same attackers and draws of the noise.

    Whether the slim head is good enough is decided on validation data and on people who are not measured (protocol 7);
    the test set and the people who are measured are looked at once, for what is published.

    Args:
        full, slim: the model with either head.
        test_set: with the task's label.
        validation: likewise, to decide on.
        data: of the audit.
        cache: folder for features, shared by all tools.
        seeds: of noise and attackers.
        names: of the attackers.
        heads: folder with both exported heads, to measure rather than make them.

    Returns:
        `multiply_adds` by head, `figures` of the test set with metric, variant, value, low, high, count and sha256, and
        `bar`: for each goal what was found on what `decided_on` names, and whether it is met; figures of these data are
        `deciding_figures`.

    Raises:
        ConfigError: the two have different tails.
    """
    manifests = {FULL: full.manifest(), SLIM: slim.manifest()}
    if manifests[FULL]["tail"] != manifests[SLIM]["tail"]:
        raise ConfigError(f"The heads of {full.name} belong to different tails; release the slim one again.")
    size, task = full.input_size, full.card.network.task
    plan = {"seeds": tuple(seeds), "attackers": tuple(names)}
    noise = manifests[FULL]["noise"]
    epsilon = noise and noise["epsilon"]
    views = {(q, m.card.head): model_audit.views(m, [q], cache, heads)[0] for q in QUANTIZATIONS for m in (full, slim)}

    def compared(faces: Dataset, people: People) -> Compared:
        test = features.read(faces, faces.name, size, task)
        seen = {key: _seen(view, test, people, data.quick) for key, view in views.items()}
        return _compared(full, seen, test, people, epsilon, plan)

    deciding, published = compared(validation, data.choosing(size)), compared(test_set, data.people(size))
    adds = {FULL: full.card.cost.head_multiply_adds, SLIM: slim.card.cost.head_multiply_adds}
    adds["network"] = full.card.cost.network_multiply_adds
    return {
        "model": full.name,
        "date": datetime.date.today().isoformat(),
        "git": git_revision(),
        "seeds": list(seeds),
        "attackers": list(names),
        "epsilon": epsilon,
        "data": test_set.name,
        "people": data.people(size)[1].name,
        "decided_on": {"data": splits.validation_name(validation), "people": data.choosing(size)[1].name},
        "tail": manifests[SLIM]["tail"]["weights_sha256"],
        "multiply_adds": adds,
        "figures": published.figures,
        "deciding_figures": deciding.figures,
        "bar": bar(slim.card.cost.head_share, deciding.accuracy, deciding.people),
    }


def _compared(
    model: SplitModel,
    seen: Mapping[tuple[str, str], Seen],
    test: features.Faces,
    people: People,
    epsilon: float | None,
    plan: Mapping[str, Any],
) -> Compared:
    labels = test.labels[model.card.network.task]
    whose = test.labels.get("identity")  # people, where the data set says who it is
    figures: list[dict[str, Any]] = []

    def add(metric: str, of: str, found: Estimate, count: int, quantization: str, head: str = SLIM) -> None:
        values: dict[str, Any] = {name: round(value, 6) for name, value in found.ends().items()}
        values |= {"clusters": found.clusters, "method": found.method}
        sha256 = seen[quantization, head].sha256
        figures.append({"metric": metric, "variant": of, "head": head, **values, "count": count, "sha256": sha256})

    lost, gained = {}, {}
    for q in QUANTIZATIONS:
        right = {head: hits(model, seen[q, head].test, labels, model.gaussian, plan["seeds"]) for head in HEADS}
        for head in HEADS:
            add("accuracy", variant(q), intervals.share(right[head], whose), len(labels), q, head)
        lost[q] = intervals.difference(right[FULL], right[SLIM], whose)
        add(LOST, variant(q), lost[q], len(labels), q)
        plain = {(r, head): _labels(model, seen[r, head].test) for r in {q, "float"} for head in HEADS}
        add(AGREEMENT, variant(q), intervals.share(plain[q, FULL] == plain[q, SLIM], whose), len(labels), q)
        if q != "float":
            alike = intervals.share(plain["float", FULL] == plain[q, SLIM], whose)
            add(f"{AGREEMENT}, in float", variant(q), alike, len(labels), q)
        for queries in QUERIES if model.noise else QUERIES[:1]:
            of, best = sent(q, epsilon, queries), {}
            for head in HEADS:
                own = seen[q, head]
                result = attacked(own, people, model.gaussian, queries, plan)
                best[head] = next(o.top1 for o in result.outcomes if o.attacker == result.best)
                add(card.IDENTITY_ATTACK, of, result.figure(result.best), len(own.scored), q, head)
                figures[-1]["attacker"] = result.best
            both = (intervals.by_person(best[head], result.people) for head in (SLIM, FULL))
            gained[q, queries] = intervals.difference(*both)
            add(ABOVE, of, gained[q, queries], len(own.scored), q)
    return Compared(figures, lost, gained)


def _labels(model: SplitModel, values: np.ndarray) -> np.ndarray:
    from privzoo.slim.distil import answers

    rounded = np.rint(values) if model.config.step else values
    return answers(model, rounded).argmax(1)


def bar(
    head_share: float, accuracy: Mapping[str, Estimate], people: Mapping[tuple[str, int], Estimate]
) -> list[dict[str, Any]]:
    """Goals with what was found; each is met or not by the worse end of its interval.

    Args:
        head_share: multiply-adds of the slim head over those of the whole network.
        accuracy: quantization -> accuracy of the full head less that of the slim one.
        people: quantization and number of averaged queries -> identity attack on the slim head less that on the full.
    """
    rows = [("multiply-adds on the device / the network's", SHARE, exact(head_share))]
    rows += [(f"accuracy lost, {quantization}", ACCURACY, found) for quantization, found in accuracy.items()]
    rows += [(f"identity attack above the full head's, {q}, {n} averaged", IDENTITY, f) for (q, n), f in people.items()]
    return [
        {
            "goal": what,
            "limit": limit,
            **dataclasses.asdict(found),
            "verdict": bars.judge(found, limit),
            "takes": bars.undecided(found, limit, of="people or seeds"),
        }
        for what, limit, found in rows
    ]
