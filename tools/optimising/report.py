"""Names the head that wins, and writes the figures of all as JSON and as a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarking.goals import AGREEMENT

from optimising.figures import FLOAT, Row, by_method
from privzoo.audit.report.results import family_of, section
from privzoo.errors import ConfigError
from privzoo.evaluation import bars
from privzoo.optimise.heads import METHODS, POST_TRAINING
from privzoo.provenance import write_json

BEGIN, END = "<!-- optimised heads: written by tools/optimise.py -->", "<!-- end of optimised heads -->"
TITLE = "## Heads that cost the device less"
LOST, GIVEN_AWAY, SLOWER = 0.005, 0.003, 1.05  # of accuracy and labels; of identity; times the latency
SMALLER, CLOSER = 0.9, 0.005  # of the compressed size; of labels
GOALS = ", ".join(f"{least:.1%} for {task}" for task, (_, least) in AGREEMENT.items())
RULE = (
    "Post-training int8 by TFLite's converter needs no training and no faces, so another head has to be better to win. "
    "It is let in if it is shown to lose at most 0.5 points of accuracy (with the model's noise) and of labels that "
    f"are the float head's, to meet the goal for these labels where post-training int8 does ({GOALS}), to give the "
    "best identity attack at most 0.3 points more, and to take at most 5 % longer: shown is what the worse end of the "
    "95 % interval meets, of differences on the same faces. Of those let in, the one with the smallest compressed file "
    "wins if that is at least a tenth smaller; else the one with the most labels that are the float head's, if these "
    "are shown to be at least 0.5 points more; else post-training int8."
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
        raise ConfigError(f"The winner is told by comparison with the method {POST_TRAINING}; measure it too.")
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
        return close.method, f"{gained:.1f} points more of its labels are the float head's"
    return POST_TRAINING, "no other head is let in and better by as much as the rule asks"


def kept_out(row: Row, first: Row, goal: float) -> str:
    """Why a head cannot win against the first one, and whether that is known or only not ruled out; else empty."""
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


def document(model: str, rows: Sequence[Row], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found for one model, as plain data.

    Args:
        model: its name.
        rows: of all heads.
        facts: `date`, `git`, `command`, `machine`, `data`, `faces`, `seeds`, `attackers`, `rounds`, `inferences`,
            `jobs`, `goal` as for `winner`, and `released`: the heads that were measured as the very files that are
            released.
    """
    name, why = winner(rows, facts["goal"])
    first = by_method(rows)[POST_TRAINING]
    entries = []
    for row in rows:
        out = "" if row.method in (FLOAT, POST_TRAINING) else kept_out(row, first, facts["goal"])
        entries.append({**dataclasses.asdict(row), "kept_out_by": out})
    head = {"format": 1, "model": model, "winner": name, "why": why, "rule": RULE}
    return _rounded({**head, **facts, "heads": entries})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


def _percent(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _cells(entry: Mapping[str, Any], wins: bool) -> list[str]:
    many = entry["identity"].get("100")
    costs = entry["costs"]
    return [
        f"**{entry['method']}**" if wins else entry["method"],
        _percent(entry["accuracy"]),
        _percent(entry["agreement"]),
        f"{entry['kept']:.4f}",
        f"{entry['mse']:.2g}",
        "" if entry["psnr_db"] is None else f"{entry['psnr_db']:.1f}",
        f"{entry['bytes'] / 1e6:.2f}",
        f"{entry['zip_bytes'] / 1e6:.2f}",
        _number(costs["inference_ms"]["value"]),
        f"{entry['latency_ratio']['value']:.2f}",
        _number(costs["peak_mb"]["value"]),
        _percent(entry["identity"]["1"]),
        _percent(many) if many else "",
        entry["kept_out_by"],
    ]


COLUMNS = (
    *("head", "accuracy", "labels of the float head", "variance kept", "MSE", "PSNR, dB", "MB", "zip, MB", "ms"),
    *("times post-training", "peak, MB", "identity, one query", "identity, 100 averaged", "kept out by"),
)


def table(found: Mapping[str, Any], rule: str | None = None) -> str:
    """Markdown of one model's heads.

    Args:
        found: of `document`.
        rule: that was stated before; where the model was judged by another, that is stated here.
    """
    machine = found["machine"]
    steps = {name: job["steps"] for name, job in found["jobs"].items()}
    trained = ", ".join(f"{name} {count} steps" for name, count in steps.items())
    used = {entry["method"] for entry in found["heads"]}
    files = " and ".join(found["released"])
    lines = [
        f"### {found['model']}",
        "",
        f"**{found['winner']}** wins: {found['why']}. {found['data']}, {found['faces']:,} faces; identity on "
        f"{found.get('people', 'LFW-100')} "
        f"by the best of {', '.join(found['attackers'])}; seeds {', '.join(map(str, found['seeds']))}. "
        + (f"Trained: {trained}. " if trained else "")
        + f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} at the start, one thread, "
        f"{found['rounds']} rounds of {found['inferences']} inferences. {found['date']}, code {found['git']}, "
        f"`{found['command']}`." + (f" Measured as the very files that are released: {files}." if files else ""),
        "",
        *([f"Judged by this rule: {found['rule']}", ""] if rule not in (None, found["rule"]) else []),
        f"| {' | '.join(COLUMNS)} |",
        "| --- |" + " --- |" * (len(COLUMNS) - 1),
        *(f"| {' | '.join(_cells(entry, entry['method'] == found['winner']))} |" for entry in found["heads"]),
        "",
        *(f"- {name}: {what}" for name, what in METHODS.items() if name in used),
    ]
    return "\n".join(lines)


def write(folder: Path, found: Mapping[str, Any], results: Path | None) -> Path:
    """Writes one model's figures as JSON, and the table of all models into a Markdown file.

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
    """Writes the table of a family's models, as the folder's JSON files have them, into a Markdown file.

    Args:
        folder: of the JSON files.
        results: the Markdown file.
        family: of `privzoo.audit.report.results.family`; "" for the zoo's own models.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if family_of(path.stem) == family]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rules = list(dict.fromkeys(entry["rule"] for entry in found))
    section(results, BEGIN, END, "\n\n".join([TITLE, *rules[:1], *(table(one, rules[0]) for one in found)]))
