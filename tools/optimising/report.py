"""Decides which head wins, and writes the figures of all as JSON, as csv and into RESULTS.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarking.goals import AGREEMENT

from optimising.figures import FLOAT, LOSSES, Measured, Row, by_method
from optimising.heads import METHODS, POST_TRAINING
from privzoo import markdown
from privzoo.audit.report.families import family_of
from privzoo.errors import ConfigError
from privzoo.evaluation import bars, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.markdown import percent
from privzoo.provenance import write_csv, write_json

SECTION = markdown.Section("optimised heads", "tools/optimise.py")
TITLE = "## Heads that cost the device less"
LOST, GIVEN_AWAY, SLOWER = 0.005, 0.003, 1.05  # of accuracy and labels; of identity; times the latency
SMALLER, CLOSER = 0.9, 0.005  # of the compressed size; of labels
GOALS = ", ".join(f"{least:.1%} for {task}" for task, (_, least) in AGREEMENT.items())
RULE = (
    "Post-training int8 by TFLite's converter needs no training and no faces, so another head must be better to win. "
    "It is eligible if it is shown to lose at most 0.5 points of accuracy (with the model's noise) and of labels that "
    f"are the float head's, to meet the goal for these labels if post-training int8 does ({GOALS}), to give the "
    "best identity attack at most 0.3 points more, and to take at most 5% longer: shown means that the worse end of "
    "the 95% interval meets it, for differences on the same faces. Of the eligible heads, the one with the smallest "
    "compressed file wins if that is at least a tenth smaller; otherwise the one with the most labels that are the "
    "float head's, if these are shown to be at least 0.5 points more; otherwise post-training int8. All of this is "
    "decided on validation data and on people 101 to 200, not on the published figures."
)
EARLIER = (
    "These heads were chosen by an earlier rule, without intervals. What is stored does not suffice for today's, which "
    "takes the worse end of paired differences on validation data and people 101 to 200. The earlier rule:"
)


def winner(rows: Sequence[Row], goal: float) -> tuple[str, str]:
    """The head that wins by `RULE`, and why.

    Args:
        rows: of all heads.
        goal: least share of labels that are the float head's.

    Raises:
        ConfigError: post-training int8 was not measured.
    """
    found = by_method(rows)
    if POST_TRAINING not in found:
        raise ConfigError(f"The winner is decided by comparison with the method {POST_TRAINING}; measure it too.")
    first = found[POST_TRAINING]
    others = [row for row in rows if row.method not in (FLOAT, POST_TRAINING)]
    let_in = [row for row in others if not kept_out(row, first, goal)]
    small = min(let_in, key=lambda row: row.zip_bytes, default=first)
    if small.zip_bytes <= SMALLER * first.zip_bytes:
        part = small.zip_bytes / first.zip_bytes
        return small.method, f"compressed, it takes {part:.0%} of post-training int8's bytes and loses nothing else"
    close = max(let_in, key=lambda row: row.agreement.value, default=first)
    if close is not first and bars.judge(close.lost["labels"], -CLOSER) == bars.MET:
        gained = 100 * (close.agreement.value - first.agreement.value)
        return close.method, f"it agrees with the float head on {gained:.1f} points more faces"
    return POST_TRAINING, "no eligible head is better by as much as the rule requires"


def kept_out(row: Row, first: Row, goal: float) -> str:
    """Why a head is not eligible, and whether that is known or only not ruled out; empty if it is eligible.

    Args:
        row: of the head, on the data on which the winner is decided.
        first: of post-training int8, which others are compared with.
        goal: as for `winner`.
    """
    tests = [
        ("accuracy", bars.judge(row.lost["accuracy"], LOST)),
        ("labels", bars.judge(row.lost["labels"], LOST)),
        ("identity", bars.judge(row.lost["identity"], GIVEN_AWAY)),
        ("latency", bars.judge(row.latency_ratio, SLOWER)),
    ]
    if bars.judge(first.agreement, goal, at_least=True) == bars.MET:
        tests.insert(2, ("goal for labels", bars.judge(row.agreement, goal, at_least=True)))
    failed = [(what, verdict) for what, verdict in tests if verdict != bars.MET]
    # What is known to be missed says more than what is not shown.
    for what, verdict in sorted(failed, key=lambda test: test[1] != bars.NOT_MET):
        return what if verdict == bars.NOT_MET else f"{what} {bars.NOT_SHOWN}"
    return ""


def document(model: str, deciding: Measured, published: Measured, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found for one model, as plain data.

    Args:
        model: its name.
        deciding: all heads on the data on which the winner is decided.
        published: all heads on the test set and on the people who are measured.
        facts: `date`, `git`, `command`, `machine`, `data`, `people`, `seeds`, `attackers`, `rounds`, `inferences`,
            `jobs`, `goal` as for `winner`, and `released`: the heads whose released files were measured.
    """
    name, why = winner(deciding.rows, facts["goal"])
    decided = by_method(deciding.rows)
    entries = []
    for row in published.rows:
        own = decided[row.method]
        out = "" if row.method in (FLOAT, POST_TRAINING) else kept_out(own, decided[POST_TRAINING], facts["goal"])
        kept: dict[str, Any] = {key: dataclasses.asdict(getattr(own, key)) for key in ("accuracy", "agreement")}
        kept |= {"identity": own.identity, "lost": {key: dataclasses.asdict(own.lost[key]) for key in LOSSES}}
        entries.append({**dataclasses.asdict(row), "kept_out_by": out, "deciding": kept})
    head = {"format": 1, "model": model, "winner": name, "why": why, "rule": RULE}
    head |= {"decided_on": {"data": deciding.data, "faces": deciding.faces, "people": deciding.people}}
    return _rounded({**head, **facts, "faces": published.faces, "heads": entries})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _estimate(figure: Mapping[str, Any], faces: int = 0) -> Estimate:
    return Estimate(figure["value"], figure["low"], figure["high"], faces, figure.get("clusters") or 0)


def _cells(entry: Mapping[str, Any], wins: bool) -> list[str]:
    return [
        f"**{entry['method']}**" if wins else entry["method"],
        percent(_estimate(entry["accuracy"])),
        percent(_estimate(entry["agreement"])),
        f"{entry['zip_bytes'] / 1e6:.2f}",
        _number(entry["costs"]["inference_ms"]["value"]),
        entry["kept_out_by"],
    ]


COLUMNS = ("head", "accuracy, %", "labels of the float head, %", "zipped, MB", "inference, ms", "excluded for")


def text(found: Mapping[str, Any]) -> str:
    """Markdown of one model's heads: which wins and why, and a row for each.

    Args:
        found: of `document`.
    """
    machine = found["machine"]
    decided = found.get("decided_on")
    where = (
        f"Decided on {decided['data']} ({decided['faces']:,} faces) and {decided['people']}"
        if decided
        else "Decided by an earlier rule, on the published faces and people"
    )
    lines = [
        f"### {found['model']}",
        f"**{found['winner']}** wins: {found['why']}. {where}; the figures are of {found['data']} ({found['faces']:,} "
        f"faces), times of {machine['processor']}, one thread.",
        markdown.table(COLUMNS, (_cells(entry, entry["method"] == found["winner"]) for entry in found["heads"])),
    ]
    return "\n\n".join(lines)


def write(folder: Path, found: Mapping[str, Any], results: Path | None) -> Path:
    """Writes one model's figures as JSON, and the section on all models into a Markdown file.

    Args:
        folder: of the JSON files, one for each model.
        found: of `document`.
        results: the Markdown file; None for none.

    Returns:
        The JSON file.
    """
    path = folder / f"{found['model']}.json"
    write_json(path, found)
    if results:
        write_table(folder, results, family_of(found["model"]))
    return path


def write_table(folder: Path, results: Path, family: str = "") -> None:
    """Writes the section on a family's models, as the folder's JSON files have them, into a Markdown file.

    Args:
        folder: of the JSON files.
        results: the Markdown file.
        family: of `privzoo.audit.report.families.family`; "" for the zoo's own models.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if family_of(path.stem) == family]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not found:
        return
    target = markdown.tables_folder(results) / "optimised.csv"
    write_csv(target, _csv(found))
    figures = [_estimate(entry["accuracy"], one["faces"]) for one in found for entry in one["heads"]]
    parts = [TITLE, *filter(None, [intervals.over(figures)])]
    for rule in dict.fromkeys(one["rule"] for one in found):
        judged = [one for one in found if one["rule"] == rule]
        parts += [f"The rule: {rule}" if rule == RULE else f"{EARLIER} {rule}", *map(text, judged)]
    parts += [f"All figures, with identity, memory and how each head was made: {markdown.link(results, target)}."]
    SECTION.write(results, "\n\n".join(parts))


def _csv(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each head of each model."""
    for one in found:
        for entry in one["heads"]:
            row = {"model": one["model"], "head": entry["method"], "what": METHODS.get(entry["method"], "")}
            row |= {"wins": entry["method"] == one["winner"]}
            row |= {"excluded_for": entry["kept_out_by"], "data": one["data"], "faces": one["faces"]}
            figures = {"accuracy_share": entry["accuracy"], "labels_of_float_head_share": entry["agreement"]}
            figures |= {f"identity_{n}_queries_share": figure for n, figure in entry["identity"].items()}
            figures |= dict(entry["costs"]) | {"times_post_training": entry["latency_ratio"]}
            for name, figure in (entry.get("deciding") or {}).get("lost", {}).items():
                figures[f"deciding_{name}_lost_share"] = figure
            for name, figure in figures.items():
                row |= {name if key == "value" else f"{name}_{key}": figure[key] for key in ("value", "low", "high")}
            row |= {"variance_kept_share": entry["kept"], "mse": entry["mse"], "psnr_db": entry["psnr_db"]}
            row |= {"bytes": entry["bytes"], "zip_bytes": entry["zip_bytes"], "processor": one["machine"]["processor"]}
            yield row | {"seeds": one["seeds"], "date": one["date"], "revision": one["git"]}
