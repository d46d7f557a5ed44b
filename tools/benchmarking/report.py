"""The benchmark's JSON, its tables in RESULTS.md, and the lines that it prints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarking.goals import Row
from benchmarking.runs import FIGURES, Result
from benchmarking.wire import Transfer
from privzoo.errors import DataError
from privzoo.evaluation.intervals import Estimate
from privzoo.files import write_text

BEGIN, END = "<!-- benchmark: written by tools/benchmark.py -->", "<!-- end of benchmark -->"


@dataclass(frozen=True)
class Report:
    """Everything that one run of the benchmark found."""

    machine: Mapping[str, Any]
    date: str  # ISO 8601
    git: str
    command: str
    rounds: int
    inferences: int  # timed in each process
    results: Mapping[str, Result]
    transfers: Sequence[Transfer]
    rows: Sequence[Row]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: every round's value, and each goal with what was found."""
        return {
            "format": 1,
            "machine": dict(self.machine),
            "date": self.date,
            "git": self.git,
            "command": self.command,
            "rounds": self.rounds,
            "inferences": self.inferences,
            "results": [
                {
                    **{f: getattr(r, f) for f in ("part", "size", "quantization", "runtime")},
                    "file_mb": round(r.file_mb, 3),
                    "summary": {name: _rounded(r.summary(name).ends()) for name in FIGURES},
                    "rounds": {name: [round(v, 4) for v in values] for name, values in r.rounds.items()},
                }
                for r in self.results.values()
            ],
            "transfers": [dataclasses.asdict(t) for t in self.transfers],
            "bar": [dataclasses.asdict(row) | {"verdict": row.verdict} for row in self.rows],
        }


def read(path: Path) -> Report:
    """Reads what a run of the benchmark wrote as JSON.

    Raises:
        DataError: the file is missing, or is no such JSON.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        results = [
            Result(*(r[f] for f in ("part", "size", "quantization", "runtime", "file_mb")), dict(r["rounds"]))
            for r in found["results"]
        ]
        rows = []
        for row in found["bar"]:
            summary = row["found"] and Estimate(**row["found"])
            # "met" is what an earlier version wrote, which judged by the middle of the interval.
            rows.append(Row(**{k: v for k, v in row.items() if k not in ("met", "verdict")} | {"found": summary}))
        return Report(
            **{f: found[f] for f in ("machine", "date", "git", "command", "rounds", "inferences")},
            results={result.key: result for result in results},
            transfers=[Transfer(**t | {"paper": t["paper"] and tuple(t["paper"])}) for t in found["transfers"]],
            rows=rows,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no benchmark ({error!r}); measure again with tools/benchmark.py.") from None


def renewed(report: Report, rows: Iterable[Row]) -> Report:
    """The report with rows in place of those about the same, and new ones at the end."""
    new = {row.what: row for row in rows}
    kept = [new.pop(row.what, row) for row in report.rows]
    return dataclasses.replace(report, rows=[*kept, *new.values()])


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spread(found: Estimate) -> str:
    return f"{_number(found.value)} ({_number(found.low)} to {_number(found.high)})"


def found(row: Row) -> str:
    """What was found for a goal, in words."""
    if row.found is None:
        return "not measured"
    if row.at_least:
        return f"{row.found.value:.2%} ({row.found.low:.2%} to {row.found.high:.2%})"
    return f"{_spread(row.found)}{' ' if row.unit else ''}{row.unit}"


def note(row: Row) -> str:
    """What is to be said of a goal: what was compared, and what it would take to tell."""
    return "; ".join(part for part in (row.note, row.takes) if part)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def bar_lines(rows: Sequence[Row]) -> list[str]:
    """One line for each goal, as the command prints them."""
    return [
        f"{row.verdict:>12}  {row.what}: {found(row)}; {row.goal}{f' [{note(row)}]' if note(row) else ''}"
        for row in rows
    ]


def _wire(transfer: Transfer) -> list[str]:
    paper = transfer.paper
    return [
        transfer.sent,
        f"{transfer.size} px",
        f"{transfer.bytes:,}",
        f"{transfer.device_share:.1%}",
        f"{transfer.seconds:.3f}",
        f"{paper[0]} %, {paper[1]} MB, {paper[2]} s" if paper else "",
    ]


def on(machine: Mapping[str, Any]) -> str:
    """A sentence of `benchmarking.machine.describe`."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"On {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; {machine['system']}; "
        f"Python {machine['python']}, {packages}; load {machine['load']} at the start."
    )


def markdown(report: Report, plots: Sequence[str]) -> str:
    """Tables and plots for RESULTS.md.

    Args:
        report: of a run.
        plots: paths of the pictures, as the Markdown file is to name them.
    """
    lines = [
        f"{on(report.machine)} {report.date}, code {report.git}, `{report.command}`.",
        "",
        f"One thread. {report.rounds} rounds in changing order, a fresh process for each cell with {report.inferences} "
        "inferences after the first; medians over the rounds (of each round's median for inference), with 95 % "
        "intervals. Files are in the system's cache. Peak memory is that of the whole process; Python with the "
        "runtime alone has what the column before says. Weights are random: they change none of these figures.",
        "",
        *table(
            ("what", "input", "weights", "runtime", "file, MB", "inference, ms", "loading, ms", "peak, MB", "before"),
            (
                (
                    r.part,
                    f"{r.size} px",
                    r.quantization,
                    r.runtime,
                    f"{r.file_mb:.1f}",
                    *(_spread(r.summary(name)) for name in ("inference_ms", "load_ms", "peak_mb")),
                    _number(r.summary("before_mb").value),
                )
                for r in report.results.values()
            ),
        ),
        "",
        *(f"![{Path(plot).stem.replace('_', ' ')}]({plot})\n" for plot in plots),
        "On the wire by DataMix's equation 1 (15 Mbps up, 30 down, 25 ms each way), for one image:",
        "",
        *table(
            ("sent", "input", "bytes", "multiply-adds on the device", "seconds", "DataMix's Table 1"),
            map(_wire, report.transfers),
        ),
        "",
        "Goals, as ratios within this run:",
        "",
        *table(
            ("goal", "asked", "found", "", "compared"),
            ((row.what, row.goal, found(row), row.verdict, note(row)) for row in report.rows),
        ),
    ]
    return "\n".join(lines)


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts the tables between their marks in a Markdown file, or at its end, and leaves the rest as it is."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    write_text(path, f"{before.rstrip()}\n\n{begin}\n\n{text}\n\n{end}\n\n{after.lstrip()}".rstrip() + "\n")
