"""Tables in RESULTS.md: all models' accuracy beside the papers' Tables I and II, and what settings were tried."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privzoo import config
from privzoo.audit.accuracy import FLOAT
from privzoo.card import Card, Measurement
from privzoo.config import NetworkConfig
from privzoo.files import write_text
from privzoo.mechanisms.gaussian import DELTA, EPSILONS
from privzoo.provenance import git_revision, write_json

BEGIN, END = "<!-- accuracy: written by tools/evaluate.py -->", "<!-- end of accuracy -->"
SWEEPS_BEGIN, SWEEPS_END = "<!-- sweeps: written by tools/sweep.py -->", "<!-- end of sweeps -->"
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
    """Markdown of two tables: every model's accuracy, and the noisy models' at each budget."""
    lines = [
        "| model | feature | data | float | int8 | paper | paper's data |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for card in cards:
        task = card.network.task
        measured = card.figure("accuracy", FLOAT)
        paper = None if card.network.own_data else PAPER.get((task, card.model.embedding), {}).get(card.model.cut)
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


def section(path: Path, begin: str, end: str, text: str) -> None:
    """Puts text between two marks in a Markdown file, or at its end, and leaves the rest as it is."""
    whole = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
    before, _, rest = whole.partition(begin)
    after = rest.partition(end)[2].strip()
    write_text(path, f"{before.rstrip()}\n\n{begin}\n\n{text}\n\n{end}\n" + (f"\n{after}\n" if after else ""))


def write(path: Path, cards: Sequence[Card]) -> None:
    """Writes the tables of accuracy into a Markdown file."""
    section(path, BEGIN, END, table(cards))


def add_trial(path: Path, trial: str, command: str, seeds: tuple[int, ...], found: dict[str, Any]) -> None:
    """Adds what a setting gave to the sweep of a model, in place of what the same setting gave before.

    Args:
        path: JSON file of the model's sweep.
        trial: the setting, as it was typed.
        command: that repeats it.
        seeds: of attackers and noise.
        found: accuracy on `faces` validation faces; identity, number of averaged queries -> the best attacker with
            value, low, high; epsilon, or None.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    facts = {"date": datetime.date.today().isoformat(), "git": git_revision(), "command": command, "seeds": seeds}
    write_json(path, [row for row in known if row["trial"] != trial] + [{"trial": trial, **found, **facts}])


def write_sweeps(path: Path, sweeps: Sequence[Path]) -> None:
    """Writes the table of all sweeps into a Markdown file."""
    lines = [
        "| model | setting | validation accuracy | faces | identity, one query | identity, 100 averaged | epsilon "
        "| seeds | date, code |",
        "|" + " --- |" * 9,
    ]
    for sweep in sweeps:
        for row in json.loads(sweep.read_text(encoding="utf-8")):
            one, many = (row["identity"].get(queries) for queries in ("1", "100"))
            people = [f"{f['value']:.1%} ({f['low']:.1%} to {f['high']:.1%})" if f else "" for f in (one, many)]
            epsilon = f"{row['epsilon']:.1f}" if row["epsilon"] else ""
            cells = [sweep.stem, row["trial"], f"{row['accuracy']:.2%}", f"{row['faces']:,}", *people, epsilon]
            cells += [", ".join(map(str, row["seeds"])), f"{row['date']}, {row['git']}"]
            lines.append(f"| {' | '.join(cells)} |")
    section(path, SWEEPS_BEGIN, SWEEPS_END, "\n".join(lines))
