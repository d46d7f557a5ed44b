"""The benchmark's JSON and csv files, its section of RESULTS.md, and the lines that it prints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarking import goals
from benchmarking.files import PUBLISHED, SLIM, WHOLE
from benchmarking.runs import FIGURES, Result
from benchmarking.wire import Transfer
from privzoo import markdown
from privzoo.errors import DataError
from privzoo.evaluation import bars
from privzoo.evaluation.bars import Row
from privzoo.evaluation.intervals import Estimate
from privzoo.provenance import write_csv

SECTION = markdown.Section("benchmark", "tools/benchmark.py")
BENCHMARK = "benchmark.json"
COSTS = ("inference_ms", "load_ms", "peak_mb")


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
        """Plain data for JSON: every round's value, and each goal with its figure."""
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
        DataError: the file is missing, or is not such a file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        results = [
            Result(r["part"], r["size"], r["quantization"], r["runtime"], r["file_mb"], dict(r["rounds"]))
            for r in found["results"]
        ]
        rows = []
        for row in found["bar"]:
            summary = row["found"] and Estimate(**row["found"])
            # An earlier version wrote "met", judging by the middle of the interval.
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
    """The report with these rows replacing those on the same goals, and new ones at the end."""
    new = {goals.about(row.what): row for row in rows}
    kept = [new.pop(goals.about(row.what), row) for row in report.rows]
    return dataclasses.replace(report, rows=[*kept, *new.values()])


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def on(machine: Mapping[str, Any]) -> str:
    """A sentence on a machine, as `benchmarking.machine.describe` describes it."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"On {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; {machine['system']}; "
        f"Python {machine['python']}, {packages}; load {machine['load']} at the start."
    )


def publish(page: Path, report: Report, out: Path) -> None:
    """Writes the section of a Markdown file, and all figures as csv.

    Args:
        page: the Markdown file.
        report: of a run.
        out: folder of the run, with its plots; its subfolders hold the same run on other processors.
    """
    folder = markdown.tables_folder(page)
    files = [folder / name for name in ("benchmark.csv", "benchmark_goals.csv", "wire.csv")]
    goals = bars.flat(report.rows, _where(report))
    for target, rows in zip(files, (_figures(report), goals, _transfers(report)), strict=True):
        write_csv(target, rows)
    plots = [f"![{plot.stem.replace('_', ' ')}]({markdown.relative(page, plot)})" for plot in sorted(out.glob("*.png"))]
    links = [markdown.link(page, target) for target in files]
    others = [path for path in sorted(out.glob("*/README.md")) if (path.parent / BENCHMARK).exists()]
    links += [markdown.link(page, path, f"the same run on {path.parent.name.replace('_', ' ')}") for path in others]
    SECTION.write(page, text(report, plots, links))


def text(report: Report, plots: Sequence[str] = (), links: Sequence[str] = ()) -> str:
    """The section.

    Args:
        report: of a run.
        plots: as Markdown.
        links: to all figures, as Markdown.
    """
    machine, others = report.machine, [row for row in report.rows if row.verdict != bars.MET]
    parts = [
        "## Cost on the device",
        f"On {machine['processor']}, one thread, {report.date}; medians over {report.rounds} rounds of fresh "
        f"processes. {_sentence(report)}",
        _main(report),
        *plots,
        _on_the_wire(report),
        f"{len(report.rows) - len(others)} of {len(report.rows)} goals are met{'; the others:' if others else '.'}",
    ]
    if others:
        rows = [
            (row.what, row.goal, row.shown, row.verdict + (f"; {row.takes}" if row.takes else "")) for row in others
        ]
        parts.append(markdown.table(("goal", "asked", "found", "verdict"), rows))
    parts.append(f"All figures, with intervals and the goals: {', '.join(links)}." if links else "")
    return "\n\n".join(part for part in parts if part)


def _sentence(report: Report) -> str:
    """How the int8 head of the last cut compares with the whole network in float32."""
    heads, whole = _shown(report)
    if not heads or whole is None:
        return ""
    head = heads[0]
    times = whole.summary("inference_ms").value / head.summary("inference_ms").value
    return (
        f"At {head.size} px the int8 head of {head.part} takes {bars.number(head.summary('inference_ms').value)} ms, "
        f"{times:.1f} times as fast as the whole network in float32, and its process peaks at "
        f"{bars.number(_peak(head))} MB rather than {bars.number(_peak(whole))}."
    )


def _peak(result: Result) -> float:
    return result.summary("peak_mb").value


def _shown(report: Report) -> tuple[list[Result], Result | None]:
    """On LiteRT at the first size: the last cut's int8 heads and the slim one, and the whole network in float32."""
    own = [r for r in report.results.values() if r.runtime == "litert"]
    size = own[0].size if own else 0
    own = [r for r in own if r.size == size]
    cuts = [r.part for r in own if r.part.startswith("conv")]
    last = max(cuts, default="").partition(" ")[0]
    heads = [r for r in own if r.quantization == "int8" and r.part.partition(" ")[0] in (last, SLIM)]
    whole = next((r for r in own if (r.part, r.quantization) == (WHOLE, "float32")), None)
    return sorted(heads, key=lambda r: (r.part == SLIM, r.part)), whole


def _main(report: Report) -> str:
    heads, whole = _shown(report)
    published = [r for r in report.results.values() if r.part == PUBLISHED]
    rows = [
        (
            f"{r.part}, {r.size} px, {r.quantization}",
            f"{r.file_mb:.1f}",
            *(bars.number(r.summary(cost).value) for cost in COSTS),
        )
        for r in (*published, *([whole] if whole else []), *heads)
    ]
    header = ("what", "file, MB", "inference, ms", "loading, ms", "peak memory, MB")
    return markdown.table(header, rows) if rows else ""


def _on_the_wire(report: Report) -> str:
    """Seconds on the wire at the first size: for the image, and for the last cut's features."""
    size = next((t.size for t in report.transfers), 0)
    own = [t for t in report.transfers if t.size == size]
    last = max((t.sent for t in own if t.sent.startswith("conv") and "reduced" not in t.sent), default="")
    told = [f"{t.sent} {t.seconds:.3f} s" for t in own if "8 bits" in t.sent or (last and t.sent.startswith(last))]
    if not told:
        return ""
    return f"Sent over 15 Mbps with 25 ms of delay each way (DataMix's equation 1), at {size} px: {'; '.join(told)}."


def _figures(report: Report) -> Iterator[dict[str, Any]]:
    """A row for each file that was measured."""
    for r in report.results.values():
        row: dict[str, Any] = {"what": r.part, "input_px": r.size, "weights": r.quantization, "runtime": r.runtime}
        row["file_mb"] = r.file_mb
        for name in FIGURES:
            median = r.summary(name)
            row |= {name: median.value, f"{name}_low": median.low, f"{name}_high": median.high}
        row |= {"rounds": report.rounds, "inferences": report.inferences}
        yield row | _where(report)


def _where(report: Report) -> dict[str, Any]:
    return {"processor": report.machine["processor"], "date": report.date, "revision": report.git}


def _transfers(report: Report) -> Iterator[dict[str, Any]]:
    for t in report.transfers:
        yield {
            "sent": t.sent,
            "input_px": t.size,
            "bytes": t.bytes,
            "multiply_adds_on_device_share": t.device_share,
            "seconds": t.seconds,
            **dict(zip(("datamix_device_percent", "datamix_mb", "datamix_seconds"), t.paper or (), strict=False)),
        }
