"""Verification and linkability of one model: cells of the audit's grid, and the figures made from their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from privzoo.audit import cells, features, limits, raw_pixels, runner
from privzoo.audit.attacks import descriptor, pairs, verification
from privzoo.audit.attacks.verification import FRESH, LINKED, ONE_SECRET, TWO_SECRETS, Protocol
from privzoo.audit.cells import Known, Plan, Target
from privzoo.audit.model_audit import Data, noises
from privzoo.audit.runner import Cell
from privzoo.evaluation import intervals
from privzoo.evaluation.drawn import Coded
from privzoo.model import SplitModel

VERIFICATION, PERSON, PHOTOGRAPH = "verification", "linkability of a person", "linkability of a photograph"
ATTACKS = (VERIFICATION, PERSON, PHOTOGRAPH)
QUICK = Protocol(folds=5, mismatched=2_000, learnt=1_000)


@dataclass(frozen=True)
class Asked:
    """One attack on pairs, and its cells."""

    target: Target
    queries: int
    service: str
    photographs: bool
    protocol: Protocol
    cells: tuple[Cell, ...]

    @property
    def metrics(self) -> dict[str, list[str]]:
        """Attack -> metrics that it gets of the cells' results."""
        if self.photographs:
            return {PHOTOGRAPH: [LINKED, *pairs.RATES]}
        if self.service == FRESH:
            return {VERIFICATION: list(pairs.RATES), PERSON: [LINKED]}
        return {PERSON: [LINKED, *pairs.RATES]}


def cell(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: pairs of all folds. Returns attacker -> metric -> rates of each seed and fold."""
    known = inputs["known"]
    found = verification.attack(
        known.rows(),
        known.labels("identity"),
        noise=limits.mechanism(settings["noise"]),
        queries=settings["queries"],
        service=settings["service"],
        photographs=settings["photographs"],
        seeds=settings["seeds"],
        verifiers=settings["verifiers"],
        protocol=Protocol(**settings["protocol"]),
    )
    return {name: {m: np.round(v, 6).tolist() for m, v in own.items()} for name, own in found.items()}


def make(
    target: Target,
    plan: Plan,
    queries: int = 1,
    service: str = FRESH,
    photographs: bool = False,
    protocol: Protocol | None = None,
) -> Asked:
    """One attack on pairs of a target's faces, which are the target's scored ones.

    Args:
        target: what is attacked.
        plan: seeds.
        queries: features of each photograph that each side receives.
        service: what the sides have in common; see `verification.sides`.
        photographs: pairs of one person show the same photograph.
        protocol: numbers of pairs; None: the usual ones.
    """
    protocol = protocol or Protocol()
    sent, number = target.noise, queries
    if isinstance(sent, Coded) and sent.permanent:
        # All queries are one answer; with secrets of their own, two sides' are independent, as fresh draws are.
        sent, number = replace(sent, permanent=False), 1
    known, code = target.test, isinstance(sent, Coded)
    settings = {
        "features": known.keys,
        "noise": limits.described(sent),
        "queries": number,
        "service": service,
        "photographs": photographs,
        "verifiers": verification.names_for(sent.response.k if isinstance(sent, Coded) else target.dimensions, code),
        "protocol": dataclasses.asdict(protocol),
    }
    # Without noise the components of long features are the same for every seed, and take longest of all.
    groups = [list(plan.seeds)] if sent is None else [[seed] for seed in plan.seeds]
    own = tuple(Cell(cell, {**settings, "seeds": seeds}, {"known": known.light()}) for seeds in groups)
    return Asked(target, queries, service, photographs, protocol, own)


def of_model(model: SplitModel, data: Data, plan: Plan, quick: bool = False) -> list[Asked]:
    """Attacks on pairs of features of a model's float head.

    Each noise with one query and with most; linkability at the model's own budget alone. Without noise two services get
    equal features of one photograph, so that nothing is to be measured.
    """
    faces = data.pairs(model.card.network.input_size)
    if faces is None:
        return []
    view = features.float_view(model, plan.cache)
    known, protocol = Known((view.extract(faces),), faces), QUICK if quick else None
    clean, found = Target("features", view, known, known), []
    for noise, epsilon, queries in noises(model, plan):
        target = replace(clean, noise=noise, epsilon=epsilon)
        found += [make(target, plan, q, protocol=protocol) for q in dict.fromkeys((queries[0], queries[-1]))]
    own = found[0].target
    if own.noise is not None:
        asked = dict.fromkeys((min(plan.queries), max(plan.queries)))
        found += [make(own, plan, q, photographs=True, protocol=protocol) for q in asked]
    if isinstance(own.noise, Coded):
        kept, most = replace(own, noise=replace(own.noise, permanent=True)), max(plan.queries)
        for service in (TWO_SECRETS, ONE_SECRET):
            found += [make(kept, plan, most, service, photographs, protocol) for photographs in (False, True)]
    return found


def yardstick(data: Data, plan: Plan, quick: bool = False) -> list[Asked]:
    """The same on pixels: by the usual attackers, and of what dlib's recogniser makes of them where it is installed."""
    found, protocol = [], QUICK if quick else None
    for kind in raw_pixels.KINDS[-1:] if quick else raw_pixels.KINDS:
        faces = data.pairs(raw_pixels.SIDE)
        if faces is None:
            return []
        view = raw_pixels.view(kind, plan.cache)
        known = Known((view.extract(faces),), faces)
        found.append(make(Target(kind, view, known, known), plan, protocol=protocol))
    if descriptor.installed() and not quick and (faces := data.pairs(descriptor.SIDE)) is not None:
        view = raw_pixels.recogniser_view(plan.cache)
        known = Known((view.extract(faces),), faces)
        found.append(make(Target(descriptor.NAME, view, known, known), plan, protocol=protocol))
    return found


def recognised(data: Data, plan: Plan) -> list[dict[str, Any]]:
    """How many of the identity attack's photographs dlib's recogniser identifies; empty if it is not installed.

    Empty for speech too.

    It judges reconstructions, so it must recognise the photographs themselves.
    """
    if not descriptor.installed() or data.raw_size is None:
        return []
    view = raw_pixels.recogniser_view(plan.cache)
    train, test = (Known((view.extract(side),), side) for side in data.people(descriptor.SIDE))
    people = np.unique(train.labels("identity"), return_inverse=True)[1]
    truth = np.searchsorted(np.unique(train.labels("identity")), test.labels("identity"))
    hits = raw_pixels.named((train.rows(), people), (test.rows(), truth))
    common = {**cells.common(Target(descriptor.NAME, view, train, test), "", plan, 1), "seeds": []}
    rows = []
    for name, own in hits.items():
        ends = {k: round(v, 6) for k, v in intervals.over_people(own, truth).ends().items()}
        rows.append({**common, "attack": "recogniser", "metric": "named", "attacker": name, "bound": None, **ends})
    best = max(rows, key=lambda row: row["value"])
    return [{**row, "best": row is best} for row in rows]


def measure(asked: Sequence[Asked], plan: Plan, engine: str, progress: bool) -> list[dict[str, Any]]:
    """Runs attacks on pairs, and returns their figures."""
    results = iter(runner.run([c for one in asked for c in one.cells], plan.cache, engine, progress))
    return [figure for one in asked for figure in figures(one, plan, [next(results) for _ in one.cells])]


def figures(asked: Asked, plan: Plan, results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures of one attack from its cells' results, in the format of `privzoo.audit.runner`.

    Intervals are over folds, whose people are others; `optimism` is over them too.
    """
    results, target = list(results), asked.target
    common = {
        **cells.common(target, "", plan, asked.queries),
        "service": asked.service,
        "pairs": "one photograph" if asked.photographs else "two photographs",
    }
    bounded, candidates = _bounds(asked)
    found = []
    for attack, metrics in asked.metrics.items():
        for metric in metrics:
            tables = {name: np.concatenate([np.array(r[name][metric]) for r in results]) for name in results[0]}
            shown = f"{LINKED} of {candidates}" if metric == LINKED else metric
            own = []
            for name, table in tables.items():
                ends = {k: round(v, 6) for k, v in intervals.share(table).ends().items()}
                row = {**common, "attack": attack, "metric": shown, "attacker": name, **ends}
                own.append(limits.judged(row, bounded.get(metric)))
            pick = min if metric == pairs.EER else max
            best = pick(own, key=lambda f: f["value"])
            found += [{**f, "best": f is best} for f in own]
            sign = 1 - np.stack(list(tables.values())) if metric == pairs.EER else np.stack(list(tables.values()))
            luck = intervals.best_of(list(sign), np.arange(asked.protocol.folds))
            next(f for f in found[-len(own) :] if f["best"])["optimism"] = round(luck, 6)
    return found


def _bounds(asked: Asked) -> tuple[dict[str, float | None], int]:
    """Metric -> bound, and how many candidates there were.

    Given one side's answers, the other side's are draws for one of the candidates, or for the same person or another:
    this is what a mechanism bounds. With one secret the two sides' answers are not independent draws; the only bound
    left is that there are only k of them.
    """
    target = asked.target
    people = np.unique(target.test.labels("identity"), return_inverse=True)[1]
    candidates = verification.linkable(people, asked.protocol)
    if asked.service == ONE_SECRET:
        assert isinstance(target.noise, Coded), "only codes have permanent answers"
        share = target.noise.response.k / candidates
        return {LINKED: share if share < 1 else None}, candidates
    accepts = limits.true_accepts(target.noise, asked.queries, target.dimensions)
    linked = limits.top1(target.noise, asked.queries, target.dimensions, candidates)
    return {LINKED: linked, **{pairs.TARS[far]: tar for far, tar in accepts.items()}}, candidates
