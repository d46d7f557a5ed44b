"""The comparison of all models in RESULTS.md: the frontier, its plot, what stands beside it, and all rows as csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from comparing import frontier, plot
from comparing import rows as comparing
from comparing.frontier import LEVELS, Best, differs, fits
from comparing.rows import Row, by_task
from privzoo import markdown
from privzoo.evaluation import intervals
from privzoo.files import write_bytes
from privzoo.markdown import percent
from privzoo.measurement import Measurement
from privzoo.mechanisms.bounds import NONE
from privzoo.mechanisms.budget import rounded_up
from privzoo.provenance import write_csv

SECTION = markdown.Section("comparison", "tools/compare.py")
HEADER = (
    *("task, and at most this share of the work", "least by the strongest attack", "identified, %", "accuracy, %"),
    *("least by proof", "identified at most, %", "accuracy, %"),
)
NAMED = 2  # of models that tie, the most accurate ones; the csv has all
CHEAP = 0.12  # of the network's multiply-adds: heads up to this share are set against coded and slim ones


def publish(page: Path, docs: Path) -> str:
    """Writes the section into a Markdown file, its rows as csv, and its plot.

    Args:
        page: the Markdown file.
        docs: folder with what tools/audit.py and tools/unmixing.py keep.

    Returns:
        The section.
    """
    rows = comparing.read(docs)
    folder = markdown.tables_folder(page)
    write_csv(folder / "comparison.csv", comparing.flat(rows))
    write_bytes(folder / "comparison.png", plot.draw(rows))
    picture = f"![what leaks against the work on the device]({markdown.relative(page, folder / 'comparison.png')})"
    found = text(rows, picture, markdown.link(page, folder / "comparison.csv"))
    SECTION.write(page, found)
    return found


def text(rows: Sequence[Row], picture: str, link: str) -> str:
    """The section.

    Args:
        rows: of all models, and of their networks' raw inputs.
        picture: the plot, as Markdown.
        link: to all rows, as Markdown.
    """
    found = {task: list(frontier.frontier(own)) for task, own in by_task(rows).items()}
    table = [_cells(task, best) for task, bests in found.items() for best in bests]
    parts = [
        "## The comparison",
        "What leaks least among the models whose head takes at most a share of the network's multiply-adds: by the "
        "strongest attack measured on one answer as it is sent, and by proof, for any attacker. At 100% every model "
        f"fits. {' '.join(_left_out(rows))}",
        markdown.table(HEADER, table),
        " ".join([*_raw(rows), *against(rows)]),
        picture,
        " ".join([f"All models, with work, bytes and seconds by DataMix's equation 1: {link}.", *_old(rows)]),
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def _cells(task: str, best: Best) -> tuple[str, ...]:
    first, last = (f"{100 * level:g}" for level in (best.levels[0], best.levels[-1]))
    place = f"{task}, {first if first == last else f'{first} to {last}'}%"
    if not best.fitting:
        return (place, "no model fits", "", "", "no model fits", "", "")
    attacked = "not measured"
    if best.by_attack:
        attacked = _names(best.by_attack)
        attacked += f"; {len(best.alike)} not shown to leak more" if best.alike else ""
    proof = rounded_up(100 * best.by_proof[0].bound) if best.by_proof else ""
    return (
        place,
        attacked,
        percent(_widest(best.by_attack), interval=True),
        _accuracies(best.by_attack),
        _names(best.by_proof) or NONE,
        proof,
        _accuracies(best.by_proof),
    )


def _names(tied: Sequence[Row]) -> str:
    named = [row.name for row in tied[:NAMED]]
    more = len(tied) - NAMED
    return "; ".join([*named, *([f"{more} more that leak{'s' * (more == 1)} as much"] if more > 0 else [])])


def _accuracies(tied: Sequence[Row]) -> str:
    return "; ".join(percent(row.accuracy) or "not measured" for row in tied[:NAMED])


def _widest(tied: Sequence[Row]) -> Measurement | None:
    """Of models that tie, the figure whose interval reaches highest."""
    return max((row.attack for row in tied if row.attack), key=lambda m: m.high, default=None)


def _left_out(rows: Sequence[Row]) -> Iterator[str]:
    """Models that no attack was measured on."""
    told = []
    for task, own in by_task(rows).items():
        models = [row for row in own if not row.raw]
        if missing := sum(row.attack is None for row in models):
            told.append(f"{missing} of {len(models)} {task} models")
    if told:
        yield f"Not attacked yet, so not in that column: {', '.join(told)}."


def _raw(rows: Sequence[Row]) -> Iterator[str]:
    """What sending the input itself gives away."""
    found = {(row.embedding, row.attack.value): (row.attack, row.among) for row in rows if row.raw and row.attack}
    for (name, _), (attack, among) in found.items():
        yield f"From {name}, with all work in the cloud, {_share(attack)} of {among} are identified."


def against(rows: Sequence[Row]) -> Iterator[str]:
    """Where cheap heads that are neither coded nor slim stand, beside coded and slim heads of the same cost.

    Args:
        rows: of all models.
    """
    if not any(row.mixing and row.mixing.blocks == 1 for row in rows):
        yield "DataMix's first block has no card yet."
    for task, own in by_task(rows).items():
        kinds = dict.fromkeys(row.embedding for row in own if not _guarded(row) and fits(row, CHEAP))
        for kind in kinds:
            cheap = [row for row in own if row.embedding == kind and not _guarded(row)]
            one = min(cheap, key=lambda row: (row.device, row.attack.value if row.attack else 1.0))
            yield _told(one, [row for row in own if _guarded(row)], task)


def _guarded(row: Row) -> bool:
    return row.coded or row.slim


def _told(one: Row, guarded: Sequence[Row], task: str) -> str:
    """A cheap head, and the coded or slim head of its cost that leaks least; without one, the cheapest there is."""
    words = f"{one.name} ({one.share:.1%} of the work, {_seconds(one)}) {_leaks(one)}"
    if not guarded:
        return f"{words}; there is no coded or slim {task} head."
    level = next(level for level in LEVELS if fits(one, level))
    near = [row for row in guarded if fits(row, level)]
    if not near:
        other = min(guarded, key=lambda row: row.device)
        beside = (
            f"no coded or slim head fits {level:.0%}: the cheapest, {other.name}, takes "
            f"{other.device / one.device:,.3g} times the work, and {_leaks(other)}"
        )
    else:
        other = min(near, key=lambda row: (row.attack.value if row.attack else 1.0, row.bound))
        beside = f"of the coded and slim heads that fit {level:.0%}, {other.name} {_leaks(other)}"
    return f"{words}; {beside}.{_verdict(one, other)}"


def _verdict(one: Row, other: Row) -> str:
    if not (one.attack and other.attack):
        return ""
    return {1: " The first leaks more.", -1: " The first leaks less.", 0: " Which leaks more is not shown."}[
        differs(one, other)
    ]


def _leaks(row: Row) -> str:
    leak = f"gives away {_share(row.attack)} of {row.among}" if row.attack else "was not attacked yet"
    proof = f"at most {rounded_up(100 * row.bound)}% by proof" if row.bound < 1 else NONE
    accuracy = f"is right for {percent(row.accuracy)}%" if row.accuracy else "its accuracy was not measured"
    return f"{leak} ({proof}) and {accuracy}"


def _seconds(row: Row) -> str:
    group = f" an input in groups of {row.mixing.group}" if row.mixing else ""
    return f"{row.seconds:.3g} s to send{group}"


def _share(m: Measurement) -> str:
    return f"{m.value:.1%} ({m.low:.1%} to {m.high:.1%})"


def _old(rows: Sequence[Row]) -> Iterator[str]:
    """What is wrong with the intervals of accuracies that were measured by an earlier rule, if there are any."""
    # Identity has always been averaged over people; cards do not keep how many.
    accuracies = [row.accuracy.estimate() for row in rows if row.accuracy]
    if intervals.UNKNOWN in intervals.over(accuracies):
        yield f"Of accuracies there: {intervals.UNKNOWN[0].lower()}{intervals.UNKNOWN[1:]}"
