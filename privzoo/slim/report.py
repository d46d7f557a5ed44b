"""What a slim head gives up beside the full one, in one run: accuracy, and who can be told from its feature."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo import card
from privzoo import config as configs
from privzoo.audit import features, model_audit
from privzoo.audit.attacks import attackers, identity
from privzoo.audit.report import results
from privzoo.card import Measurement
from privzoo.config import FULL, HEADS, SLIM
from privzoo.data import Dataset
from privzoo.errors import ConfigError
from privzoo.evaluation import bars, drawn, intervals
from privzoo.evaluation.accuracy import FLOAT
from privzoo.evaluation.intervals import Estimate, exact
from privzoo.mechanisms.gaussian import Noise
from privzoo.model import SplitModel
from privzoo.provenance import git_revision, write_json
from privzoo.slim import ABOVE, LOST

BEGIN, END = "<!-- slim heads: written by tools/slim.py -->", "<!-- end of slim heads -->"
SHARE, ACCURACY, IDENTITY = 0.25, 0.01, 0.003  # the goals: at most so much
QUERIES = (1, 100)
AGREEMENT = "label agreement with the full head, without noise"
QUANTIZATIONS = ("float", "int8")


@dataclass(frozen=True)
class Seen:
    """What one head gives for the faces of the test set and of LFW-100."""

    sha256: str  # of the head
    test: np.ndarray  # (N, k)
    known: np.ndarray  # (2 M, k): training faces of LFW-100 and their mirror images
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


def attacked(
    seen: Seen, data: model_audit.Data, size: int, noise: Noise | None, queries: int, plan: Mapping[str, Any]
) -> identity.Result:
    """The identity attack of protocol 3 on one head."""
    train, test = data.lfw100(size)
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


def _seen(
    model: SplitModel, quantization: str, test: features.Faces, data: model_audit.Data, cache: Path, heads: Path | None
) -> Seen:
    [view] = model_audit.views(model, [quantization], cache, heads)
    train, scored = data.lfw100(model.input_size)
    known = [view.extract(train), *([] if data.quick else [view.extract(train.mirrored())])]
    rows = [np.asarray(found.read()) for found in (view.extract(test), *known, view.extract(scored))]
    return Seen(view.sha256, rows[0], np.concatenate(rows[1:-1]), rows[-1])


def measure(
    full: SplitModel,
    slim: SplitModel,
    test_set: Dataset,
    data: model_audit.Data,
    cache: Path,
    seeds: Sequence[int] = identity.SEEDS,
    names: Sequence[str] = tuple(attackers.ATTACKERS),
    heads: Path | None = None,
) -> dict[str, Any]:
    """Measures both heads on the same faces, with the same attackers and draws of the noise.

    Args:
        full, slim: the model with either head.
        test_set: with the task's label.
        data: of the audit.
        cache: folder for features, shared by all tools.
        seeds: of noise and attackers.
        names: of the attackers.
        heads: folder with both exported heads, to measure rather than make them.

    Returns:
        `multiply_adds` by head, `figures` with metric, variant, value, low, high, count and sha256, and `bar`: for each
        goal what was found and whether it is met.

    Raises:
        ConfigError: the two have different tails.
    """
    manifests = {FULL: full.manifest(), SLIM: slim.manifest()}
    if manifests[FULL]["tail"] != manifests[SLIM]["tail"]:
        raise ConfigError(f"The heads of {full.name} belong to different tails; release the slim one again.")
    test = features.read(test_set, test_set.name, full.input_size, full.card.network.task)
    labels = test.labels[full.card.network.task]
    whose = test.labels.get("identity")  # people, where the data set says who it is
    plan = {"seeds": tuple(seeds), "attackers": tuple(names)}
    noise = manifests[FULL]["noise"]
    epsilon = noise and noise["epsilon"]
    seen = {(q, m.card.head): _seen(m, q, test, data, cache, heads) for q in QUANTIZATIONS for m in (full, slim)}
    figures: list[dict[str, Any]] = []

    def add(metric: str, of: str, found: Estimate, count: int, quantization: str, head: str = SLIM) -> None:
        values: dict[str, Any] = {name: round(value, 6) for name, value in found.ends().items()}
        values |= {"clusters": found.clusters, "method": found.method}
        sha256 = seen[quantization, head].sha256
        figures.append({"metric": metric, "variant": of, "head": head, **values, "count": count, "sha256": sha256})

    accuracy, people = {}, {}
    for q in QUANTIZATIONS:
        right = {head: hits(full, seen[q, head].test, labels, full.gaussian, seeds) for head in HEADS}
        for head in HEADS:
            add("accuracy", variant(q), intervals.share(right[head], whose), len(labels), q, head)
        accuracy[q] = intervals.difference(right[FULL], right[SLIM], whose)
        add(LOST, variant(q), accuracy[q], len(labels), q)
        plain = {(r, head): _labels(full, seen[r, head].test) for r in {q, "float"} for head in HEADS}
        add(AGREEMENT, variant(q), intervals.share(plain[q, FULL] == plain[q, SLIM], whose), len(labels), q)
        if q != "float":
            alike = intervals.share(plain["float", FULL] == plain[q, SLIM], whose)
            add(f"{AGREEMENT}, in float", variant(q), alike, len(labels), q)
        for queries in QUERIES if full.noise else QUERIES[:1]:
            of, best = sent(q, epsilon, queries), {}
            for head in HEADS:
                own = seen[q, head]
                result = attacked(own, data, full.input_size, full.gaussian, queries, plan)
                best[head] = next(o.top1 for o in result.outcomes if o.attacker == result.best)
                add(card.IDENTITY_ATTACK, of, result.figure(result.best), len(own.scored), q, head)
                figures[-1]["attacker"] = result.best
            gained = (intervals.by_person(best[head], result.people) for head in (SLIM, FULL))
            people[q, queries] = intervals.difference(*gained)
            add(ABOVE, of, people[q, queries], len(own.scored), q)
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
        "people": data.lfw100(full.input_size)[1].name,
        "tail": manifests[SLIM]["tail"]["weights_sha256"],
        "multiply_adds": adds,
        "figures": figures,
        "bar": bar(slim.card.cost.head_share, accuracy, people),
    }


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
            "takes": bars.undecided(found, limit),
        }
        for what, limit, found in rows
    ]


def lines(measured: Mapping[str, Any]) -> list[str]:
    """One line for each goal, as the command prints them."""
    return [
        f"{row['verdict']:>9}  {row['goal']}: {row['value']:.2%} "
        f"({row['low']:.2%} to {row['high']:.2%}); at most {row['limit']:.1%}"
        + (f" ({row['takes']})" if row["takes"] else "")
        for row in measured["bar"]
    ]


def write(measured: dict[str, Any], command: str, results_file: Path | None) -> None:
    """Writes figures into the slim head's record and card, and the table of all slim heads into a Markdown file."""
    name = measured["model"]
    path = record_path(name)
    record = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**record, "measured": {**measured, "command": command}})
    made = [
        Measurement(
            metric=f["metric"],
            variant=f["variant"],
            data=measured.get("people", "lfw100-test") if "identity" in f["metric"] else measured["data"],
            **{key: f[key] for key in ("value", "low", "high", "count", "sha256", "clusters", "method")},
            seeds=tuple(measured["seeds"]),
            **{key: measured[key] for key in ("date", "git")},
            command=command,
        )
        for f in measured["figures"]
        if f["head"] == SLIM
    ]
    card.write_measurements(name, made, SLIM)
    if results_file:
        write_table(results_file, results.family_of(name))


def write_table(results_file: Path, family: str = "") -> None:
    """Writes the table of a family's slim heads, as their records have them, into a Markdown file.

    Args:
        results_file: the Markdown file.
        family: of `privzoo.audit.report.results.family`; "" for the zoo's own models.
    """
    models = [model for model in configs.models() if results.family_of(model) == family]
    found = [record_path(model) for model in models if record_path(model).exists()]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    results.section(results_file, BEGIN, END, table([r["measured"] for r in records if "measured" in r]))


def record_path(name: str) -> Path:
    """Record of a model's slim head."""
    return configs.config_folder() / "weights" / f"{name}_slim.json"


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of two tables: both heads of each model, and the goals."""
    head = [
        "model",
        "head",
        "multiply-adds",
        "accuracy",
        "labels as the full head's",
        "identity, 1 query",
        "100 averaged",
    ]
    rows = [head, ["---"] * len(head)]
    for found in measured:
        for quantization in QUANTIZATIONS:
            for kind in (FULL, SLIM):
                rows.append(_row(found, quantization, kind))
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    goals = ["| model | goal | at most | found | 95 % interval | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    goals += [
        f"| {found['model']} | {row['goal']} | {row['limit']:.1%} | {row['value']:.2%} | {row['low']:.2%} to "
        f"{row['high']:.2%} | {_verdict(row)} |"
        for found in measured
        for row in found["bar"]
    ]
    return text + "\n\n" + "\n".join(goals)


def _verdict(row: Mapping[str, Any]) -> str:
    """Of a goal, also of records that an earlier version wrote, which judged by the middle of the interval."""
    kept = Estimate(row["value"], row["low"], row["high"], clusters=row.get("clusters", 0))
    verdict, takes = bars.judge(kept, row["limit"]), row.get("takes") or bars.undecided(kept, row["limit"])
    return f"{verdict}; {takes}" if takes else verdict


def _row(found: Mapping[str, Any], quantization: str, kind: str) -> list[str]:
    def cell(*wanted: str) -> str:
        one = next((f for f in found["figures"] if (f["head"], f["metric"], f["variant"]) == (kind, *wanted)), None)
        return f"{one['value']:.2%} ({one['low']:.2%} to {one['high']:.2%})" if one else ""

    queries = QUERIES if found["epsilon"] is not None else QUERIES[:1]
    people = [cell(card.IDENTITY_ATTACK, sent(quantization, found["epsilon"], n)) for n in queries]
    adds, network = found["multiply_adds"][kind], found["multiply_adds"]["network"]
    return [
        found["model"],
        f"{kind}, {quantization}",
        f"{adds / 1e6:,.0f} M ({adds / network:.1%})",
        cell("accuracy", variant(quantization)),
        cell(AGREEMENT, variant(quantization)),
        *people,
        *[""] * (len(QUERIES) - len(people)),
    ]
