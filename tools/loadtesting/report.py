"""What the load tests found: a JSON file for each kind of run, and one part of RESULTS.md of all of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarking.report import on, table, write

from privzoo.evaluation.bars import MET, NOT_MEASURED, NOT_MET
from privzoo.provenance import git_revision, write_json

BEGIN, END = "<!-- load: written by tools/loadtest.py -->", "<!-- end of load -->"
PACKAGES = ("tensorflow", "grpcio", "uvicorn", "starlette", "locust", "hypothesis", "ray")
TITLES = {
    "load": "Throughput and latency",
    "million": "Many requests",
    "swap": "New versions under load",
    "malformed": "Malformed requests",
    "soak": "Mixed load for long",
    "large": "Large bodies at once",
    "ray": "Replicas on Ray Serve",
}
ANSWERS = {True: MET, False: NOT_MET, None: NOT_MEASURED}  # counts and worst cases, which have no interval


@dataclass(frozen=True)
class Goal:
    """One row of the bar."""

    what: str
    asked: str
    found: str
    met: bool | None  # None: not measured
    note: str = ""

    @property
    def line(self) -> str:
        """As the command prints it."""
        note = f" [{self.note}]" if self.note else ""
        return f"{ANSWERS[self.met]:>12}  {self.what}: {self.found}; {self.asked}{note}"


@dataclass(frozen=True)
class Result:
    """What one run of one kind found."""

    kind: str  # a key of `TITLES`
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # of the table in RESULTS.md
    goals: Sequence[Goal]
    notes: Sequence[str] = ()  # sentences below the table
    data: Any = field(default=None)  # all figures, for the JSON alone


# What stands in the table of goals until it has been measured.
WANTED = {
    "load": (
        ("64 clients, reduced features, batching on", "at least 3,000 requests/s, or a profile that shows the limit"),
        ("1 client, reduced features: median above the bare tail's", "under 2 ms"),
        ("start to first answer", "under 6 s"),
    ),
    "million": (("64 clients, errors in 1,000,000 requests", "none"),),
    "malformed": (("100,000 malformed requests", "no crash, no 500, memory within 5 %"),),
    "swap": (("new version under load", "no failed request, p99 below twice the usual"),),
    "soak": (("an hour of mixed load", "memory flat (within 5 %)"),),
    "large": (
        ("256 clients with large bodies", "memory within the budget; the others told to come back, none failed"),
        ("small requests among them", "at least 99 % answered"),
    ),
}


def save(result: Result, folder: Path, command: str, machine: dict[str, Any]) -> None:
    """Writes the JSON of a run.

    Args:
        result: of the run.
        folder: in which each kind has its file.
        command: that was typed.
        machine: of `benchmarking.machine.describe`, from before the run.
    """
    told = {"format": 1, "machine": machine, "date": datetime.date.today().isoformat(), "git": git_revision()}
    write_json(folder / f"{result.kind}.json", told | {"command": command} | asdict(result))


def publish(folder: Path, page: Path) -> None:
    """Writes the part of RESULTS.md anew from all kinds' files.

    Args:
        folder: of `save`.
        page: Markdown file.
    """
    files = {kind: folder / f"{kind}.json" for kind in TITLES}
    found = {kind: json.loads(file.read_text(encoding="utf-8")) for kind, file in files.items() if file.exists()}
    write(page, markdown(found), BEGIN, END)


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """The goals, then a table for each kind.

    Args:
        found: kind -> what its file says.
    """
    goals = []
    for kind, wanted in WANTED.items():
        told = found.get(kind, {}).get("goals") or [
            {"what": what, "asked": asked, "found": "", "met": None, "note": ""} for what, asked in wanted
        ]
        goals += [[g["what"], g["asked"], g["found"], ANSWERS[g["met"]], g["note"]] for g in told]
    goals += [
        [g["what"], g["asked"], g["found"], ANSWERS[g["met"]], g["note"]] for g in found.get("ray", {}).get("goals", [])
    ]
    lines = [*table(("goal", "asked", "found", "", "note"), goals)]
    for kind, title in TITLES.items():
        if kind not in found:
            continue
        one = found[kind]
        lines += ["", f"### {title}", "", f"{on(one['machine'])} {one['date']}, code {one['git']}, `{one['command']}`."]
        lines += ["", *table(one["header"], one["rows"])]
        for note in one["notes"]:
            lines += ["", note]
    return "\n".join(lines)
