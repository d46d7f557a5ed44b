"""The audit in RESULTS.md and on the terminal: who is identified, what else is learnt, what helps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import config, markdown
from privzoo.audit.attacks.tradeoff import Point
from privzoo.audit.report import pairs, plots, summary
from privzoo.audit.report.families import at_last_cuts
from privzoo.audit.report.summary import RAW, Comparison, Row, Value, find
from privzoo.config import FACE
from privzoo.crowd import FACES
from privzoo.evaluation.intervals import PAIRED
from privzoo.files import write_bytes
from privzoo.markdown import percent
from privzoo.provenance import write_csv

SECTION = markdown.Section("audit", "tools/audit.py")
IDENTIFIED = ("identified", "right person")  # beginnings of the names of identification rates
ANSWERS = ("yes", "at a cost", "not shown", "no")  # of `summary.Comparison`
# Attribute -> its column; age is reported in years.
ATTRIBUTES = {"race": "race, balanced, %", "age": "age error, years", "gender": "gender, balanced, %"}


def write(
    page: Path,
    rows: Sequence[Row],
    raw: Sequence[Row],
    comparisons: Sequence[Comparison],
    points: Sequence[Point] = (),
    report: Path | None = None,
) -> None:
    """Writes the audit's section into a Markdown file, its figures as csv, and its plots.

    Args:
        page: the Markdown file.
        rows: of the models.
        raw: of the photographs and recordings themselves.
        comparisons: of the rows.
        points: of the trade-off between accuracy and privacy.
        report: the HTML page; it is not linked to if it is None or outside the Markdown file's folder.
    """
    folder = markdown.tables_folder(page)
    everyone = [*raw, *rows]
    write_csv(folder / "identity.csv", _figures(everyone))
    write_csv(folder / "what_helps.csv", _compared(comparisons))
    links = [markdown.link(page, folder / "identity.csv"), markdown.link(page, folder / "what_helps.csv")]
    if paired := list(pairs.rows([row.result for row in everyone], {row.model: row.among for row in everyone})):
        write_csv(folder / "pairs_and_codes.csv", paired)
        links.append(markdown.link(page, folder / "pairs_and_codes.csv"))
    inside = report and report.exists() and report.resolve().is_relative_to(page.resolve().parent)
    if report and inside:
        links.append(markdown.link(page, report, "the audit's page"))
    drawn = []
    for task, _ in Counter(point.task for point in points).most_common():
        target = folder / f"tradeoff_{task}.png"
        write_bytes(target, plots.tradeoff(points, task))
        drawn.append(f"![accuracy of {task} models against privacy]({markdown.relative(page, target)})")
    SECTION.write(page, text(rows, raw, comparisons, drawn, links))


def text(
    rows: Sequence[Row],
    raw: Sequence[Row],
    comparisons: Sequence[Comparison],
    drawn: Sequence[str] = (),
    links: Sequence[str] = (),
) -> str:
    """The section.

    Args:
        rows: of the models.
        raw: of the photographs and recordings themselves.
        comparisons: of the rows.
        drawn: plots, as Markdown.
        links: to all figures, as Markdown.
    """
    parts = ["## What the cloud learns: identity and other attributes", _yardstick(rows, raw)]
    for task, _ in Counter(r.task for r in rows).most_common():
        own = [r for r in rows if r.task == task]
        parts += [_sentence(task, own), _models(own)]
    parts.append(_attributes_of_old(rows))
    parts += pairs.text([row.result for row in (*raw, *_shown(rows))], {r.model: r.among for r in rows})
    if comparisons:
        parts.append(_what_helps(comparisons))
    parts += [*drawn, f"All figures: {', '.join(links)}." if links else ""]
    return "\n\n".join(part for part in parts if part)


def terminal(document: Mapping[str, Any]) -> str:
    """The strongest attackers' figures of one model, aligned.

    Args:
        document: `audit/<model>.json`; see `privzoo.audit.runner`.
    """
    rows = [("attack", "on", "head", "noise", "attacker", "figure", "95% interval")]
    for f in document["figures"]:
        if f["best"]:
            noise = pairs.sent(f) if f["noise"] else ""
            bound = f.get("bound")
            form = "{:.1f} years" if f["attack"] == "age" else "{:.1%}" if bound is None else "{:.2%}"
            value, low, high = (form.format(f[key]) for key in ("value", "low", "high"))
            weak = ", too weak to count" if f["weak"] else ""
            weak += f", at most {bound:.2%} by its bound" if bound is not None else ""
            weak += ": DEFECT" if f.get("defect") else ""
            service = f.get("service", "fresh draws")
            figure = f"{f['attack']} {f['metric']}" + (f", {service}" if service != "fresh draws" else "")
            attacker = summary.told(f, document)
            rows.append((figure, f["feature"], f["variant"], noise, attacker, value, f"{low} to {high}{weak}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", document["model"], *lines])


def one_answer(value: Value | None) -> str:
    """What always giving the most frequent class would get, such as "always male 77.6%"."""
    return f"{value.source} {value.value:.1%}" if value else ""


def picked(value: Value | None) -> str:
    """The best attacker, and its selection bias: it is picked on the faces that it is scored on."""
    if value is None:
        return ""
    return value.source + (f", selection bias up to {100 * value.optimism:.2f} points" if value.optimism else "")


def _yardstick(rows: Sequence[Row], raw: Sequence[Row]) -> str:
    sources = " or ".join(dict.fromkeys(f"{r.source}s" for r in (*raw, *rows))) or "photographs"
    words = [
        f"Attackers know the head and learn from other {sources} of the same people; the best one counts, "
        "on the float or the int8 head."
    ]
    for one in raw:
        if one.identity:
            weak = ", too little to prove anything" if one.identity.weak else ""
            words.append(
                f"From {themselves(one)} they identify {one.identity.value:.1%} of the {one.among.noun}{weak}."
            )
    luck = max((r.identified.optimism or 0 for r in rows if r.identified), default=0)
    if luck:
        words.append(
            "The best one is picked on the faces that it is scored on: its selection bias is up to "
            f"{100 * luck:.2f} points."
        )
    elif rows:
        words.append(
            f"The selection bias of the best was not computed yet when these audits ran ({_days(rows)}): "
            "picking_flatters_by is empty in identity.csv."
        )
    return " ".join(words)


def themselves(raw: Row) -> str:
    """What a yardstick is measured on, in words."""
    return "the photographs themselves" if raw.model == RAW[FACE] else "raw spectrograms"


def _days(rows: Sequence[Row]) -> str:
    """When audits ran, from first to last."""
    days = sorted({r.result["date"] for r in rows})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


#: Data that race and age were scored on when their attackers learned from the training part; today both are halves.
WHOLE_VALIDATION = "utkface-validation"


def _attributes_of_old(rows: Sequence[Row]) -> str:
    """What is wrong with figures of attackers who learned from the very faces that the network was trained on."""
    old = [r for r in rows if any(f["data"] == WHOLE_VALIDATION for f in find(r.result["figures"], best=True))]
    if not old:
        return ""
    return (
        f"Race and age are of {_days(old)}, when their attackers learned from faces on which gender networks were "
        "trained, and may have been too weak; tools/audit.py now gives them faces that no network has seen."
    )


def _sentence(task: str, rows: Sequence[Row]) -> str:
    """Which model reveals most and least, and what the answer alone reveals."""
    found = sorted(((leak, r) for r in rows if (leak := r.leak)), key=lambda pair: pair[0].value)
    if not found:
        return ""
    (little, least), (much, most) = found[0], found[-1]
    floors = [
        f"{what} {value.value:.1%}"
        for name, what in (("label", f"the predicted {task} alone gives"), ("chance", "guessing"))
        if (value := most.floors.get(name))
    ]
    average = f", by averaging {least.queries} features of each {least.source}" if little is least.averaged else ""
    crowd = f"the {most.among.noun}" if most.among == FACES else f"{most.among}"
    words = [
        f"**{task.capitalize()}**: from {most.model} the cloud identifies {much.value:.1%} of {crowd}, from "
        f"{least.model} {little.value:.1%} ({little.low:.1%} to {little.high:.1%}){average}."
    ]
    if floors:
        words.append(f"{' and '.join(floors)}.".capitalize())
    return " ".join(words)


def _shown(rows: Sequence[Row]) -> list[Row]:
    models = {row.model: config.model(row.model) for row in rows}
    return at_last_cuts(rows, lambda row: (models[row.model], config.network(models[row.model].network)))


def _models(rows: Sequence[Row]) -> str:
    names = [name for name in ATTRIBUTES if any(name in r.attributes for r in rows)]
    if not names and not any(r.recognised for r in rows):  # the sentence above and the csv say it all
        return ""
    queries = max((r.queries for r in rows), default=1)
    header = ["model", "identified, %"]
    header += [f"{queries} averaged, %"] if queries > 1 else []
    lines = []
    for r in _shown(rows):
        cells = [r.model, percent(r.identified, interval=True)]
        cells += [percent(r.averaged, interval=True)] if queries > 1 else []
        for name in names:
            value = r.attributes.get(name)
            cells.append(percent(value) if name != "age" or value is None else f"{value.value:.1f}")
        lines.append([*cells, percent(r.recognised)])
    return markdown.table([*header, *(ATTRIBUTES[name] for name in names), "recognised in pictures, %"], lines)


def _what_helps(comparisons: Sequence[Comparison]) -> str:
    """How many pairs of models answer each question in which way."""
    rows = []
    for question in dict.fromkeys(c.question for c in comparisons):
        counts = Counter(c.answer for c in comparisons if c.question == question)
        rows.append((question, *(str(counts[answer] or "") for answer in ANSWERS)))
    title = (
        "Pairs of models that differ in one thing, judged by their intervals. Yes: fewer people are identified, and "
        "accuracy is shown to fall by at most two points. At a cost: accuracy may have fallen by more."
    )
    paired = sum(c.identity.method == PAIRED for c in comparisons)
    if paired < len(comparisons):
        title += (
            f" Of {len(comparisons)} pairs {paired or 'none'} could be compared person by person: hits were not "
            "stored, and intervals as if of other people are too wide."
        )
    return f"{title}\n\n" + markdown.table(("question", *ANSWERS), rows)


def _figures(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """A row for each figure of each model."""
    for r in rows:
        reported = measured(r.result)
        for name, unit, value in _values(r):
            if value is None:
                continue
            yield {
                "model": r.model,
                "task": r.task,
                "figure": name,
                "unit": unit,
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "attacker": value.source,
                "picking_flatters_by": value.optimism,
                # Accuracy is the card's, and figures that an earlier run left are that run's.
                "seeds": value.origin.get("seeds", reported["seeds"]),
                "date": value.origin.get("date", reported["date"]),
                "revision": value.origin.get("git", reported["code"]),
                "heads": value.origin.get("head") or "; ".join(reported["heads"]),
                "among": str(r.among) if name.startswith(IDENTIFIED) else None,
            }


def _values(r: Row) -> Iterator[tuple[str, str, Value | None]]:
    """Name, unit and value of everything that a row holds."""
    share = "share"
    yield from (("accuracy", share, r.accuracy), ("balanced accuracy", share, r.balanced))
    yield "accuracy of one answer for all", share, r.one_answer
    yield from (("identified", share, r.identified), ("identified, float head", share, r.identity))
    yield "identified, int8 head", share, r.identity_int8
    yield "right person in the top five", share, r.top5
    yield from ((f"identified, {number} queries averaged", share, value) for number, value in r.queried.items())
    yield from ((f"identified, floor: {name}", share, value) for name, value in r.floors.items())
    yield from (("rank privacy", share, r.rank), ("rank privacy, other photographs", share, r.rank_other))
    yield "rank privacy, per sample", share, r.rank_sample
    yield "people recognised in reconstructions", share, r.recognised
    yield from ((f"reconstructions, {name}", {"PSNR": "dB"}.get(name, ""), v) for name, v in r.likeness.items())
    for name, value in r.attributes.items():
        yield (f"{name}, mean error", "years", value) if name == "age" else (f"{name}, balanced accuracy", share, value)


def _compared(comparisons: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    for c in comparisons:
        row: dict[str, Any] = {"question": c.question, "from": c.before, "to": c.after}
        for name, value in (("people_named", c.identity), ("accuracy", c.accuracy)):
            for key in ("value", "low", "high") if value else ():
                row[f"{name}_points{'' if key == 'value' else f'_{key}'}"] = 100 * getattr(value, key)
        yield row | {"answer": c.answer}


def measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model's figures come from: date, code, seeds, and the heads with the beginning of their hashes.

    Args:
        result: of `summary.read`.
    """
    figures = result["figures"]
    return {
        "date": result["date"],
        "code": result["git"],
        "seeds": sorted({seed for f in figures for seed in f.get("seeds", ())}),
        "heads": sorted({f"{f['variant']} {f['sha256'][:12]}" for f in figures if f.get("sha256")}),
    }
