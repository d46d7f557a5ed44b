"""Obfuscated images in RESULTS.md: Leroux et al. 2018, Tables 1 and 3, with this zoo's networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from obfuscating.reading import estimate
from privzoo import markdown
from privzoo.evaluation import bars
from privzoo.evaluation.intervals import exact
from privzoo.provenance import write_csv

SECTION = markdown.Section("obfuscation", "tools/obfuscation.py")
LOST = 0.03  # of accuracy, at most, in reading what was obfuscated for the network; the paper loses 4.1 to 5.0 points
COST = 0.05  # of VGG-16's multiply-adds, at most; the paper's are 1.7 to 6.7 % of its networks
KEPT = 0.81  # of accuracy, at least, by other weights of the same architecture: the paper's best ratio
READS = ("model", "read by", "plain, %", "obfuscated, %", "lost, points", "multiply-adds, %", "parameters, %")
OTHERS = ("model", "read by", "plain, %", "obfuscated, %", "kept, %")


def write(page: Path, kept: Path) -> None:
    """Writes the section into a Markdown file, and its rows as csv.

    Args:
        page: the Markdown file.
        kept: JSON file of tools/obfuscation.py.
    """
    found = json.loads(kept.read_text(encoding="utf-8"))
    facts = {key: found[key] for key in ("date", "git", "command")}
    target = markdown.tables_folder(page) / "obfuscation.csv"
    write_csv(target, [{**row, **facts} for row in found["rows"]])
    SECTION.write(page, text(found, markdown.link(page, target)))


def goals(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Each goal for each row that it is about: what, the figure, whether it is met."""
    found = []
    for row in map(dict, rows):
        name = f"{row['model']}, read by {row['reader']}"
        if row["trained_for_it"]:
            lost = estimate(row, "lost")
            shown = markdown.percent(lost, interval=True, signed=True)
            found.append((f"{name}: lost, at most {100 * LOST:.0f} points", shown, bars.judge(lost, LOST)))
            if row["reader"].startswith("vgg16"):
                cost = exact(row["multiply_adds"])
                judged = bars.judge(cost, COST)
                found.append((f"{name}: multiply-adds, at most {COST:.0%}", f"{cost.value:.2%}", judged))
        elif row["same_architecture"]:
            kept = estimate(row, "kept")
            shown, judged = markdown.percent(kept, interval=True), bars.judge(kept, KEPT, at_least=True)
            found.append((f"{name}: kept, at least {KEPT:.0%}", shown, judged))
    return found


def text(found: Mapping[str, Any], link: str) -> str:
    """The section.

    Args:
        found: what the file of tools/obfuscation.py says.
        link: to the rows, as Markdown.
    """
    rows = found["rows"]
    own = [row for row in rows if row["trained_for_it"]]
    others = [row for row in rows if not row["trained_for_it"]]
    parts = [
        "## Obfuscated images",
        "An obfuscator turns a face into an image that an unchanged network reads and people do not (Leroux et al. "
        "2018). This is how well networks read it; what it reveals to decoders that were trained afresh is among the "
        "attacks. "
        f"{found['date']}, code {found['git']}, by `{found['command']}`; each obfuscator was trained once, and the "
        f"intervals are over faces, or people where they are known, not over trainings. All rows: {link}.",
        markdown.table(READS, [(*_figures(row), _interval(row, "lost", signed=True), *_overhead(row)) for row in own]),
    ]
    if others:
        parts += [
            "Networks for which they were not trained, on the same images (the paper's Table 3):",
            markdown.table(OTHERS, [(*_figures(row), _interval(row, "kept")) for row in others]),
        ]
    parts.append(markdown.table(("goal", "found", "met?"), goals(rows)))
    return "\n\n".join(parts)


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["model"], row["reader"], _interval(row, "plain"), _interval(row, "obfuscated")


def _interval(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
    return markdown.percent(estimate(dict(row), name), interval=True, signed=signed)


def _overhead(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{100 * row['multiply_adds']:.2f}", f"{100 * row['parameters']:.2f}"
