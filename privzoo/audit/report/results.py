"""Tables in RESULTS.md: all models' accuracy beside the papers' Tables I and II, and what settings were tried."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import config
from privzoo.card import Card, Measurement
from privzoo.config import NetworkConfig
from privzoo.evaluation import bars, subgroups
from privzoo.evaluation.accuracy import FLOAT, budget_name
from privzoo.evaluation.classes import BALANCED, F1, recall_of
from privzoo.evaluation.detected import DETECTED
from privzoo.evaluation.intervals import Estimate
from privzoo.files import write_text
from privzoo.mechanisms.bounds import bounds
from privzoo.mechanisms.budget import rounded_up
from privzoo.mechanisms.gaussian import DELTA, EPSILONS
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.provenance import git_revision, write_json

BEGIN, END = "<!-- accuracy: written by tools/evaluate.py -->", "<!-- end of accuracy -->"
INT8 = "int8 TFLite head + tail"
CHOICES_BEGIN, CHOICES_END = "<!-- models: written by tools/tables.py -->", "<!-- end of models -->"
#: Models that README recommends, and what for; docs/models.md says why.
CHOICES = (
    ("vgg16_gender_coded_conv5_3", "gender, under a small budget that is proved"),
    ("vgg16_gender_advanced_conv5_3", "gender, in four numbers with noise; int8 and slim heads are released"),
    ("vgg16_gender_noisy_reduced_simple_conv5_3", "the same, without Siamese training"),
    ("vgg_s_emotion_advanced_conv5", "emotion, in ten numbers with noise"),
    ("vgg16_gender_simple_conv5_3", "the baseline to compare with, which hides little"),
)
SWEEPS_BEGIN, SWEEPS_END = "<!-- sweeps: written by tools/sweep.py -->", "<!-- end of sweeps -->"
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


def write_choices(path: Path, cards: Mapping[str, Card]) -> None:
    """Writes the table of models to choose from into a Markdown file.

    Args:
        path: of the file.
        cards: name -> card, with those of `CHOICES` among them.
    """
    lines = [
        "| model | for | sends | accuracy | balanced | people named | epsilon |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    notes = {}
    for name, purpose in CHOICES:
        card = cards[name]
        shown = [f"{m.value:.1%}" if m else "not measured" for m in (*card.told(), card.identity_attack())]
        if code := card.model.code:  # no attack can exceed it, so that none has to be tried
            shown[-1] = f"at most {rounded_up(100 * bounds(RandomizedResponse(code.symbols, code.epsilon)).top1())}%"
        epsilon = rounded_up(card.epsilon()) if card.epsilon() else "no noise"
        sends = f"{card.feature()}, {card.cost.feature_bytes:,} bytes".replace(" 1 bytes", " 1 byte")
        lines.append(f"| `{name}` | {purpose} | {sends} | " + " | ".join((*shown, epsilon)) + " |")
        if one := card.one_answer():
            notes[card.network.task] = f"{one.value:.1%} on {one.data} ({one.variant})"
    for_all = "; ".join(f"{task} {said}" for task, said in notes.items())
    lines += [
        "",
        f"What one answer for all faces would get: {for_all}. *Balanced* is the mean over the classes. *People named* "
        "are the faces whose person the strongest attack measured found among 100 people, or of a code what none can "
        "exceed from one answer; chance is 1 %. Epsilon is of one answer, at delta 0 for codes and 1e-5 else; a large "
        "one protects nobody by itself.",
    ]
    section(path, CHOICES_BEGIN, CHOICES_END, "\n".join(lines))


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
            epsilon = rounded_up(row["epsilon"]) if row["epsilon"] else ""
            cells = [sweep.stem, row["trial"], f"{row['accuracy']:.2%}", f"{row['faces']:,}", *people, epsilon]
            cells += [", ".join(map(str, row["seeds"])), f"{row['date']}, {row['git']}"]
            lines.append(f"| {' | '.join(cells)} |")
    section(path, SWEEPS_BEGIN, SWEEPS_END, "\n".join(lines))


def write_codes(path: Path, measured: Sequence[Path]) -> None:
    """Writes the table of what coded models reach at each budget into a Markdown file.

    Args:
        path: the Markdown file.
        measured: JSON files of tools/codes.py, one for each model.
    """
    rows, networks, times, machines = [], [], [], []
    for file in measured:
        found = json.loads(file.read_text(encoding="utf-8"))
        networks.append(f"{found['model']}: {found['network_accuracy']:.2%} of {found['data']}")
        if timed := found.get("device"):
            times += _on_device(found["model"], timed)
            machines.append(f"{found['model']}: {timed['machine']} `{timed['command']}`.")
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
    device = (
        "On the device, beyond the head: milliseconds from its feature to what may be sent, one face a call in Python "
        "(median of the rounds, with its interval):"
    )
    heads = ("model", "answers", "a face, ms", "goal", "verdict", "calls", "date, code")
    below = f"\n\n{device}\n\n{_lines(heads, times)}\n\n{' '.join(machines)}" if times else ""
    section(path, CODES_BEGIN, CODES_END, f"{title}\n\n{_lines(header, rows)}{below}")


def _on_device(model: str, timed: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of what a model's code costs on the device."""
    rows = []
    for way, one in timed["ms"].items():
        found = Estimate(one["value"], one["low"], one["high"])
        rows.append(
            (
                model,
                "drawn anew" if way == "fresh" else way,
                f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})",
                f"under {timed['limit_ms']:g}",
                bars.judge(found, timed["limit_ms"]),
                f"{timed['rounds']} rounds of {timed['calls']:,}",
                f"{timed['date']}, {timed['git']}",
            )
        )
    return rows


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
