"""Figures of a card that are kept in files of their own: accuracy at a code's budgets, and by subgroup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privzoo import config
from privzoo.config import FULL
from privzoo.errors import ConfigError
from privzoo.provenance import write_json

# What text on cards reads of a code at each of its budgets; earlier versions of the command wrote less.
AT_BUDGET = (
    "figures",
    {
        *("epsilon", "accuracy", "low", "high", "ceiling", "share_of_ceiling", "share_low", "share_high"),
        *("calibration_error", "faces", "seeds"),
    },
)


def path(folder: str, name: str, head: str = FULL) -> Path:
    """File of a model's head in a folder of figures."""
    return config.config_folder() / folder / (f"{name}.json" if head == FULL else f"{name}_{head}.json")


def write_subgroups(name: str, found: Mapping[str, Any], head: str = FULL) -> None:
    """Writes the accuracy of a model's head by subgroup, replacing any earlier one.

    Args:
        name: of the model.
        found: variant, data, count, seeds, date, git, command, sha256, and `subgroups`, a list of
            `privzoo.evaluation.subgroups.Subgroup` as plain data.
        head: of the model.
    """
    write_json(path("subgroups", name, head), dict(found))


def read_subgroups(name: str, head: str = FULL) -> dict[str, Any] | None:
    """What `write_subgroups` wrote; None if nothing has been measured yet.

    Raises:
        ConfigError: the file is damaged.
    """
    needed = {"variant", "data", "date", "subgroups"}
    return _kept("subgroups", name, head, needed, ("subgroups", set()), "tools/evaluate.py")


def read_budgets(name: str, head: str = FULL) -> dict[str, Any] | None:
    """A code's accuracy and share of the ceiling at each budget; None if nothing has been measured yet.

    Raises:
        ConfigError: the file is damaged.
    """
    needed = ("data", "date", "git", "command", "network_accuracy", "figures")
    found = _kept("codes", name, head, {*needed}, AT_BUDGET, "tools/codes.py --write")
    return found and {key: found[key] for key in needed}


def _kept(
    folder: str, name: str, head: str, needed: set[str], in_each: tuple[str, set[str]], command: str
) -> dict[str, Any] | None:
    """A file's entries, with those that are `needed`, and in each of a list's entries those of `in_each`."""
    file, (rows, own) = path(folder, name, head), in_each
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if needed <= found.keys() and (found[rows] or not own) and all(own <= row.keys() for row in found[rows]):
            return found
        reason = "entries are missing"
    except (ValueError, AttributeError, TypeError) as error:
        reason = str(error)
    raise ConfigError(f"The {rows} {file} cannot be read ({reason}); delete it and measure again with {command}.")
