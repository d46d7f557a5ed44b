"""Writes what slim heads cost and lose: their records and cards, the section of RESULTS.md, and all figures as csv."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import config as configs
from privzoo import markdown, measurement
from privzoo.audit.report import families
from privzoo.config import SLIM
from privzoo.evaluation import bars, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.markdown import percent
from privzoo.measurement import Measurement
from privzoo.provenance import write_csv, write_json
from privzoo.slim import LOST
from privzoo.slim.measure import AGREEMENT, variant

SECTION = markdown.Section("slim heads", "tools/slim.py")
MULTIPLY_ADDS = "multiply-adds"  # how the goal begins that is a share of the network's, not a loss in points


def lines(measured: Mapping[str, Any]) -> list[str]:
    """One line for each goal, as the command prints them."""
    return [
        f"{row['verdict']:>9}  {row['goal']}: {_found(row)} {unit(row)}; at most {100 * row['limit']:g}"
        + (f" ({row['takes']})" if row["takes"] else "")
        for row in measured["bar"]
    ]


def unit(row: Mapping[str, Any]) -> str:
    """The unit of a goal and its figure: a share of the network's work, or a difference."""
    return "%" if row["goal"].startswith(MULTIPLY_ADDS) else "points"


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate(row["value"], row["low"], row["high"], row.get("count") or 0, row.get("clusters") or 0)


def _found(row: Mapping[str, Any]) -> str:
    found = _estimate(row)
    return percent(found, 2, interval=found.low < found.high)


def write(measured: dict[str, Any], command: str, results_file: Path | None) -> None:
    """Writes figures into the slim head's record and card, and the section on all slim heads into a Markdown file."""
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
    measurement.write(name, made, SLIM)
    if results_file:
        write_table(results_file, families.family_of(name))


def write_table(results_file: Path, family: str = "") -> None:
    """Writes the section on a family's slim heads, as their records have them, into a Markdown file.

    Args:
        results_file: the Markdown file.
        family: of `privzoo.audit.report.families.family`; "" for the zoo's own models.
    """
    models = [model for model in configs.models() if families.family_of(model) == family]
    found = [record_path(model) for model in models if record_path(model).exists()]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    measured = [record["measured"] for record in records if "measured" in record]
    if not measured:
        return
    target = markdown.tables_folder(results_file) / "slim.csv"
    write_csv(target, _figures(measured))
    SECTION.write(results_file, text(measured, markdown.link(results_file, target)))


def record_path(name: str) -> Path:
    """Record of a model's slim head."""
    return configs.config_folder() / "weights" / f"{name}_slim.json"


def text(measured: Sequence[Mapping[str, Any]], link: str) -> str:
    """The section: what each slim head costs and loses, and which goals it meets.

    Args:
        measured: of `privzoo.slim.measure.measure`.
        link: to all figures, as Markdown.
    """
    parts = ["## Slim heads"]
    for found in measured:
        rows = [
            (f"{row['goal']}, {unit(row)}", f"{100 * row['limit']:g}", _found(row), _verdict(row))
            for row in found["bar"]
        ]
        header = ("goal", "at most", "found", "verdict")
        parts += [_sentence(found), markdown.table(header, rows)]
    return "\n\n".join([*parts, f"Both heads compared: {link}."])


def _sentence(found: Mapping[str, Any]) -> str:
    adds = found["multiply_adds"]
    lost = _figure(found, SLIM, LOST, variant("int8"))
    alike = _figure(found, SLIM, AGREEMENT, variant("int8"))
    words = [f"**{found['model']}**: the slim head takes {adds[SLIM] / adds['network']:.0%} of the multiply-adds"]
    if lost:
        words[-1] += f"; in int8 it loses {percent(lost, 2, interval=True)} points of accuracy"
    if alike:
        words[-1] += f" and gives the full head's label for {alike.value:.1%} of the faces"
    data = families.NAMES.get(found["data"], found["data"])
    words[-1] += f" ({data})."
    if decided := found.get("decided_on"):
        words.append(f"The goals are decided on {decided['data']} and {decided['people']}.")
    else:
        words.append(
            f"The goals were decided by an earlier rule, on {data} and LFW-100 themselves; tools/slim.py now decides "
            "them on validation data and people 101 to 200."
        )
    words.append(intervals.over(map(_estimate, found["figures"])))
    return " ".join(words)


def _figure(found: Mapping[str, Any], *wanted: str) -> Estimate | None:
    """A figure of the test set by head, metric and variant."""
    one = next((f for f in found["figures"] if (f["head"], f["metric"], f["variant"]) == wanted), None)
    return _estimate(one) if one else None


def _verdict(row: Mapping[str, Any]) -> str:
    """Verdict on a goal; also for records of an earlier version, which judged by the middle of the interval."""
    kept = _estimate(row)
    verdict, takes = bars.judge(kept, row["limit"]), row.get("takes")
    takes = takes or bars.undecided(kept, row["limit"], of="people or seeds")
    return f"{verdict}; {takes}" if takes else verdict


def _figures(measured: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each figure: those that are published, and those that the goals were decided on."""
    for found in measured:
        published = {"data": found["data"], "people": found.get("people", "lfw100-test")}
        for use, figures, where in (
            ("published", found["figures"], published),
            ("deciding", found.get("deciding_figures", ()), found.get("decided_on", {})),
        ):
            for f in figures:
                yield {
                    "model": found["model"],
                    "head": f["head"],
                    "use": use,
                    "metric": f["metric"],
                    "variant": f["variant"],
                    "data": where["people" if "identity" in f["metric"] else "data"],
                    "unit": "share",
                    **{key: f[key] for key in ("value", "low", "high")},
                    "interval": f.get("method"),
                    "faces": f["count"],
                    "independent": f.get("clusters"),
                    "attacker": f.get("attacker"),
                    "multiply_adds": found["multiply_adds"][f["head"]],
                    "seeds": found["seeds"],
                    "date": found["date"],
                    "revision": found["git"],
                }
