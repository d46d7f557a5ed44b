"""Accuracy and subgroups in RESULTS.md: what all models' cards say in a few lines, and their figures as csv."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from privzoo import architectures, markdown
from privzoo.audit.report.families import NAMES, at_last_cuts
from privzoo.card import Card
from privzoo.config import SPEECH
from privzoo.evaluation import bars, intervals, subgroups
from privzoo.evaluation.attributes import balanced_of
from privzoo.evaluation.classes import BALANCED, recall_of
from privzoo.evaluation.detected import DETECTED
from privzoo.evaluation.variants import FLOAT, INT8, budget_name
from privzoo.markdown import percent
from privzoo.measurement import PART, Measurement
from privzoo.mechanisms.gaussian import DELTA, EPSILONS
from privzoo.outputs import ATTRIBUTES
from privzoo.provenance import write_csv

ACCURACY = markdown.Section("accuracy", "tools/evaluate.py")
SUBGROUPS = markdown.Section("subgroups", "tools/evaluate.py")
ATTACKS = ("attack", "rank privacy")  # words in the names of metrics that tools/audit.py writes into the cards
# Osia et al. 2017: Table I, gender on LFW, and Table II, emotion on SFEW-2, in per cent.
PAPER_DATA = {"gender": "LFW", "emotion": "SFEW-2"}
PAPER: dict[tuple[str, str], dict[str, float]] = {
    ("gender", "simple"): {"conv5_1": 94, "conv5_2": 94, "conv5_3": 94},
    ("gender", "reduced_simple"): {"conv5_1": 89.7, "conv5_2": 87, "conv5_3": 94},
    ("gender", "siamese"): {"conv5_1": 92.7, "conv5_2": 92.7, "conv5_3": 93.5},
    ("gender", "reduced_siamese"): {"conv5_1": 91.3, "conv5_2": 92.9, "conv5_3": 93.3},
    ("emotion", "simple"): {"conv5": 40},
    ("emotion", "siamese"): {"conv5": 38},
    ("emotion", "reduced_simple"): {"conv5": 31},
    ("emotion", "reduced_siamese"): {"conv5": 32},
}


def write(path: Path, cards: Sequence[Card]) -> None:
    """Writes the sections on accuracy and on subgroups into a Markdown file, and all their figures as csv."""
    write_accuracy(path, cards)
    write_subgroups(path, cards)


def write_accuracy(path: Path, cards: Sequence[Card]) -> None:
    """Writes the section on accuracy alone, and its figures as csv."""
    target = markdown.tables_folder(path) / "accuracy.csv"
    write_csv(target, _figures(cards))
    ACCURACY.write(path, accuracy(cards, markdown.link(path, target)))


def write_subgroups(path: Path, cards: Sequence[Card]) -> None:
    """Writes the section on subgroups alone, and its figures as csv; nothing if no card has any."""
    if any(card.subgroups for card in cards):
        target = markdown.tables_folder(path) / "subgroups.csv"
        write_csv(target, _subgroup_figures(cards))
        SUBGROUPS.write(path, by_subgroup(cards, markdown.link(path, target)))


def accuracy(cards: Sequence[Card], link: str) -> str:
    """The section on accuracy.

    Args:
        cards: of all models that belong on the page.
        link: to the figures, as Markdown.
    """
    measured = [card for card in cards if card.figure("accuracy", FLOAT)]
    reported = [_of_task(task, [card for card in measured if card.network.task == task]) for task in _tasks(measured)]
    parts = [
        "## Accuracy",
        *reported,
        _models(measured),
        _budgets(measured),
        f"All figures, also of models that are cut earlier, with recall of each class: {link}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _tasks(cards: Iterable[Card]) -> list[str]:
    return list(dict.fromkeys(card.network.task for card in cards))


def _at_last_cut(card: Card) -> bool:
    """Whether a model is cut at the last cut, where the device does most of the work: those are recommended."""
    return card.model.cut == architectures.cuts(card.network.architecture)[-1]


def _found(cards: Iterable[Card], metric: str, variant: str = FLOAT) -> list[tuple[Card, Measurement]]:
    """Cards with their figure, the lowest first."""
    found = [(card, figure) for card in cards if (figure := card.figure(metric, variant))]
    return sorted(found, key=lambda pair: pair[1].value)


def _range(values: Sequence[float]) -> str:
    low, high = (f"{100 * end:.1f}" for end in (min(values), max(values)))
    return f"{low}%" if low == high else f"{low}% to {high}%"


def _of_task(task: str, cards: Sequence[Card]) -> str:
    """How accurate the models of one task are, in a few sentences."""
    found = _found(cards, "accuracy")
    (worst, least), (best, most) = found[0], found[-1]
    nouns = "recordings" if best.network.input == SPEECH else "faces"
    people = f" of {most.clusters:,} people" if 0 < most.clusters < most.count else ""
    wide = max(max(m.high - m.value, m.value - m.low) for _, m in found)
    ends = f"from {least.value:.1%} ({worst.model.name}) to {most.value:.1%} ({best.model.name})"
    words = [
        f"**{task.capitalize()}**, {NAMES.get(most.data, most.data)}, {most.count:,} {nouns}{people}: accuracy ranges "
        f"{ends}; the intervals extend at most {100 * wide:.1f} points either way."
    ]
    if one := next((one for card in cards if (one := card.one_answer())), None):
        words.append(f"Always answering {one.variant.removeprefix('always ')} gets {one.value:.1%}.")
    recalls = {name: [m.value for _, m in _found(cards, recall_of(name))] for name in cards[0].network.classes}
    if cards[0].network.output == ATTRIBUTES:
        words += _of_attributes(cards)
    elif all(recalls.values()):
        low, high = (end(recalls, key=lambda name: sum(recalls[name])) for end in (min, max))
        words.append(
            f"Of the classes, {low} is recognised least often ({_range(recalls[low])} of its {nouns}) and {high} most "
            f"often ({_range(recalls[high])})."
        )
    both = [(a, b) for card, a in found if (b := card.figure("accuracy", INT8)) and a.data == b.data]
    if both:
        apart = max(abs(a.value - b.value) for a, b in both)
        words.append(f"An int8 head changes accuracy by at most {100 * apart:.1f} points.")
    return " ".join([*words, *_beside_paper(task, cards)])


def _of_attributes(cards: Sequence[Card]) -> list[str]:
    """Of which attributes the models tell least and most, by balanced accuracy: most faces lack the rare ones."""
    found = {name: [m.value for _, m in _found(cards, balanced_of(name))] for name in cards[0].network.classes}
    measured = {name: values for name, values in found.items() if values}
    if not measured:
        return []
    low, high = (end(measured, key=lambda name: sum(measured[name])) for end in (min, max))
    return [
        f"Both accuracies are means over {len(found)} attributes. By balanced accuracy {low} is told worst "
        f"({_range(measured[low])}) and {high} best ({_range(measured[high])})."
    ]


def _paper(card: Card) -> float | None:
    """The paper's accuracy of the same embedding at the same cut, 0..1."""
    found = PAPER.get((card.network.task, card.model.embedding), {}).get(card.model.cut)
    return None if found is None or card.network.own_data else found / 100


def _beside_paper(task: str, cards: Sequence[Card]) -> list[str]:
    both = [(m, paper) for card, m in _found(cards, "accuracy") if (paper := _paper(card))]
    if not both:
        return []
    if both[0][0].data.lower() != PAPER_DATA[task].lower():
        return [f"Osia et al. (2017) measured on {PAPER_DATA[task]}: their figures are not comparable."]
    above = [bars.judge(m.estimate(), paper, at_least=True) for m, paper in both].count(bars.MET)
    which = f"All {above}" if above == len(both) else f"{above} of the {len(both)}"
    return [f"{which} models also in Osia et al. (2017) are shown to be at least as accurate as theirs."]


def _models(cards: Sequence[Card]) -> str:
    rows = []
    for card in at_last_cuts(cards, lambda card: (card.model, card.network)):
        variants = (("accuracy", FLOAT), (BALANCED, FLOAT), ("accuracy", INT8), ("accuracy", FLOAT + DETECTED))
        found = [card.figure(*variant) for variant in variants]
        # A figure on some of the faces would look like a loss next to one on all of them.
        alike = [m for m in found if m and found[0] and (PART in m.data) == (PART in found[0].data)]
        cells = [percent(m if m in alike else None) for m in found]
        rows.append((card.model.name, f"{card.cost.feature_bytes:,}", *cells))
    header = ("model", "bytes sent", "accuracy, %", "balanced, %", "int8 head, %", "face detected, %")
    return markdown.table(*_filled(header, rows))


def _filled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without its empty columns."""
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _budgets(cards: Sequence[Card]) -> str:
    noisy = [c for c in cards if c.model.noise and _at_last_cut(c) and c.figure("accuracy", budget_name(EPSILONS[0]))]
    if not noisy:
        return ""
    words = [f"The noise can be made to keep a budget for each answer (epsilon, at delta {DELTA:g}), at a price."]
    for task in _tasks(noisy):
        if useless := _useless([card for card in noisy if card.network.task == task and card.one_answer()]):
            words.append(
                f"Up to epsilon {max(useless)} no noisy {task} model is shown to do better than one answer for all."
            )
    rows = []
    for card in noisy:
        figures = [percent(card.figure("accuracy", budget_name(epsilon))) for epsilon in EPSILONS]
        rows.append((card.model.name, percent(card.one_answer()), *figures))
    header = ("accuracy, %", "one answer for all", *(f"epsilon {epsilon}" for epsilon in EPSILONS))
    return " ".join(words) + "\n\n" + markdown.table(*_filled(header, rows))


def _useless(cards: Sequence[Card]) -> list[int]:
    """The budgets, from the smallest up, at which no model is shown to do better than one answer for all."""
    if not cards:
        return []
    # Up to the first at which one is: the sentence is about all budgets up to one of them.
    return list(itertools.takewhile(lambda e: not any(_shown_better(c, budget_name(e)) for c in cards), EPSILONS))


def _shown_better(card: Card, variant: str) -> bool:
    """Whether the interval of a variant's accuracy less that of one answer for all lies above 0.

    Cards keep no hits, so the two count as independent, which makes the interval too wide rather than too narrow.
    """
    found, one = card.figure("accuracy", variant), card.one_answer()
    if found is None or one is None:
        return False
    return intervals.apart(found.estimate(), one.estimate()).low > 0


def by_subgroup(cards: Sequence[Card], link: str) -> str:
    """The section on subgroups.

    Args:
        cards: of all models that belong on the page.
        link: to the figures, as Markdown.
    """
    rows, words = [], []
    for card in cards:
        if card.subgroups is None or not _at_last_cut(card):
            continue
        found = [subgroups.Subgroup(**row) for row in card.subgroups["subgroups"]]
        large = [(f, s.name) for s in subgroups.by(found, "race", "gender") if (f := s.figure)]
        pairs = sorted(large, key=lambda pair: pair[0].value)
        children = next((s for s in subgroups.by(found, "age") if s.age == subgroups.AGE_NAMES[0]), None)
        ends = [f"{name} {percent(f, interval=True)}" for f, name in (pairs[0], pairs[-1])] if pairs else ["", ""]
        young = percent(children.figure if children else None, interval=True)
        rows.append((card.model.name, *ends, young))
        gap = subgroups.widest_gap(found)
        if gap and (low := gap[0].figure) and (high := gap[1].figure):
            words.append((high.value - low.value, card.model.name, *gap))
    parts = ["## Subgroups"]
    if words:
        _, name, worst, best = max(words, key=lambda word: word[0])
        parts.append(
            "Gender on UTKFace validation, by perceived gender, race and age; subgroups of fewer than "
            f"{subgroups.SMALL} faces are left out. The widest gap is that of {name}: from {worst.shown} for "
            f"{worst.name} to {best.shown} for {best.name}. {subgroups.NO_LABELS['emotion']}"
        )
    header = ("model", "lowest of race and gender, %", "highest, %", f"ages {subgroups.AGE_NAMES[0]}, %")
    return "\n\n".join([*parts, markdown.table(header, rows), f"All subgroups of all models: {link}."])


def _figures(cards: Sequence[Card]) -> Iterator[dict[str, Any]]:
    """A row for each figure of accuracy."""
    for card in cards:
        for m in card.measurements:
            if any(word in m.metric for word in ATTACKS):
                continue
            paper = _paper(card) if (m.metric, m.variant) == ("accuracy", FLOAT) else None
            yield {
                "model": card.model.name,
                "task": card.network.task,
                "feature": card.feature(),
                "feature_bytes": card.cost.feature_bytes,
                "metric": m.metric,
                "variant": m.variant,
                "data": m.data,
                "unit": m.unit,
                "value": m.value,
                "low": m.low,
                "high": m.high,
                "interval": m.method,
                "faces": m.count,
                "independent": m.clusters or None,
                "paper_share": paper,
                "paper_data": PAPER_DATA[card.network.task] if paper else None,
                "seeds": m.seeds,
                "date": m.date,
                "revision": m.git,
            }


def _subgroup_figures(cards: Sequence[Card]) -> Iterator[dict[str, Any]]:
    for card in cards:
        reported = card.subgroups or {"subgroups": ()}
        for row in reported["subgroups"]:
            yield {
                "model": card.model.name,
                "variant": reported["variant"],
                "data": reported["data"],
                "race": row["race"] or "all",
                "gender": row["gender"] or "all",
                "age_years": row["age"] or "all",
                "accuracy_share": row["value"],
                "low": row["low"],
                "high": row["high"],
                "faces": row["count"],
                "seeds": reported.get("seeds"),
                "date": reported["date"],
                "revision": reported.get("git"),
            }
