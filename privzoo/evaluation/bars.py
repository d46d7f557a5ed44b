"""When a goal is met: by the worse end of the figure's interval, not by its middle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from privzoo.evaluation.intervals import Estimate

MET, NOT_MET, NOT_SHOWN, NOT_MEASURED = "met", "not met", "not shown", "not measured"


def judge(found: Estimate | None, limit: float, at_least: bool = False) -> str:
    """Whether a figure meets a goal.

    Args:
        found: in the limit's unit; None: nothing was measured.
        limit: the most that it may be.
        at_least: the limit is the least rather than the most.

    Returns:
        `MET` if the whole interval meets the limit, `NOT_MET` if none of it does, `NOT_SHOWN` if the limit lies within
        the interval: the sample cannot decide. `NOT_MEASURED` without a figure.

    Example:
        >>> judge(Estimate(0.23, -1.41, 1.68), 0.3)
        'not shown'
    """
    if found is None or not math.isfinite(found.value):
        return NOT_MEASURED
    if at_least:
        return MET if found.low >= limit else NOT_SHOWN if found.high >= limit else NOT_MET
    return MET if found.high <= limit else NOT_SHOWN if found.low <= limit else NOT_MET


def needed(found: Estimate, limit: float, at_least: bool = False) -> float | None:
    """How many times as many independent people would show that a goal is met, if the figure stayed the same.

    Args:
        found: a figure whose interval contains the limit.
        limit: as for `judge`.
        at_least: as for `judge`.

    Returns:
        The factor, at least 1; None if no number would be enough, since the value itself misses the limit.

    Example:
        >>> needed(Estimate(0.0, -0.6, 0.6), 0.3)
        4.0
    """
    room = found.value - limit if at_least else limit - found.value
    half = found.value - found.low if at_least else found.high - found.value
    if room <= 0 or not math.isfinite(half):
        return None
    return max(1.0, (half / room) ** 2)


def undecided(found: Estimate, limit: float, at_least: bool = False, of: str = "measurements") -> str:
    """What it would take to show that a goal is met, in words; empty if the interval decides.

    Args:
        found: the figure.
        limit, at_least: as for `judge`.
        of: what is independent, where the figure does not say how many there were.
    """
    if judge(found, limit, at_least) != NOT_SHOWN:
        return ""
    factor = needed(found, limit, at_least)
    if factor is None:
        return "the figure itself is beyond the limit: more data would be likelier to show that it is not met"
    if not found.clusters:
        return f"showing it would take about {math.ceil(factor):,} times as many {of}"
    people = math.ceil(factor * found.clusters)
    return f"showing it would take about {people:,} people or faces, rather than {found.clusters:,}"


@dataclass(frozen=True)
class Row:
    """One goal with what was found."""

    what: str
    goal: str
    limit: float
    found: Estimate | None  # None: not measured
    note: str = ""  # why not, or what was compared
    at_least: bool = False  # the limit is the least rather than the most, of a share in 0..1
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Whether the worse end of the interval meets the goal; see `judge`."""
        return judge(self.found, self.limit, self.at_least)

    @property
    def takes(self) -> str:
        """What it would take to decide, if the interval does not; otherwise empty."""
        return undecided(self.found, self.limit, self.at_least) if self.found else ""

    @property
    def shown(self) -> str:
        """What was found, with its interval and unit."""
        found = self.found
        if found is None:
            return NOT_MEASURED
        ends = (found.value, found.low, found.high)
        value, low, high = (f"{end:.2%}" if self.at_least else number(end) for end in ends)
        spread = value if found.low == found.high else f"{value} ({low} to {high})"
        return f"{spread}{'' if self.unit in ('', '%') else ' '}{self.unit}"

    @property
    def said(self) -> str:
        """A remark: what was compared, and what it would take to decide."""
        return "; ".join(part for part in (self.note, self.takes) if part)

    @property
    def line(self) -> str:
        """As commands print it."""
        return f"{self.verdict:>12}  {self.what}: {self.shown}; {self.goal}{f' [{self.said}]' if self.said else ''}"


def number(value: float) -> str:
    """A number of any size with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def flat(rows: Iterable[Row], facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Goals as rows of a csv.

    Args:
        rows: the goals.
        facts: what stands at the end of every row, as the date.
    """
    for row in rows:
        yield {
            "goal": row.what,
            "asked": row.goal,
            "limit": row.limit,
            "unit": "share" if row.at_least else row.unit or "ratio",
            **(row.found.ends() if row.found else {}),
            "verdict": row.verdict,
            "note": row.said,
            **facts,
        }
