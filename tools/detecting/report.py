"""The face detector's figures against its goals: kept as JSON, as csv, and as a section of RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from privzoo import markdown
from privzoo.evaluation import bars, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.provenance import write_csv, write_json

SECTION = markdown.Section("faces", "tools/faces.py")
SHARE = "%"  # unit of a goal whose figure is kept as a share


@dataclass(frozen=True)
class Goal:
    """One thing that was measured."""

    what: str
    found: Estimate  # a share where the unit is `SHARE`
    unit: str
    limit: float | None = None  # in the figure's unit; None: for comparison
    at_least: bool = True  # the limit is the least rather than the most
    digits: int = 1  # after the point, as people read the figure
    group: str = ""  # goals of which only the worst is shown, such as those of each race

    @property
    def verdict(self) -> str:
        """Whether the worse end of the interval meets the goal; empty without one."""
        return "" if self.limit is None else bars.judge(self.found, self.limit, self.at_least)

    @property
    def shown(self) -> str:
        """The figure in its unit."""
        if self.unit == SHARE:
            return markdown.spread((self.found.value, self.found.low, self.found.high), f".{self.digits}%")
        return f"{markdown.spread((self.found.value, self.found.low, self.found.high), f'.{self.digits}f')} {self.unit}"

    @property
    def asked(self) -> str:
        """The goal in words; empty without one."""
        if self.limit is None:
            return ""
        limit = f"{100 * self.limit:g}%" if self.unit == SHARE else f"{self.limit:g} {self.unit}"
        return f"{'at least' if self.at_least else 'at most'} {limit}"

    @property
    def line(self) -> str:
        """As the command prints it."""
        return f"{self.verdict:>9}  {self.what}: {self.shown}{f'; {self.asked}' if self.asked else ''}"


def save(path: Path, goals: Sequence[Goal], facts: Mapping[str, Any]) -> None:
    """Writes all figures as JSON.

    Args:
        path: the file.
        goals: of a whole run.
        facts: `date`, `git`, `command`, `seed`, `minutes`, and `method`: sentences on how it was measured.
    """
    write_json(path, {"format": 1, **facts, "goals": [asdict(goal) for goal in goals]})


def publish(path: Path, page: Path) -> None:
    """Writes the section of a Markdown file, and the csv, from what `save` wrote.

    Args:
        path: the JSON file.
        page: the Markdown file.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    goals = [Goal(**{**goal, "found": Estimate(**goal["found"])}) for goal in kept["goals"]]
    target = markdown.tables_folder(page) / "faces.csv"
    write_csv(target, _csv(goals, kept))
    SECTION.write(page, text(goals, kept, markdown.link(page, target)))


def text(goals: Sequence[Goal], kept: Mapping[str, Any], link: str) -> str:
    """The section.

    Args:
        goals: what was measured.
        kept: the facts of `save`.
        link: to all figures, as Markdown.
    """
    asked = [goal for goal in goals if goal.limit is not None]
    met = [goal for goal in asked if goal.verdict == bars.MET]
    others = [goal.found.value for goal in goals if goal.limit is None]
    words = [f"The detector meets {'all' if len(met) == len(asked) else len(met)} of its {len(asked)} goals."]
    if others:
        words.append(
            f"The fallback cascade finds {100 * min(others):.0f} to {100 * max(others):.0f}% of the same upright faces."
        )
    rows = [(goal.what, goal.shown, goal.asked, goal.verdict) for goal in _worst(asked)]
    # Of times a median is given, which is no mean over people.
    over = intervals.over(goal.found for goal in goals if goal.unit != "ms")
    parts = ["## Finding the face", f"{' '.join(words)} {kept['method']} {over}".rstrip()]
    return "\n\n".join([*parts, markdown.table(("what", "found", "goal", ""), rows), f"All figures: {link}."])


def _worst(goals: Sequence[Goal]) -> Iterator[Goal]:
    """The goals, with each group replaced by its worst one."""
    for group in dict.fromkeys(goal.group or goal.what for goal in goals):
        own = [goal for goal in goals if (goal.group or goal.what) == group]
        worst = min(own, key=lambda goal: goal.found.low if goal.at_least else -goal.found.high)
        yield worst if len(own) == 1 else replace(worst, what=f"{group}, the worst of {len(own)}")


def _csv(goals: Sequence[Goal], kept: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for goal in goals:
        yield {
            "what": goal.what,
            "unit": "share" if goal.unit == SHARE else goal.unit,
            **goal.found.ends(),
            "interval": goal.found.method,
            "pictures": goal.found.count,
            "independent": goal.found.clusters or None,
            "goal": goal.limit,
            "goal_is": None if goal.limit is None else "least" if goal.at_least else "most",
            "verdict": goal.verdict,
            "seeds": kept["seed"],
            "date": kept["date"],
            "revision": kept["git"],
        }
