"""The load tests' figures: a JSON file and a csv file for each kind of run, and one section of RESULTS.md."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from privzoo import markdown
from privzoo.evaluation.bars import MET, NOT_MEASURED, NOT_MET
from privzoo.provenance import git_revision, write_csv, write_json

SECTION = markdown.Section("load", "tools/loadtest.py")
PACKAGES = ("tensorflow", "grpcio", "uvicorn", "starlette", "locust", "hypothesis", "ray")
TITLES = {
    "load": "Throughput and latency",
    "million": "Many requests",
    "swap": "New versions under load",
    "malformed": "Malformed requests",
    "soak": "Mixed load over time",
    "large": "Large bodies at once",
    "ray": "Replicas on Ray Serve",
}
# Kinds whose data are not a list of records -> the rows of their csv file.
RECORDS: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "soak": lambda data: [
        {"seconds": s["seconds"], "memory_bytes": s["memory"], "descriptors": s["files"], "threads": s["threads"]}
        for s in data["samples"]
    ],
    "large": lambda data: [
        dict(zip(("request", "answer", "count"), (*code.rsplit(": ", 1), count), strict=True))
        for code, count in sorted(data["codes"].items())
    ],
    "malformed": lambda data: [
        dict(zip(("kind", "answer", "count"), answer, strict=True)) for answer in data["answers"]
    ],
}
CONCLUSIONS = ("ray",)  # kinds whose notes say what the figures mean, not only how they were measured
ANSWERS = {True: MET, False: NOT_MET, None: NOT_MEASURED}  # counts and worst cases, which have no interval


@dataclass(frozen=True)
class Goal:
    """One goal, and what was found."""

    what: str
    asked: str
    found: str
    met: bool | None  # None: not measured
    note: str = ""

    @property
    def line(self) -> str:
        """The goal as the command prints it."""
        note = f" [{self.note}]" if self.note else ""
        return f"{ANSWERS[self.met]:>12}  {self.what}: {self.found}; {self.asked}{note}"


@dataclass(frozen=True)
class Result:
    """The figures of one run of one kind."""

    kind: str  # a key of `TITLES`
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # cells below the header, formatted for people
    goals: Sequence[Goal]
    notes: Sequence[str] = ()  # sentences about the rows
    data: Any = field(default=None)  # all figures, not rounded; if they are records, the csv file has these


# The goals, as the table shows them until they have been measured.
WANTED = {
    "load": (
        ("64 clients, reduced features, batching on", "at least 3,000 requests/s, or a profile that shows the limit"),
        ("1 client, reduced features: median above the bare tail's", "under 2 ms"),
        ("start to first answer", "under 6 s"),
    ),
    "million": (("64 clients, errors in 1,000,000 requests", "none"),),
    "malformed": (("100,000 malformed requests", "no crash, no 500, memory within 5%"),),
    "swap": (("new version under load", "no failed request, p99 below twice the usual"),),
    "soak": (("an hour of mixed load", "memory constant (within 5%)"),),
    "large": (
        ("256 clients with large bodies", "memory within the budget; the others told to retry, none failed"),
        ("small requests among them", "at least 99% answered"),
    ),
}


def save(result: Result, folder: Path, command: str, machine: dict[str, Any]) -> None:
    """Writes a run's JSON file.

    Args:
        result: the run's figures.
        folder: holds one file for each kind.
        command: the command that was run.
        machine: as `benchmarking.machine.describe` described it before the run.
    """
    told = {"format": 1, "machine": machine, "date": datetime.date.today().isoformat(), "git": git_revision()}
    write_json(folder / f"{result.kind}.json", told | {"command": command} | asdict(result))


def publish(folder: Path, page: Path) -> None:
    """Rewrites the section of a Markdown file from the files of all kinds, and their figures as csv.

    Args:
        folder: the folder of `save`.
        page: the Markdown file.
    """
    files = {kind: folder / f"{kind}.json" for kind in TITLES}
    found = {kind: json.loads(file.read_text(encoding="utf-8")) for kind, file in files.items() if file.exists()}
    links = []
    for kind, one in found.items():
        target = markdown.tables_folder(page) / f"load_{kind}.csv"
        write_csv(target, _records(one))
        links.append(markdown.link(page, target, TITLES[kind]))
    SECTION.write(page, text(found, links))


def text(found: dict[str, dict[str, Any]], links: Sequence[str] = ()) -> str:
    """The section: the goals, and where the figures of each kind are.

    Args:
        found: kind -> the content of its file.
        links: to all figures, as Markdown.
    """
    goals: list[dict[str, Any]] = []
    for kind, wanted in WANTED.items():
        goals += found.get(kind, {}).get("goals") or [
            {"what": what, "asked": asked, "found": "", "met": None, "note": ""} for what, asked in wanted
        ]
    goals += found.get("ray", {}).get("goals", [])
    answers = [ANSWERS[goal["met"]] for goal in goals]
    machines = [one["machine"] for one in found.values()]
    machines = list(dict.fromkeys(f"{machine['processor']}, {machine['cores']} cores" for machine in machines))
    where = f" Server and clients share one machine ({' and '.join(machines)})." if machines else ""
    parts = [
        "## The server under load",
        f"{answers.count(MET)} of {len(goals)} goals are met.{where}",
        markdown.table(
            ("what", "asked", "found", "verdict"),
            ((goal["what"], goal["asked"], _found(goal), answer) for goal, answer in zip(goals, answers, strict=True)),
        ),
        *(f"{TITLES[kind]}. {note}" for kind in CONCLUSIONS for note in found.get(kind, {}).get("notes", ())),
        f"All figures, with machine, date and revision: {', '.join(links)}." if links else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _found(goal: dict[str, Any]) -> str:
    return f"{goal['found']} ({goal['note']})" if goal["note"] else goal["found"]


def _records(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one kind's csv file: the unrounded figures if its JSON file has them, otherwise the formatted rows."""
    data = one.get("data")
    if one["kind"] in RECORDS and data:
        rows = RECORDS[one["kind"]](data)
    elif isinstance(data, list) and data and all(isinstance(record, dict) for record in data):
        rows = [_flat(record) for record in data]
    else:
        rows = [dict(zip(one["header"], cells, strict=True)) for cells in one["rows"]]
    machine = one["machine"]
    where = {"processor": machine["processor"], "cores": machine["cores"], "load_at_start": machine["load"]}
    return [row | where | {"date": one["date"], "revision": one["git"], "command": one["command"]} for row in rows]


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose nested records become columns."""
    row: dict[str, Any] = {}
    for name, value in record.items():
        row |= {f"{name}_{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return row
