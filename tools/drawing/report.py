"""Lower bounds on the mechanisms' epsilon, from their own draws, in RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privzoo import markdown
from privzoo.provenance import write_csv

SECTION = markdown.Section("draws", "tools/draws.py")
SHOWN = 10  # the largest stated epsilon that is worth a row
HEADER = ("mechanism", "delta", "stated epsilon", "epsilon is at least", "the stated epsilon is")
NOT_REFUTED, REFUTED = "not refuted", "**refuted**"


def write(page: Path, kept: Path) -> None:
    """Writes the section into a Markdown file, and its rows as csv.

    Args:
        page: the Markdown file.
        kept: JSON file of tools/draws.py.
    """
    found = json.loads(kept.read_text(encoding="utf-8"))
    target = markdown.tables_folder(page) / "draws.csv"
    facts = {key: found[key] for key in ("date", "git", "command")}
    write_csv(target, [{**row, **facts} for row in found["rows"]])
    SECTION.write(page, text(found, markdown.link(page, target)))


def verdict(row: Mapping[str, Any]) -> str:
    """Whether the draws refute the stated epsilon."""
    return NOT_REFUTED if row["bound"] <= row["stated"] else REFUTED


def text(found: Mapping[str, Any], link: str) -> str:
    """The section.

    Args:
        found: what the file of tools/draws.py says.
        link: to the rows, as Markdown.
    """
    rows = found["rows"]
    refuted = [row["mechanism"] for row in rows if verdict(row) == REFUTED]
    outcome = (
        f"The draws refute the stated epsilon of {', '.join(refuted)}."
        if refuted
        else "The draws refute no stated epsilon."
    )
    shown = [row for row in rows if row["stated"] <= SHOWN]
    more = [row for row in rows if row["stated"] > SHOWN]
    if more:
        outcome += (
            f" {len(more)} larger budget{'s' if len(more) > 1 else ''} cannot be tested with so few draws; "
            f"{'their bounds are' if len(more) > 1 else 'its bound is'} at least "
            f"{min(row['bound'] for row in more):.3g}."
        )
    cells = [
        (row["mechanism"], f"{row['delta']:g}", f"{row['stated']:.4g}", f"{row['bound']:.3g}", verdict(row))
        for row in shown
    ]
    return "\n\n".join(
        [
            "## Empirical lower bounds on epsilon",
            f"A proof covers a mechanism, not its program. So each program was run {rows[0]['draws']:,} times on two "
            "features as far apart as it allows; the event that best distinguishes them was chosen on half of the "
            f"draws and judged on the other half, with {rows[0]['confidence']:.0%} confidence (Clopper and Pearson). "
            f"{outcome}",
            markdown.table(HEADER, cells),
            f"{found['date']}, code {found['git']}, `{found['command']}`. With the events: {link}.",
        ]
    )
