"""The table of models to choose from, for README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from privzoo import card_text, markdown
from privzoo.card import Card
from privzoo.mechanisms.budget import rounded_up

SECTION = markdown.Section("models", "tools/tables.py")
#: Models that README recommends, and what for; docs/models.md says why.
CHOICES = (
    ("vgg16_gender_coded_conv5_3", "gender, with a small, proved budget; full or slim head"),
    ("vgg16_gender_advanced_conv5_3", "gender, in four numbers with noise; full or slim head"),
    ("vgg16_gender_noisy_reduced_simple_conv5_3", "the same, without Siamese training"),
    ("vgg_s_emotion_advanced_conv5", "emotion, in ten numbers with noise"),
    ("vgg16_gender_simple_conv5_3", "the baseline to compare with, which hides little"),
)


def write(path: Path, cards: Mapping[str, Card]) -> None:
    """Writes the table of recommended models into a Markdown file.

    Args:
        path: of the file.
        cards: name -> card, with those of `CHOICES` among them.
    """
    rows, notes = [], {}
    crowds = dict.fromkeys(cards[name].among() for name, _ in CHOICES)
    people, chance = " or ".join(map(str, crowds)), " or ".join(crowd.chance for crowd in crowds)
    for name, purpose in CHOICES:
        card = cards[name]
        shown = [f"{m.value:.1%}" if m else "not measured" for m in card.told()] + [card.identified()]
        spent = card.epsilon()
        epsilon = rounded_up(spent) if spent else "no noise"
        sends = f"{card.feature()}, {card.cost.feature_bytes:,} bytes".replace(" 1 bytes", " 1 byte")
        rows.append((f"`{name}`", purpose, sends, *shown, epsilon))
        if one := card.one_answer():
            notes[card.network.task] = f"{one.value:.1%} on {card_text.data_name(one.data)} ({one.variant})"
    for_all = "; ".join(f"{task} {said}" for task, said in notes.items())
    header = ("model", "for", "sends", "accuracy", "balanced", "identified", "epsilon")
    below = (
        f"Always giving the most frequent answer would get: {for_all}. *Balanced* is the mean over the classes; "
        f"it and accuracy are those {card_text.TOLD}. "
        f"*Identified* is the identification rate of the strongest attack measured, among {people}, or for a code the "
        f"bound that no attack on one answer can exceed; chance is {chance}. Epsilon is for one answer, at delta 0 for "
        "codes and 1e-5 otherwise; a large epsilon protects nobody by itself."
    )
    SECTION.write(path, f"{markdown.table(header, rows)}\n\n{below}")
