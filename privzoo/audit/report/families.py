"""Which page a model's figures belong on, and what data are called there."""

from __future__ import annotations

from pathlib import Path

from privzoo import card_text, config
from privzoo.config import NetworkConfig

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


def file(of: str, asked: str | None) -> Path | None:
    """Markdown file of a family's figures: those of a user's own networks are kept apart from the zoo's.

    Args:
        of: the family.
        asked: a file that the user names, "" for none; None: RESULTS.md for the zoo's, else RESULTS_<network>.md.
    """
    if asked is not None:
        return Path(asked) if asked else None
    return Path(f"RESULTS_{of}.md" if of else "RESULTS.md")
