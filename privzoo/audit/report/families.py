"""Which page a model's figures belong on, and what data are called there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from privzoo import architectures, card_text, config
from privzoo.config import ModelConfig, NetworkConfig

T = TypeVar("T")

# Of data, as cards name them.
NAMES = {name: f"{data}'s test part" if name != "lfw" else data for name, data in card_text.DATA.items()}


def family(network: NetworkConfig) -> str:
    """The family of a network's figures: "" for the zoo's, otherwise a network trained on the user's own data."""
    oldest = ""
    while True:
        oldest = network.name if network.own_data else oldest  # which may itself have started from one of the zoo's
        if not network.parent:
            return oldest
        network = config.network(network.parent)


def family_of(model: str) -> str:
    """`family` of a model's network; the zoo's if no model has this name (any more)."""
    known = config.models()
    return family(config.network(config.model(model).network)) if model in known else ""


def at_last_cuts(entries: Iterable[T], of: Callable[[T], tuple[ModelConfig, NetworkConfig]]) -> list[T]:
    """Entries without those of an earlier cut where the same task and embedding have a model at the last cut.

    Pages show these; the csv files have all.

    Args:
        entries: such as rows or cards.
        of: gives the model of one, and its network.
    """
    last: set[tuple[str, str]] = set()  # kinds of models that are there at the last cut
    placed = []
    for entry in entries:
        model, network = of(entry)
        kind, cuts = (network.task, model.embedding), architectures.cuts(network.architecture)
        if model.cut == cuts[-1]:
            last.add(kind)
        placed.append((entry, kind, model.cut in cuts[:-1]))
    return [entry for entry, kind, early in placed if not (early and kind in last)]


def file(of: str, asked: str | None) -> Path | None:
    """Markdown file of a family's figures: those of a user's own networks are kept apart from the zoo's.

    Args:
        of: the family.
        asked: a file that the user names, "" for none; None: RESULTS.md for the zoo's, else RESULTS_<network>.md.
    """
    if asked is not None:
        return Path(asked) if asked else None
    return Path(f"RESULTS_{of}.md" if of else "RESULTS.md")
