"""Tables in RESULTS.md: all models' accuracy beside the papers' Tables I and II, and what settings were tried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from privzoo import config
from privzoo.card import Card, Measurement
from privzoo.config import NetworkConfig
from privzoo.evaluation import subgroups
from privzoo.evaluation.accuracy import FLOAT, budget_name
from privzoo.evaluation.classes import BALANCED, F1, recall_of
from privzoo.evaluation.detected import DETECTED
from privzoo.files import write_text
from privzoo.mechanisms.gaussian import DELTA, EPSILONS

BEGIN, END = "<!-- accuracy: written by tools/evaluate.py -->", "<!-- end of accuracy -->"
INT8 = "int8 TFLite head + tail"
CODES_BEGIN, CODES_END = "<!-- codes: written by tools/codes.py -->", "<!-- end of codes -->"
# Osia et al. 2017: Table I, gender on LFW, and Table II, emotion on SFEW-2, in per cent.
PAPER_DATA = {"gender": "LFW", "emotion": "SFEW-2"}
PAPER = {
    ("gender", "simple"): {"conv5_1": 94, "conv5_2": 94, "conv5_3": 94},
    ("gender", "reduced_simple"): {"conv5_1": 89.7, "conv5_2": 87, "conv5_3": 94},
    ("gender", "siamese"): {"conv5_1": 92.7, "conv5_2": 92.7, "conv5_3": 93.5},
    ("gender", "reduced_siamese"): {"conv5_1": 91.3, "conv5_2": 92.9, "conv5_3": 93.3},
    ("emotion", "simple"): {"conv5": 40},
    ("emotion", "siamese"): {"conv5": 38},
    ("emotion", "reduced_simple"): {"conv5": 31},
    ("emotion", "reduced_siamese"): {"conv5": 32},
}


def family(network: NetworkConfig) -> str:
    """Whose figures a network's stand beside: "" for the zoo's, else the network that was trained on one's own data."""
    while network.parent:
        network = config.network(network.parent)
    return network.name if network.own_data else ""


def family_of(model: str) -> str:
    """`family` of a model's network; the zoo's for a name that is none (any more)."""
    known = config.models()
    return family(config.network(config.model(model).network)) if model in known else ""


def file(of: str, asked: str | None) -> Path | None:
    """Markdown file of a family's figures: figures of one's own networks never stand among the zoo's.

    Args:
        of: the family.
        asked: a file that the user names, "" for none; None: RESULTS.md for the zoo's, else RESULTS_<network>.md.
    """
    if asked is not None:
        return Path(asked) if asked else None
    return Path(f"RESULTS_{of}.md" if of else "RESULTS.md")


def _cell(found: Measurement | None) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})" if found else ""


def table(cards: Sequence[Card]) -> str:
    """Markdown of the tables: accuracy of every model, of each class, at each budget, and of subgroups."""
    parts = (_accuracy(cards), _by_class(cards), _budgets(cards), _subgroups(cards))
    return "\n\n".join(part for part in parts if part)


def _lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def _accuracy(cards: Sequence[Card]) -> str:
    rows = []
    for card in cards:
        task = card.network.task
        measured, one = card.figure("accuracy", FLOAT), card.one_answer()
        paper = None if card.network.own_data else PAPER.get((task, card.model.embedding), {}).get(card.model.cut)
        found = card.figure("accuracy", FLOAT + DETECTED)
        rows.append(
            (
                card.model.name,
                f"{card.feature()}, {card.cost.feature_bytes:,} byte{'s' if card.cost.feature_bytes > 1 else ''}",
                measured.data if measured else "not measured",
                _cell(measured),
                _cell(card.figure(BALANCED, FLOAT)),
                f"{one.value:.1%}, {one.variant}" if one else "",
                _cell(card.figure("accuracy", INT8)),
                _cell(found) if found else "not measured",
                f"{paper} %" if paper else "",
                PAPER_DATA[task] if paper else "",
            )
        )
    header = ("model", "feature", "data", "float", "balanced", "one answer for all", "int8", "face detected")
    return _lines((*header, "paper", "paper's data"), rows)


def _by_class(cards: Sequence[Card]) -> str:
    """A table for each task: the recall of each class."""
    parts = []
    for task in sorted({card.network.task for card in cards}):
        own = [card for card in cards if card.network.task == task and card.figure(BALANCED, FLOAT)]
        names = list(dict.fromkeys(name for card in own for name in card.network.classes))
        metrics = [*map(recall_of, names), F1]
        rows = [(card.model.name, *(_cell(card.figure(metric, FLOAT)) for metric in metrics)) for card in own]
        if rows:
            title = f"Share of each class that is told right, {task}, float head:"
            parts += [title, _lines(("model", *names, F1), rows)]
    return "\n\n".join(parts)


def _budgets(cards: Sequence[Card]) -> str:
    noisy = [card for card in cards if card.model.noise]
    if not noisy:
        return ""
    rows = []
    for card in noisy:
        one = card.one_answer()
        figures = []
        for epsilon in EPSILONS:
            variant = budget_name(epsilon)
            balanced = card.figure(BALANCED, variant)
            behind = f"; balanced {balanced.value:.1%}" if balanced else ""
            figures.append(_cell(card.figure("accuracy", variant)) + behind)
        rows.append((card.model.name, f"{one.value:.1%}" if one else "", *figures))
    title = (
        f"Accuracy at a budget per inference (epsilon, delta = {DELTA:g}), float head, beside what one answer for all "
        "faces gets without looking:"
    )
    return f"{title}\n\n" + _lines(("model", "one answer", *(f"epsilon {e}" for e in EPSILONS)), rows)


def _subgroups(cards: Sequence[Card]) -> str:
    """A row for each model with subgroups: the ends of the widest gap, and accuracy by race and gender."""
    rows, names = [], []
    for card in cards:
        if card.subgroups is None:
            continue
        found = [subgroups.Subgroup(**row) for row in card.subgroups["subgroups"]]
        pairs = {s.name: s for s in subgroups.by(found, "race", "gender")}
        names = names or list(pairs)
        gap = subgroups.widest_gap(found)
        ends = [f"{s.name}: {s.shown}" for s in gap] if gap else ["", ""]
        rows.append((card.model.name, *ends, *(pairs[name].shown if name in pairs else "" for name in names)))
    if not rows:
        return ""
    title = (
        "Accuracy by perceived gender, race and age on UTKFace validation, float head, with intervals and numbers of "
        f"faces; subgroups of fewer than {subgroups.SMALL} faces are left out. `privzoo show NAME` has all:"
    )
    return f"{title}\n\n" + _lines(("model", "worst subgroup", "best subgroup", *names), rows)


def section(path: Path, begin: str, end: str, text: str) -> None:
    """Puts text between two marks in a Markdown file, or at its end, and leaves the rest as it is."""
    whole = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
    before, _, rest = whole.partition(begin)
    after = rest.partition(end)[2].strip()
    write_text(path, f"{before.rstrip()}\n\n{begin}\n\n{text}\n\n{end}\n" + (f"\n{after}\n" if after else ""))


def write(path: Path, cards: Sequence[Card]) -> None:
    """Writes the tables of accuracy into a Markdown file."""
    section(path, BEGIN, END, table(cards))


def write_codes(path: Path, measured: Sequence[Path]) -> None:
    """Writes the table of what coded models reach at each budget into a Markdown file.

    Args:
        path: the Markdown file.
        measured: JSON files of tools/codes.py, one for each model.
    """
    rows, networks = [], []
    for file in measured:
        found = json.loads(file.read_text(encoding="utf-8"))
        networks.append(f"{found['model']}: {found['network_accuracy']:.2%} of {found['data']}")
        for one in found["figures"]:
            rows.append(
                (
                    found["model"],
                    str(one["symbols"]),
                    f"{one['epsilon']:g}",
                    f"{one['accuracy']:.2%} ({one['lowest']:.2%} to {one['highest']:.2%})",
                    f"{one['majority']:.2%}",
                    f"{one['ceiling']:.2%}",
                    f"{one['share_of_ceiling']:.2%}",
                    f"{one['calibration_error']:.2%}",
                    ", ".join(f"{value:.2%}" if value < 1 else "no bound" for value in one["top1"].values()),
                    f"{one['faces']:,}",
                    _range(one["seeds"]),
                    f"{found['date']}, {found['git']}",
                )
            )
    title = (
        "Coded models at a budget per answer (epsilon, delta = 0), int8 head, mean over seeded draws (lowest to "
        "highest). The ceiling is the best that any mechanism of that budget can reach on the released network's "
        "labels; a code may pass it a little, as it sees the score behind the label. Top-1 "
        "is the highest share of faces of 100 equally likely people that any attacker can name from 1, 10 and 100 "
        f"fresh answers, whoever it is. The networks without any privacy: {'; '.join(networks)}."
    )
    header = ("model", "symbols", "epsilon", "accuracy", "one answer for all", "ceiling", "share of it")
    header = (*header, "calibration error", "top-1 of 100 people, at most", "faces", "seeds", "date, code")
    section(path, CODES_BEGIN, CODES_END, f"{title}\n\n{_lines(header, rows)}")


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
