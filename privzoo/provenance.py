"""What makes a written figure traceable: the code's revision, and plain data as JSON and csv."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from privzoo.files import write_text


def git_revision() -> str:
    """Revision of the checkout that the code runs from, `-dirty` with uncommitted changes; "unknown" outside git.

    Figures that a command has just written make no revision dirty: the next figure does not depend on them.
    """
    written = (
        "zoo_configs/cards",
        "zoo_configs/subgroups",
        "zoo_configs/optimised",
        "zoo_configs/sweeps",
        "zoo_configs/codes",
        "docs",
        "RESULTS*.md",
    )
    root = Path(__file__).parent.parent
    changes = ["git", "diff", "--quiet", "HEAD", "--", ".", *(f":!{path}" for path in written)]
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(changes, cwd=root, capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return revision.stdout.strip() + ("-dirty" if changed else "")


def write_json(path: Path, data: Any) -> None:
    """Writes indented JSON, in whole or not at all; numpy's numbers and truths as Python's."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, default=lambda one: one.item()) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as csv, UTF-8, in whole or not at all; numbers are not rounded.

    Args:
        path: the file.
        rows: column -> value; all columns of all rows are written, in the order in which they first appear. None is an
            empty cell, and a list its entries with spaces between.
    """
    rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _plain(value: Any) -> Any:
    if value is None or value != value:  # NaN says that there is no figure
        return ""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
