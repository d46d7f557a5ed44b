"""The one place that writes Markdown: tables, figures in their cells, and a command's section between its marks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from privzoo.errors import DataError
from privzoo.files import write_text


class Figure(Protocol):
    """Anything with a value and an interval, as `privzoo.evaluation.intervals.Estimate`."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """Lower end of its 95% interval."""

    @property
    def high(self) -> float:
        """Upper end."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what would end a cell or a line is escaped.

    Args:
        header: names of the columns, which say the unit of what stands below.
        rows: cells, as many in each row as in the header.

    Example:
        >>> print(table(("model", "accuracy, %"), [("a", "95.4")]))
        | model | accuracy, % |
        | --- | --- |
        | a | 95.4 |
    """
    lines = [[_cell(cell) for cell in cells] for cells in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\|", "|").replace("|", "\\|")


def percent(found: Figure | None, digits: int = 1, *, interval: bool = False, signed: bool = False) -> str:
    """A share in the unit of a column that names %, or a difference of shares in that of one that names points.

    Args:
        found: in 0..1; None: nothing was measured, and the cell stays empty.
        digits: after the point.
        interval: with the ends of the interval behind it.
        signed: with a plus where it is above 0.

    Example:
        >>> from privzoo.evaluation.intervals import Estimate
        >>> percent(Estimate(0.954, 0.946, 0.961), interval=True)
        '95.4 (94.6 to 96.1)'
    """
    if found is None:
        return ""
    ends = (100 * found.value, 100 * found.low, 100 * found.high)
    return spread(ends, f"{'+' if signed else ''}.{digits}f") if interval else f"{ends[0]:{'+' * signed}.{digits}f}"


def spread(ends: tuple[float, float, float], form: str = ".3g") -> str:
    """Value, low and high as one cell, each in a format."""
    value, low, high = (format(end, form) for end in ends)
    return f"{value} ({low} to {high})"


@dataclass(frozen=True)
class Section:
    """A command's part of a Markdown file, between two marks; the command leaves the rest of the file unchanged.

    Args:
        name: of the part, in its marks.
        command: writes the part, such as "tools/evaluate.py".
    """

    name: str
    command: str

    @property
    def begin(self) -> str:
        """The mark before the text."""
        return f"<!-- {self.name}: written by {self.command} -->"

    @property
    def end(self) -> str:
        """The mark after the text."""
        return f"<!-- end of {self.name} -->"

    def write(self, path: Path, text: str) -> None:
        """Writes text between the marks in a Markdown file, or adds both at its end, and leaves the rest unchanged.

        Args:
            path: the file; created if missing.
            text: Markdown, without the marks.

        Raises:
            DataError: the file has one mark without the other, or one of them twice.
        """
        whole = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
        before, begin, rest = whole.partition(self.begin)
        between, end, after = rest.partition(self.end)
        once = whole.count(self.begin) == whole.count(self.end) == bool(begin)
        if not once or bool(begin) != bool(end):
            raise DataError(
                f"{path} must contain {self.begin!r} once and {self.end!r} once after it, or neither; correct the "
                "marks."
            )
        after = after.strip()
        parts = (before.rstrip(), self.begin, text, f"{self.end}\n" + (f"\n{after}\n" if after else ""))
        write_text(path, "\n\n".join(part for part in parts if part))


def tables_folder(page: Path) -> Path:
    """Folder of the long csv tables that belong to a page.

    Args:
        page: RESULTS.md, RESULTS_<network>.md of a network trained on the user's own data, or another page.

    Example:
        >>> tables_folder(Path("RESULTS_mine.md")).as_posix()
        'docs/results/mine'
    """
    kind, _, network = page.stem.partition("_")
    if kind != "RESULTS":
        return page.parent
    return page.parent / "docs" / "results" / network


def link(page: Path, target: Path, text: str = "") -> str:
    """A link from a page to a file, with the file's name as its text unless there is another."""
    return f"[{text or target.name}]({relative(page, target)})"


def relative(page: Path, target: Path) -> str:
    """Path of a file as a page names it."""
    return Path(os.path.relpath(target, page.parent)).as_posix()
