"""The audit's report: one HTML page with all figures inside, a JSON file per model, and tables for RESULTS.md.

The page answers at a glance: what does the cloud learn, from which model, at what accuracy and cost? It is made of
the results in a folder alone: `<model>.json` (format: `privzoo.audit.runner`), `tradeoff.csv`
(`privzoo.audit.attacks.tradeoff`) and `<model>.npz` (`save_faces`), and of the models' cards.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.audit.attacks import tradeoff
from privzoo.audit.report import html, plots, summary, tables
from privzoo.audit.report.summary import YARDSTICKS, Comparison, Row
from privzoo.card import Card
from privzoo.crowd import FACES
from privzoo.errors import DataError, UnknownNameError
from privzoo.files import write_arrays, write_bytes, write_text
from privzoo.provenance import write_json

TITLE = "What does the cloud learn?"
TRADEOFF = "tradeoff.csv"
FIGURE_11 = ("simple", "siamese", "advanced")  # embeddings to compare, as in the paper's Figure 11
YEARS = ".1f"


@dataclass(frozen=True)
class Pictures:
    """Faces with what was reconstructed of them from one model's features."""

    originals: np.ndarray  # uint8 (K, side, side)
    reconstructions: Mapping[str, np.ndarray]  # attacker -> likewise, the best one first
    public: np.ndarray  # bool (K,): may be published; photographs of research data sets may not

    def part(self, everyone: bool) -> Pictures:
        """All faces, or those that may be published."""
        keep = slice(None) if everyone else self.public
        rows = {name: images[keep] for name, images in self.reconstructions.items()}
        return Pictures(self.originals[keep], rows, self.public[keep])


def save_faces(path: str | Path, pictures: Pictures) -> None:
    """Writes pictures as `<model>.npz`, in whole or not at all."""
    arrays = {f"by {name}": images for name, images in pictures.reconstructions.items()}
    file = io.BytesIO()
    arrays = {"originals": pictures.originals, "public": pictures.public, **arrays}
    write_arrays(file, arrays, compressed=True)
    write_bytes(Path(path), file.getvalue())


def load_faces(path: str | Path) -> Pictures:
    """Reads what `save_faces` wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        rows = {name.removeprefix("by "): images for name, images in arrays.items() if name.startswith("by ")}
        return Pictures(arrays["originals"], rows, arrays["public"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} holds no reconstructions ({error}); delete it and run tools/audit.py again.") from None


def _card(name: str) -> Card | None:
    from privzoo import card

    try:
        return card.read(name)
    except UnknownNameError:
        return None


def _read(
    folder: Path, cards: Callable[[str], Card | None]
) -> tuple[list[dict[str, Any]], list[Row], list[Row], list[Comparison]]:
    """Results of a folder: a row per model, those of raw inputs, and comparisons of the rows."""
    found = summary.read(folder)
    rows = sorted(
        (summary.row(result, cards(result["model"])) for result in found),
        key=lambda r: (r.task, -(r.leak.value if r.leak else 0)),
    )
    raw = [r for name in YARDSTICKS for r in rows if r.model == name]
    rows = [r for r in rows if r.model not in YARDSTICKS]
    return found, rows, raw, summary.compare(rows)


def write_tables(folder: str | Path, results: str | Path) -> None:
    """Writes the section of a Markdown file alone, of results that are next to their page; see `write`."""
    folder = Path(folder)
    _, rows, raw, comparisons = _read(folder, _card)
    tables.write(Path(results), rows, raw, comparisons, _points(folder), folder / "index.html")


def _points(folder: Path) -> list[tradeoff.Point]:
    table = folder / TRADEOFF
    return tradeoff.read_csv(table) if table.exists() else []


def write(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    results: str | Path | None = None,
    people: bool = True,
    cards: Callable[[str], Card | None] = _card,
) -> Path:
    """Writes the report.

    Args:
        folder: the audit's results.
        out: folder of the report; None: `report` in `folder`.
        results: a Markdown file whose tables of the audit are rewritten; None: none.
        people: show reconstructed people of research data sets. A page that is to be published must not: it may show
            only faces in the public domain.
        cards: name -> card; None for a model that the zoo does not have.

    Returns:
        `index.html` in `out`; next to it are `<model>.json` and `tradeoff.csv`.

    Raises:
        DataError: there are no results, or a file of them is damaged.
    """
    folder = Path(folder)
    out = Path(out) if out else folder / "report"
    found, rows, raw, comparisons = _read(folder, cards)
    points = _points(folder)
    faces = {
        r.model: part
        for r in rows
        if (folder / f"{r.model}.npz").exists()
        and len((part := load_faces(folder / f"{r.model}.npz").part(people)).originals)
    }
    parts = [
        _glance(rows, raw),
        _models(rows),
        _ablations(comparisons),
        _curves(points),
        _faces(rows, faces),
        _method(found),
    ]
    for result in found:
        write_json(out / f"{result['model']}.json", result)
    if points:
        tradeoff.write_csv(points, out / TRADEOFF)
    write_text(out / "index.html", html.whole(TITLE, parts))
    if results:
        tables.write(Path(results), rows, raw, comparisons, points, out / "index.html")
    return out / "index.html"


def _glance(rows: Sequence[Row], raw: Sequence[Row]) -> str:
    """One sentence for each task, and what to compare the figures with."""
    lines = []
    for task in sorted({r.task for r in rows}):
        own = [r for r in rows if r.task == task and r.identity]
        if not own:
            continue
        most, least = own[0], own[-1]
        label, chance = most.floors.get("label"), most.floors.get("chance")
        floor = f" The predicted {html.text(task)} alone gives {html.number(label.value)}" if label else ""
        floor += f"{' and' if floor else ''} guessing {html.number(chance.value)}" if chance else ""
        reported = _told(most) + (f"; from {_told(least)}" if least is not most else "")
        lines.append(
            f"<li><strong>{html.text(task.capitalize())}.</strong> Share of {_known(most)} that the cloud identifies: "
            f"from {reported}.{floor}{'.' if floor else ''}</li>\n"
        )
    for one in raw:
        if one.identity:
            weak = " That is too little: the attack is too weak to prove anything." if one.identity.weak else ""
            of = "" if one.among == FACES else f" of {_known(one)}"
            lines.append(
                f"<li><strong>Yardstick.</strong> From {tables.themselves(one)} the same attackers identify "
                f"{html.number(one.identity.value)}{of}.{weak}</li>\n"
            )
    if any(r.result["quick"] for r in rows):
        lines.append("<li><strong>These are figures of a quick audit, a trial run only.</strong></li>\n")
    return f'<section aria-label="at a glance"><ul class="answers">\n{"".join(lines)}</ul></section>\n'


def _known(r: Row) -> str:
    """Those whom attackers looked for one of, in words."""
    return "known people" if r.among == FACES else f"{r.among.people} known {r.among.noun}"


def _told(r: Row) -> str:
    """What one model reveals, and at what accuracy and cost."""
    leak = r.leak
    assert leak is not None, "only models that were attacked are reported"
    average = f" by averaging {r.queries} features of one {r.source}" if leak is r.averaged else ""
    accuracy = f", at an accuracy of {html.number(r.accuracy.value)}" if r.accuracy else ""
    cost = f" and {html.number(r.feature_bytes, ',')} bytes" if r.feature_bytes else ""
    return f"<b>{html.name(r.model)}</b>, {html.number(leak.value)}{average}{accuracy}{cost}"


def _attributes(r: Row) -> str:
    return "<br>".join(
        f"age error, years {html.figure(value, YEARS)}" if name == "age" else f"{name} {html.figure(value)}"
        for name, value in r.attributes.items()
    ) or html.figure(None)


def _likeness(r: Row) -> str:
    forms = {"PSNR": ("dB", ".1f"), "SSIM": ("", ".2f")}
    return "".join(f"<br>{name} {html.figure(v, forms[name][1])} {forms[name][0]}" for name, v in r.likeness.items())


def _models(rows: Sequence[Row]) -> str:
    lines = [
        (
            html.name(r.model),
            html.figure(r.accuracy)
            + (f"<br>balanced {html.figure(r.balanced)}" if r.balanced else "")
            + (f"<br><small>{html.text(tables.one_answer(r.one_answer))}</small>" if r.one_answer else ""),
            html.figure(r.identified, bar=True)
            + (f"<small>{html.text(tables.picked(r.identified))}</small>" if r.identified else "")
            + (f"<br>among five {html.figure(r.top5)}" if r.top5 else ""),
            html.figure(r.averaged) + f"<br><small>{r.queries} queries</small>" if r.averaged else "",
            html.figure(r.recognised) + _likeness(r),
            html.figure(r.rank) + (f"<br>other {r.source}s {html.figure(r.rank_other)}" if r.rank_other else ""),
            _attributes(r),
            f"{html.number(r.head_share)} of the work,<br>{html.number(r.feature_bytes, ',')} bytes sent"
            if r.head_share is not None and r.feature_bytes is not None
            else "",
        )
        for r in rows
    ]
    heads = (
        "model",
        "accuracy",
        "identified, strongest attack",
        "by averaging queries",
        "people recognised in reconstructions",
        "rank privacy",
        "attributes: balanced accuracy, or error",
        "cost on the device",
    )
    caption = "All models, those that reveal most first; below each figure its 95% interval"
    return f"<h2>Every model</h2>\n{html.table(caption, heads, lines)}"


def _ablations(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    parts = ["<h2>What helps?</h2>\n"]
    for question in dict.fromkeys(c.question for c in comparisons):
        own = [c for c in comparisons if c.question == question]
        lines = [
            (
                f"{html.name(c.before)} to {html.name(c.after)}",
                html.figure(c.identity, "+.1%"),
                html.figure(c.accuracy, "+.1%") if c.accuracy else "",
                html.text(c.answer),
            )
            for c in own
        ]
        parts.append(f"<h3>{html.text(question)} {html.text(_verdict(own))}</h3>\n")
        heads = ("from, to", "identified, in points", "accuracy, in points", "answer")
        parts.append(html.table(question, heads, lines))
    parts.append(
        f'<p class="soft">Intervals are Newcombe\'s, as if the two figures were independent. Yes: the interval of the '
        f"identification rate lies below 0, and that of the accuracy above {-summary.EQUAL:.0%}. At a cost: accuracy "
        "may have fallen by more. Not shown: the interval of the identification rate contains 0.</p>\n"
    )
    return "".join(parts)


def _verdict(own: Sequence[Comparison]) -> str:
    counts = {answer: sum(c.answer == answer for c in own) for answer in dict.fromkeys(c.answer for c in own)}
    return ", ".join(f"{answer} in {count} of {len(own)}" for answer, count in counts.items()).capitalize() + "."


def _curves(points: Sequence[tradeoff.Point]) -> str:
    if not points:
        return ""
    parts = ["<h2>Accuracy against privacy, by noise</h2>\n"]
    for task in sorted({p.task for p in points}):
        caption = f"Accuracy of {task} models against privacy, for noise of several deviations"
        parts.append(html.picture(plots.tradeoff(points, task), f"{caption}; the table below has the figures", caption))
    lines = [
        (
            html.name(p.model),
            html.number(p.relative, "g"),
            html.figure(summary.Value(p.accuracy, p.accuracy_low, p.accuracy_high)),
            html.figure(summary.Value(p.rank, p.rank_low, p.rank_high)),
            html.figure(summary.Value(p.identity, p.identity_low, p.identity_high)),
        )
        for p in points
    ]
    heads = ("model", "noise over feature, deviations", "accuracy", "rank privacy", "identified")
    parts.append(f"<details><summary>The figures</summary>{html.table('Trade-offs', heads, lines)}</details>\n")
    return "".join(parts)


def _faces(rows: Sequence[Row], faces: Mapping[str, Pictures]) -> str:
    if not faces:
        return ""
    parts = ["<h2>What the cloud sees of a face</h2>\n"]
    for task, cut in sorted({(r.task, r.cut) for r in rows}):
        shown = {r.embedding: faces[r.model] for r in rows if (r.task, r.cut) == (task, cut) and r.model in faces}
        chosen = {name: shown[name] for name in FIGURE_11 if name in shown}
        if len(chosen) > 1:
            first = next(iter(chosen.values()))
            best = {name: next(iter(p.reconstructions.values())) for name, p in chosen.items()}
            caption = f"Originals, and the best reconstructions from {task} features at {cut}, by embedding"
            parts.append(html.picture(plots.faces({"original": first.originals, **best}), caption, caption))
    for r in rows:
        if r.model in faces:
            own = faces[r.model]
            caption = f"{r.model}: originals, and reconstructions by each decoder"
            image = html.picture(plots.faces({"original": own.originals, **own.reconstructions}), caption, caption)
            parts.append(f"<details><summary>{html.text(r.model)}</summary>{image}</details>\n")
    return "".join(parts)


def _method(found: Sequence[Mapping[str, Any]]) -> str:
    originals = [
        f for result in found for f in summary.find(result["figures"], attacker="originals", metric="recognised")
    ]
    yardstick = (
        f"<p>The recogniser that judges reconstructions knows {html.number(originals[0]['value'])} of the photographs "
        "themselves.</p>\n"
        if originals
        else ""
    )
    lines = []
    for result in found:
        reported = tables.measured(result)
        seeds, measured = ", ".join(map(str, reported["seeds"])), "; ".join(reported["heads"])
        cells = (result["model"], reported["date"], reported["code"], seeds, measured)
        lines.append((html.name(cells[0]), *map(html.text, cells[1:]), f"<code>{html.text(result['command'])}</code>"))
    heads = ("model", "date", "code", "seeds", "heads", "command")
    return (
        "<h2>How this was measured</h2>\n"
        "<p>Each figure is that of the strongest of several attackers, who know the head, have photographs of the "
        "people they look for, and see noise as drawn on the device. Identified: top-1 identification rate, mean over "
        "people. Rank privacy (Osia et al. 2017, equations 2 to 4): 1 over the number of people if the right "
        "person is always the most likely, slightly over half if the feature says nothing; as in the paper, for "
        "features that the cloud knows without their noise, and for other photographs. People recognised in "
        "reconstructions: a decoder makes a picture of the feature, and a face recogniser that never saw the decoder "
        f"identifies the right person.</p>\n{yardstick}{html.table('Where the figures come from', heads, lines)}"
    )
