"""Coded models in RESULTS.md: what an answer is worth at each budget, and the most that an attacker can get from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import markdown
from privzoo.audit.report.families import NAMES
from privzoo.evaluation import bars
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.budget import rounded_up
from privzoo.provenance import write_csv

SECTION = markdown.Section("codes", "tools/codes.py")


def write(page: Path, measured: Sequence[Path]) -> None:
    """Writes the section into a Markdown file, and all figures as csv.

    Args:
        page: the Markdown file.
        measured: JSON files of tools/codes.py, one for each model.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in measured]
    folder = markdown.tables_folder(page)
    links = []
    for target, figures in ((folder / "codes.csv", _csv(found)), (folder / "codes_device.csv", _timed(found))):
        if rows := list(figures):
            write_csv(target, rows)
            links.append(markdown.link(page, target))
    SECTION.write(page, text(found, ", ".join(links)))


def text(found: Sequence[Mapping[str, Any]], link: str) -> str:
    """The section.

    Args:
        found: what the files of tools/codes.py say.
        link: to the figures, as Markdown.
    """
    parts = [
        "## Codes",
        "A coded model sends one symbol by randomized response, so that epsilon holds at delta 0 and bounds every "
        "attacker. The ceiling is the best that any mechanism of that budget can reach on the network's own labels; a "
        "code may slightly exceed it, since it sees the score behind the label.",
    ]
    first = next((one for one in found if one["model"] == RECOMMENDED), found[0])
    figures = sorted(first["figures"], key=lambda figure: figure["epsilon"])
    parts += [_sentence(first, figures), markdown.table(HEADER, map(_cells, figures))]
    if timed := first.get("device"):
        parts.append(_on_device(timed))
    if len(found) > 1:
        parts += [_comparison(found)]
    return "\n\n".join([*parts, f"All figures, with calibration and bounds for many answers: {link}."])


RECOMMENDED = "vgg16_gender_coded_conv5_3"  # reported in full if present, otherwise the first one
SHOWN = (1, 2, 3, 4, 6, 8)  # epsilons of the table of all models
HEADER = ("epsilon", "accuracy, %", "ceiling, %", "identified from one answer, at most, %", "from ten, %")


def _comparison(found: Sequence[Mapping[str, Any]]) -> str:
    """All models' accuracy at each budget."""
    rows = []
    for one in found:
        at = {figure["epsilon"]: figure for figure in one["figures"]}
        cells = [f"{100 * at[epsilon]['accuracy']:.1f}" if epsilon in at else "" for epsilon in SHOWN]
        rows.append([f"{one['model']} ({one['figures'][0]['symbols']} symbols)", *cells])
    title = (
        "Accuracy of all coded models, %, by epsilon. `label` is the baseline that a split model must beat: the whole "
        "network on the device, which sends the predicted class."
    )
    return f"{title}\n\n{markdown.table(('model', *(f'epsilon {epsilon}' for epsilon in SHOWN)), rows)}"


def _sentence(one: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> str:
    majority = figures[0]["majority"]
    useful = next((figure for figure in figures if figure["lowest"] > majority), None)
    reported = f"from epsilon {useful['epsilon']:g} up" if useful else "at none of these budgets"
    share = min(figure["share_of_ceiling"] for figure in figures)
    return (
        f"**{one['model']}**, int8 head, {NAMES.get(one['data'], one['data'])}, {figures[0]['faces']:,} faces: the "
        f"network without privacy is right for {one['network_accuracy']:.1%} of them, and always giving the same "
        f"answer for {majority:.1%}, which the code exceeds {reported}. The code reaches at least {share:.0%} of the "
        f"ceiling. Each accuracy is the mean over {len(figures[0]['seeds'])} draws."
    )


def _cells(figure: Mapping[str, Any]) -> list[str]:
    bounds = [figure["top1"].get(queries, 1) for queries in ("1", "10")]
    return [
        f"{figure['epsilon']:g}",
        f"{100 * figure['accuracy']:.1f}",
        f"{100 * figure['ceiling']:.1f}",
        *(rounded_up(100 * bound) if bound < 1 else "no bound" for bound in bounds),  # never below what is proved
    ]


def _ways(timed: Mapping[str, Any]) -> Iterator[tuple[str, Estimate, str]]:
    """How answers are drawn, milliseconds of one, and whether that meets the goal."""
    for way, one in timed["ms"].items():
        found = Estimate(one["value"], one["low"], one["high"])
        yield "fresh" if way == "fresh" else way, found, bars.judge(found, timed["limit_ms"])


def _on_device(timed: Mapping[str, Any]) -> str:
    reported = [
        f"{way} {markdown.spread((found.value, found.low, found.high), '.4f')} ms, {verdict}"
        for way, found, verdict in _ways(timed)
    ]
    return (
        "On the device, the code takes this time per answer in addition to the head, with one face per call in Python "
        f"(goal: under {timed['limit_ms']:g} ms): {'; '.join(reported)}."
    )


def _timed(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in found:
        if (timed := one.get("device")) is None:
            continue
        for way, ms, verdict in _ways(timed):
            yield {
                "model": one["model"],
                "answers": way,
                "ms": ms.value,
                "ms_low": ms.low,
                "ms_high": ms.high,
                "limit_ms": timed["limit_ms"],
                "verdict": verdict,
                "rounds": timed["rounds"],
                "calls": timed["calls"],
                "machine": timed["machine"],
                "date": timed["date"],
                "revision": timed["git"],
            }


def _csv(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in found:
        for figure in one["figures"]:
            bounds = {f"people_named_of_100_{n}_answers_at_most_share": bound for n, bound in figure["top1"].items()}
            yield {
                "model": one["model"],
                "data": one["data"],
                "symbols": figure["symbols"],
                "epsilon": figure["epsilon"],
                "delta": 0,
                "accuracy_share": figure["accuracy"],
                "lowest_draw_share": figure["lowest"],
                "highest_draw_share": figure["highest"],
                "one_answer_for_all_share": figure["majority"],
                "network_share": one["network_accuracy"],
                "ceiling_share": figure["ceiling"],
                "share_of_ceiling": figure["share_of_ceiling"],
                "calibration_error_share": figure["calibration_error"],
                **bounds,
                "faces": figure["faces"],
                "seeds": figure["seeds"],
                "date": one["date"],
                "revision": one["git"],
            }
