"""Coded models in RESULTS.md: what an answer is worth at each budget, and the most that an attacker can get from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import config, markdown
from privzoo.audit.report import code_goals, plots
from privzoo.audit.report.families import NAMES, family_of
from privzoo.audit.report.plots import Curve, Panel
from privzoo.config import FULL, SLIM
from privzoo.evaluation import bars
from privzoo.evaluation.intervals import Estimate
from privzoo.files import write_bytes
from privzoo.mechanisms.budget import rounded_up
from privzoo.provenance import write_csv

SECTION = markdown.Section("codes", "tools/codes.py")
RECOMMENDED = ("vgg16_gender_coded_conv5_3", "vgg_s_emotion_coded_conv5")  # whose goals are shown; the first in full
CODE, NOISE = "code", "gaussian"  # mechanisms that --compare measures
PLOT = "codes.png"


def compared_folder(docs: Path) -> Path:
    """Folder of what `tools/codes.py --compare` found."""
    return docs / "mechanisms" / "codes"


def publish(page: Path, docs: Path, family: str = "") -> None:
    """Writes the section of a family's models from all that was measured; nothing if nothing was.

    Args:
        page: the Markdown file.
        docs: folder with what else commands keep.
        family: of `results.family_of`; "": the zoo's own models.
    """

    def own(folder: Path) -> list[Path]:
        return [
            path for path in sorted(folder.glob("*.json")) if family_of(path.stem.removesuffix(f"_{SLIM}")) == family
        ]

    if measured := own(config.config_folder() / "codes"):
        # The goals are the zoo's.
        write(page, measured, own(compared_folder(docs)), None if family else docs)


def write(page: Path, measured: Sequence[Path], compared: Sequence[Path] = (), docs: Path | None = None) -> None:
    """Writes the section into a Markdown file, all figures as csv, and the plot.

    Args:
        page: the Markdown file.
        measured: JSON files of tools/codes.py, one for each model.
        compared: those of its --compare.
        docs: folder with what tools/draws.py keeps, for the goals; None: goals are left out.
    """
    found, beside = ([json.loads(path.read_text(encoding="utf-8")) for path in paths] for paths in (measured, compared))
    folder = markdown.tables_folder(page)
    tables = {"codes.csv": _csv(found), "codes_device.csv": _timed(found), "codes_compared.csv": _compared(beside)}
    if docs is not None:
        tables["codes_goals.csv"] = bars.flat(code_goals.all_rows(docs), {})
    links, plot = [], ""
    for name, figures in tables.items():
        if rows := list(figures):
            write_csv(folder / name, rows)
            links.append(markdown.link(page, folder / name))
    if beside:
        write_bytes(folder / PLOT, plots.budgets([_panel(one, found) for one in beside]))
        plot = f"![accuracy over epsilon]({markdown.relative(page, folder / PLOT)})"
    goals = code_goals.text(RECOMMENDED, docs) if docs is not None else ""
    SECTION.write(page, text(found, ", ".join(links), plot, goals))


def text(found: Sequence[Mapping[str, Any]], link: str, plot: str = "", goals: str = "") -> str:
    """The section.

    Args:
        found: what the files of tools/codes.py say.
        link: to the figures, as Markdown.
        plot, goals: as Markdown.
    """
    parts = [
        "## Codes",
        "A coded model sends one symbol by randomized response, so that epsilon holds at delta 0 and bounds every "
        "attacker. The ceiling is the best that any mechanism of that budget can reach on the network's own labels; a "
        "code may slightly exceed it, since it sees the score behind the label.",
    ]
    first = next((one for one in found if one["model"] == RECOMMENDED[0]), found[0])
    figures = sorted(first["figures"], key=lambda figure: figure["epsilon"])
    parts += [_sentence(first, figures), markdown.table(HEADER, map(_cells, figures))]
    if (timed := first.get("device")) and not goals:  # which say it too
        parts.append(_on_device(timed))
    if len(found) > 1:
        parts += [_comparison(found)]
    parts += [part for part in (plot, goals) if part]
    return "\n\n".join([*parts, f"All figures, with calibration and bounds for many answers: {link}."])


def _kind(one: Mapping[str, Any]) -> str:
    """Which of the model's heads it is; earlier versions of the command measured full ones only."""
    return one.get("kind", FULL)


def _panel(one: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Panel:
    """Curves of one comparison, with the ceiling and the label baseline of the same task."""
    task = config.network(config.model(one["model"]).network).task
    own = next((other for other in found if other["model"] == one["model"]), None)
    curves = []
    for k in sorted({row["symbols"] for row in one["rows"] if row["mechanism"] == CODE}):
        rows = [row for row in one["rows"] if row["mechanism"] == CODE and row["symbols"] == k]
        curves.append(_curve(f"code, {k} symbols", rows))
    for other in found:
        code = config.model(other["model"]).code
        if code and code.base is None and config.network(config.model(other["model"]).network).task == task:
            curves.append(_curve("label, randomized response", other["figures"]))
    noise = [row for row in one["rows"] if row["mechanism"] == NOISE]
    if noise:
        curves.append(_curve(f"Gaussian noise, delta {noise[0]['delta']:g}", noise))
    figures = sorted(own["figures"], key=lambda row: row["epsilon"]) if own else []
    ceiling = Curve("ceiling", *([row[key] for row in figures] for key in ("epsilon", "ceiling")))
    levels = {"without privacy": own["network_accuracy"], "one answer for all": figures[0]["majority"]} if own else {}
    return Panel(f"{task}, {NAMES.get(one['data'], one['data'])}", tuple(curves), ceiling, levels)


def _curve(name: str, rows: Sequence[Mapping[str, Any]]) -> Curve:
    rows = sorted(rows, key=lambda row: row["epsilon"])
    return Curve(name, *([row[key] for row in rows] for key in ("epsilon", "accuracy", "low", "high")))


def _compared(beside: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in beside:
        for row in one["rows"]:
            yield {
                "feature_of": one["model"],
                "mechanism": row["mechanism"],
                "symbols": row.get("symbols"),
                "epsilon": row["epsilon"],
                "delta": row["delta"],
                "accuracy_share": row["accuracy"],
                "accuracy_low": row["low"],
                "accuracy_high": row["high"],
                "share_of_ceiling": row.get("share_of_ceiling"),
                "faces": row["faces"],
                "people": row["people"],
                "seeds": row["seeds"],
                "date": one["date"],
                "revision": one["git"],
                "command": one["command"],
            }


SHOWN = (1, 2, 3, 4, 6, 8)  # epsilons of the table of all models
HEADER = (
    "epsilon",
    "accuracy, %",
    "ceiling, %",
    "share of it, %",
    "identified from one answer, at most, %",
    "from ten, %",
)


def _comparison(found: Sequence[Mapping[str, Any]]) -> str:
    """All models' accuracy at each budget."""
    rows = []
    for one in found:
        at = {figure["epsilon"]: figure for figure in one["figures"]}
        cells = [f"{100 * at[epsilon]['accuracy']:.1f}" if epsilon in at else "" for epsilon in SHOWN]
        slim = ", slim head" if _kind(one) == SLIM else ""
        rows.append([f"{one['model']}{slim} ({one['figures'][0]['symbols']} symbols)", *cells])
    title = (
        "Accuracy of all coded models, %, by epsilon. `label` is the baseline that a split model must beat: the whole "
        "network on the device, which sends the predicted class."
    )
    return f"{title}\n\n{markdown.table(('model', *(f'epsilon {epsilon}' for epsilon in SHOWN)), rows)}"


def _sentence(one: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> str:
    majority = figures[0]["majority"]
    useful = next((figure for figure in figures if figure["low"] > majority), None)
    reported = f"from epsilon {useful['epsilon']:g} up" if useful else "at none of these budgets"
    share = min(figure["share_of_ceiling"] for figure in figures)
    constant = [f"{figure['epsilon']:g}" for figure in figures if figure["ceiling"] <= majority + 1e-9]
    # Else a reader would look for a better code where none is missing.
    said = (
        f" At epsilon {' and '.join(constant)} the ceiling is always giving the same answer: the most frequent class "
        "of these faces, which the tail does not know."
        if constant
        else ""
    )
    return (
        f"**{one['model']}**, int8 head, {NAMES.get(one['data'], one['data'])}, {figures[0]['faces']:,} faces: the "
        f"network without privacy is right for {one['network_accuracy']:.1%} of them, and always giving the same "
        f"answer for {majority:.1%}, which the code exceeds {reported}. The code reaches at least {share:.0%} of the "
        f"ceiling.{said} Each accuracy is the mean over {len(figures[0]['seeds'])} draws, with its 95% interval over "
        "people and draws."
    )


def _cells(figure: Mapping[str, Any]) -> list[str]:
    bounds = [figure["top1"].get(queries, 1) for queries in ("1", "10")]
    return [
        f"{figure['epsilon']:g}",
        _percent(figure, "accuracy", "low", "high"),
        f"{100 * figure['ceiling']:.1f}",
        _percent(figure, "share_of_ceiling", "share_low", "share_high"),
        *(rounded_up(100 * bound) if bound < 1 else "no bound" for bound in bounds),  # never below what is proved
    ]


def _percent(figure: Mapping[str, Any], *ends: str) -> str:
    value, low, high = (100 * figure[end] for end in ends)
    return markdown.spread((value, low, high), ".1f")


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
                "head": _kind(one),
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
                "head": _kind(one),
                "data": one["data"],
                "symbols": figure["symbols"],
                "epsilon": figure["epsilon"],
                "delta": 0,
                "accuracy_share": figure["accuracy"],
                "accuracy_low": figure["low"],
                "accuracy_high": figure["high"],
                "lowest_draw_share": figure["lowest"],
                "highest_draw_share": figure["highest"],
                "one_answer_for_all_share": figure["majority"],
                "network_share": one["network_accuracy"],
                "ceiling_share": figure["ceiling"],
                "share_of_ceiling": figure["share_of_ceiling"],
                "share_of_ceiling_low": figure["share_low"],
                "share_of_ceiling_high": figure["share_high"],
                "calibration_error_share": figure["calibration_error"],
                **bounds,
                "faces": figure["faces"],
                "people": figure["people"],
                "interval": figure["method"],
                "seeds": figure["seeds"],
                "date": one["date"],
                "revision": one["git"],
            }
