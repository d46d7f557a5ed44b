"""The audit's tables: in RESULTS.md and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo.audit.report import pairs
from privzoo.audit.report.results import section
from privzoo.audit.report.summary import Comparison, Row, Value

BEGIN, END = "<!-- audit: written by tools/audit.py -->", "<!-- end of audit -->"
ATTRIBUTES = {
    "race": "race, balanced accuracy",
    "age": "age, mean error in years",
    "gender": "gender, balanced accuracy",
}


def markdown(rows: Sequence[Row], raw: Row | None, comparisons: Sequence[Comparison]) -> str:
    """The tables: who is named, what else is learnt, and what helps; with dates, revisions, seeds and hashes."""
    everything = [*([raw] if raw else []), *rows]
    parts = [_named(everything), _learnt(rows)]
    found = [row.result for row in everything]
    parts += [table for table in (pairs.pairs_table(found), pairs.codes_table(found)) if table]
    if comparisons:
        parts.append(_helps(comparisons))
    if rows:
        parts.append(_measured(rows))
    return "\n\n".join(parts)


def terminal(document: Mapping[str, Any]) -> str:
    """The strongest attackers' figures of one model, aligned.

    Args:
        document: `audit/<model>.json`; see `privzoo.audit.runner`.
    """
    rows = [("attack", "on", "head", "noise", "attacker", "figure", "95 % interval")]
    for f in document["figures"]:
        if f["best"]:
            noise = pairs.sent(f) if f["noise"] else ""
            form = "{:.1f} years" if f["attack"] == "age" else "{:.1%}"
            value, low, high = (form.format(f[key]) for key in ("value", "low", "high"))
            weak = ", too weak to count" if f["weak"] else ""
            weak += f", at most {f['bound']:.2%} by its bound" if f.get("bound") is not None else ""
            weak += ": DEFECT" if f.get("defect") else ""
            service = f.get("service", "fresh draws")
            figure = f"{f['attack']} {f['metric']}" + (f", {service}" if service != "fresh draws" else "")
            rows.append((figure, f["feature"], f["variant"], noise, f["attacker"], value, f"{low} to {high}{weak}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", document["model"], *lines])


def write(path: Path, tables: str) -> None:
    """Puts the tables between their marks into a file, and leaves the rest of it as it is."""
    section(path, BEGIN, END, tables)


def _cell(value: Value | None, form: str = ".1%") -> str:
    if value is None:
        return ""
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})" + (", too weak" if value.weak else "")


def one_answer(value: Value | None) -> str:
    """What always giving the most frequent class would get, as "always male 77.6%"."""
    return f"{value.source} {value.value:.1%}" if value else ""


def picked(value: Value | None) -> str:
    """The best attacker, and how much too good it looks for being picked on what it is scored on."""
    if value is None:
        return ""
    return value.source + (f", picked: up to {100 * value.optimism:.2f} points of luck" if value.optimism else "")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def _named(rows: Sequence[Row]) -> str:
    numbers = sorted({number for r in rows for number in r.queried})
    heads = [
        "model",
        "accuracy",
        "balanced",
        "one answer for all",
        "people named",
        "by",
        "among five",
        *(f"{n} queries averaged" for n in numbers),
    ]
    lines = []
    for r in rows:
        floors = ", ".join(f"{v.value:.1%}" for name in ("label", "logit") if (v := r.floors.get(name)))
        own = [r.model, _cell(r.accuracy), _cell(r.balanced), one_answer(r.one_answer)]
        own += [_cell(r.identity), picked(r.identity), _cell(r.top5)]
        own += [_cell(r.queried.get(number)) for number in numbers]
        size = f"{r.feature_bytes:,}" if r.feature_bytes else ""
        lines.append([*own, _cell(r.identity_int8), floors, size])
    return _table([*heads, "int8 head", "floors: label, logit", "bytes"], lines)


def _learnt(rows: Sequence[Row]) -> str:
    lines = []
    for r in rows:
        attributes = [_cell(r.attributes.get(name), ".1f" if name == "age" else ".1%") for name in ATTRIBUTES]
        ranks = [_cell(value) for value in (r.rank, r.rank_other, r.rank_sample)]
        decoder = r.recognised.source if r.recognised else ""
        likeness = [_cell(r.likeness.get("PSNR"), ".1f"), _cell(r.likeness.get("SSIM"), ".2f")]
        lines.append([r.model, *ranks, _cell(r.recognised), decoder, *likeness, *attributes])
    heads = ["model", "rank privacy", "of other photographs", "per sample", "recognised in reconstructions", "by"]
    return _table([*heads, "PSNR, dB", "SSIM", *ATTRIBUTES.values()], lines)


def _helps(comparisons: Sequence[Comparison]) -> str:
    lines = [
        (c.question, c.before, c.after, _cell(c.identity, "+.1%"), _cell(c.accuracy, "+.1%"), c.answer)
        for c in comparisons
    ]
    return _table(("question", "from", "to", "people named, in points", "accuracy, in points", "answer"), lines)


def _measured(rows: Sequence[Row]) -> str:
    lines = []
    for r in rows:
        heads = sorted({f"{f['variant']} {f['sha256'][:12]}" for f in r.result["figures"] if f.get("sha256")})
        seeds = sorted({seed for f in r.result["figures"] for seed in f.get("seeds", ())})
        found = (r.model, r.result["date"], r.result["git"], ", ".join(map(str, seeds)), ", ".join(heads))
        lines.append(found)
    return _table(("measured", "date", "code", "seeds", "heads"), lines)
