"""The goals of codes, each with what the stored figures say: accuracy, privacy, bytes and time, met or not.

Nothing is measured here, and no figure stands in this file: only the goals do, which were set before the figures.
Accuracy, the ceiling's share and time come from tools/codes.py, attacks from the cards that tools/audit.py writes, and
lower bounds on epsilon from tools/draws.py; what follows from the mechanism is computed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import card, config, markdown
from privzoo.audit import pair_cells
from privzoo.audit.attacks.verification import LINKED
from privzoo.audit.features import FLOAT
from privzoo.audit.model_audit import attacked
from privzoo.card import IDENTITY_ATTACK, Card
from privzoo.evaluation import bars
from privzoo.evaluation.bars import Row
from privzoo.evaluation.intervals import Estimate, exact
from privzoo.measurement import Measurement
from privzoo.mechanisms.bounds import PEOPLE, bounds
from privzoo.mechanisms.randomized_response import RandomizedResponse

ACCURACY = {  # task -> epsilon -> least accuracy, at delta 0
    "gender": {2.0: 0.84, 3.0: 0.905, 4.0: 0.93, 6.0: 0.945},
    "emotion": {4.0: 0.57, 8.0: 0.62},
}
SHARE_OF_CEILING = {"gender": 0.99, "emotion": 0.97}
TOP1_EPSILON, TOP1_PERCENT = 3.0, 1.91  # of 100 equally likely people, by any attacker
MANY = 100  # queries that an attacker averages
SYMBOL_BYTES = 1
DEVICE_MS = 0.05  # a face, in Python
HEADS = (FLOAT, "int8 TFLite head")


@dataclasses.dataclass(frozen=True)
class Goal:
    """A goal, which may be asked at several budgets or of several ways: all must meet it."""

    rows: tuple[Row, ...]

    @property
    def worst(self) -> Row:
        """The row that is furthest from its goal; with how many others, if there are some."""
        order = (bars.MET, bars.NOT_MEASURED, bars.NOT_SHOWN, bars.NOT_MET)

        def misses(row: Row) -> tuple[int, float]:
            found = row.found
            by = 0.0 if found is None else (row.limit - found.low if row.at_least else found.high - row.limit)
            return order.index(row.verdict), by

        row = max(self.rows, key=misses)
        met = sum(one.verdict == bars.MET for one in self.rows)
        return dataclasses.replace(row, what=f"{row.what}; {met} of {len(self.rows)} met") if self.rows[1:] else row


def goals_of(found: Mapping[str, Any], card: Card) -> list[Goal]:
    """All goals of one coded model.

    Args:
        found: what tools/codes.py wrote.
        card: with what tools/audit.py measured.
    """
    task = card.network.task
    at = {figure["epsilon"]: figure for figure in found["figures"]}
    k = config.given(config.given(card.model.code, f"{card.model.name} has no code").symbols, "it is not fitted")
    goals = [
        Goal((_accuracy(f"{task} accuracy, epsilon {epsilon:g}, delta 0", least, at.get(epsilon)),))
        for epsilon, least in ACCURACY[task].items()
    ]
    least = SHARE_OF_CEILING[task]
    goals.append(Goal(tuple(_share(f"{task}, share of the ceiling, epsilon {e:g}", least, at[e]) for e in sorted(at))))
    return [*goals, *_against_attackers(task, k, card), Goal((_on_the_wire(task, k),)), _on_device(task, found)]


def _accuracy(what: str, least: float, figure: Mapping[str, Any] | None) -> Row:
    asked = f"at least {least:.1%}"
    if figure is None:
        return Row(what, asked, least, None, "not measured at this budget", at_least=True)
    return Row(what, asked, least, _estimate(figure, "accuracy", "low", "high"), at_least=True)


def _share(what: str, least: float, figure: Mapping[str, Any]) -> Row:
    found = _estimate(figure, "share_of_ceiling", "share_low", "share_high")
    return Row(what, f"at least {least:.0%}", least, found, at_least=True)


def _estimate(figure: Mapping[str, Any], value: str, low: str, high: str) -> Estimate:
    return Estimate(figure[value], figure[low], figure[high], figure["faces"], figure["people"], figure["method"])


def _strongest(card: Card, metrics: Sequence[str], epsilon: float, queries: int, permanent: bool) -> Measurement | None:
    variants = {attacked(head, "features", epsilon, queries, permanent) for head in HEADS}
    own = [m for m in card.measurements if m.metric in metrics and m.variant in variants]
    return max(own, key=lambda m: m.value, default=None)


def _against_attackers(task: str, k: int, card: Card) -> list[Goal]:
    proved = 100 * bounds(RandomizedResponse(k, TOP1_EPSILON)).top1(PEOPLE)
    asked, at = f"at most {TOP1_PERCENT:g}%", f"epsilon {TOP1_EPSILON:g}"
    what = f"{task}, {PEOPLE} people, top-1 of any attacker, {at}"
    goals = [Goal((Row(what, asked, TOP1_PERCENT, exact(proved), f"proved, for {k} symbols", unit="%"),))]
    linked = [f"{attack} attack, {LINKED} of {PEOPLE}" for attack in (pair_cells.PERSON, pair_cells.PHOTOGRAPH)]
    for attack, metrics in (("identity attack", [IDENTITY_ATTACK]), ("found again at another service", linked)):
        found = _strongest(card, metrics, TOP1_EPSILON, 1, False)
        said = f"{found.variant}; the interval is over people, the proof holds for each" if found else ""
        what = f"{task}, {PEOPLE} people, strongest measured, {attack}, {at}"
        measured = found.estimate().scaled(100) if found else None
        goals.append(Goal((Row(what, asked, TOP1_PERCENT, measured, said, unit="%"),)))
    own = card.epsilon() or TOP1_EPSILON
    one, many = (_strongest(card, [IDENTITY_ATTACK], own, *way) for way in ((1, False), (MANY, True)))
    fresh = _strongest(card, [IDENTITY_ATTACK], own, MANY, False)
    above, said = None, ""
    if one and many:
        # One draw is repeated: the two are computed from the same answers, without an interval between them.
        above = exact(100 * (many.value - one.value))
        said = f"{many.value:.2%} from {MANY}, {one.value:.2%} from one" + (
            f"; {fresh.value:.2%} from {MANY} fresh draws" if fresh else ""
        )
    what = f"{task}, identity at {MANY} queries with permanent answers above that at one, epsilon {own:g}"
    return [*goals, Goal((Row(what, "as at one", 0.0, above, said, unit="points"),))]


def symbol_bytes(k: int) -> tuple[int, int]:
    """Bytes of a symbol and of its epsilon in a request, as the client sends it."""
    import numpy as np

    from privzoo.edge import grpc_messages

    body = grpc_messages.encode(
        np.array([[k - 1, TOP1_EPSILON]], np.float32), "model", None, "run", "symbol", "epsilon"
    )
    request = grpc_messages.messages().PredictRequest.FromString(body)
    sizes = {entry.key: len(entry.value.tensor_content) for entry in request.inputs}
    return sizes["symbol"], sizes["epsilon"]


def _on_the_wire(task: str, k: int) -> Row:
    symbol, epsilon = symbol_bytes(k)
    said = f"gRPC; its epsilon takes {epsilon} more"
    unit = "byte" if symbol == 1 else "bytes"
    return Row(f"{task}, symbol on the wire", "1 byte", SYMBOL_BYTES, exact(symbol), said, unit=unit)


def _on_device(task: str, found: Mapping[str, Any]) -> Goal:
    timed = found.get("device")
    what, asked = f"{task}, on the device beyond the head", f"under {DEVICE_MS:g} ms"
    if timed is None:
        return Goal((Row(what, asked, DEVICE_MS, None, "see tools/codes.py --device", unit="ms"),))
    return Goal(
        tuple(
            Row(f"{what}, {way} answers", asked, DEVICE_MS, Estimate(**ms), unit="ms")
            for way, ms in timed["ms"].items()
        )
    )


def of_draws(found: Mapping[str, Any]) -> Goal:
    """That no program's draws show a larger epsilon than it states.

    Args:
        found: what tools/draws.py wrote.
    """
    rows = [
        Row(
            f"epsilon that {row['draws']:,} draws show at least, {row['mechanism']}",
            f"at most {row['stated']:.4g}",
            row["stated"],
            exact(row["bound"]),
            f"{row['confidence']:.0%} confidence",
        )
        for row in found["rows"]
    ]
    return Goal(tuple(rows))


def read(docs: Path) -> tuple[dict[str, list[Goal]], Goal | None]:
    """All goals: of each coded model of the zoo that was measured, and of the draws.

    Args:
        docs: folder with what tools/draws.py keeps.
    """
    models = {}
    for path in sorted((config.config_folder() / "codes").glob("*.json")):
        code = config.model(path.stem).code if path.stem in config.models() else None
        if code and code.base:  # the baseline has no part in the cloud
            own = card.read(path.stem)
            if own.network.task in ACCURACY and not own.network.own_data:
                models[path.stem] = goals_of(json.loads(path.read_text(encoding="utf-8")), own)
    kept = docs / "mechanisms" / "draws.json"
    return models, of_draws(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else None


def all_rows(docs: Path) -> list[Row]:
    """Every row, with its model's name, as tools/codes.py prints them; see `read`."""
    models, draws = read(docs)
    rows = [
        dataclasses.replace(row, what=f"{name}: {row.what}")
        for name, goals in models.items()
        for goal in goals
        for row in goal.rows
    ]
    return [*rows, *(draws.rows if draws else ())]


def text(shown: Sequence[str], docs: Path) -> str:
    """The goals as Markdown: of some models all, at each goal's worst; of the others how many are met.

    Args:
        shown: names of the models.
        docs: as for `read`.
    """
    models, draws = read(docs)
    goals = [goal for name in shown for goal in models.get(name, ())] + ([draws] if draws else [])
    if not goals:
        return ""
    rows = [(row.what, row.goal, row.shown, row.verdict) for row in (goal.worst for goal in goals)]
    named = " and ".join(name for name in shown if name in models)
    return f"Goals of {named}, each at its worst budget:\n\n" + markdown.table(("goal", "asked", "found", ""), rows)
