"""The table of all models' accuracy in RESULTS.md, from the cards, beside the papers' Tables I and II."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from privzoo.audit.accuracy import FLOAT
from privzoo.card import Card, Measurement
from privzoo.edge.noise import DELTA, EPSILONS
from privzoo.provenance import write_text

BEGIN, END = "<!-- accuracy: written by tools/evaluate.py -->", "<!-- end of accuracy -->"
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


def _cell(found: Measurement | None) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})" if found else ""


def table(cards: Sequence[Card]) -> str:
    """Markdown of two tables: every model's accuracy, and the noisy models' at each budget."""
    lines = [
        "| model | feature | data | float | int8 | paper | paper's data |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for card in cards:
        task = card.network.task
        measured = card.figure("accuracy", FLOAT)
        paper = PAPER.get((task, card.model.embedding), {}).get(card.model.cut)
        shape = "x".join(map(str, card.cost.feature_shape))
        cells = (
            card.model.name,
            f"{shape}, {card.cost.feature_bytes:,} bytes",
            measured.data if measured else "not measured",
            _cell(measured),
            _cell(card.figure("accuracy", "int8 TFLite head + tail")),
            f"{paper} %" if paper else "",
            PAPER_DATA[task] if paper else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    noisy = [card for card in cards if card.model.noise]
    if noisy:
        lines += ["", f"Accuracy at a budget per inference (epsilon, delta = {DELTA:g}), float head:", ""]
        lines += [f"| model | {' | '.join(f'epsilon {e}' for e in EPSILONS)} |", "| --- |" + " --- |" * len(EPSILONS)]
    for card in noisy:
        figures = (card.figure("accuracy", f"{FLOAT}, epsilon {e}, delta {DELTA:g}") for e in EPSILONS)
        lines.append(f"| {card.model.name} | {' | '.join(map(_cell, figures))} |")
    return "\n".join(lines)


def write(path: Path, cards: Sequence[Card]) -> None:
    """Puts the tables between their marks in a Markdown file, or at its end, and leaves the rest as it is."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(path, f"{before.rstrip()}\n\n{BEGIN}\n\n{table(cards)}\n\n{END}\n{after}")
