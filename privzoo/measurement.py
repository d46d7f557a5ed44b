"""Measured figures of a model's head, each with what reproduces it, and the file that keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privzoo import card_files
from privzoo.config import FULL, from_dict, to_dict
from privzoo.errors import ConfigError
from privzoo.provenance import write_json

if TYPE_CHECKING:
    from privzoo.evaluation.intervals import Estimate

PART = ", one face in "  # in a measurement's data: not on all of its faces


@dataclass(frozen=True)
class Measurement:
    """One measured figure, as a command of the project wrote it."""

    metric: str  # "accuracy", "label agreement", ...
    variant: str  # what was measured, such as "int8 head + tail"
    data: str  # data set and split
    value: float  # share in 0..1, or in `unit`
    low: float  # 95% interval
    high: float
    count: int  # faces
    seeds: tuple[int, ...]  # of all randomness; empty if there was none
    date: str  # ISO 8601
    git: str  # revision of the code
    command: str  # reproduces it
    sha256: str  # of the head that was measured: the .tflite's flatbuffer, or the float weights
    unit: str = "share"  # or "years"
    clusters: int = 0  # people, or faces if identities are unknown; 0: written before this was recorded
    method: str = ""  # of the interval, as `privzoo.evaluation.intervals` names it

    def estimate(self) -> Estimate:
        """The figure alone, for comparisons and goals."""
        from privzoo.evaluation.intervals import Estimate

        return Estimate(self.value, self.low, self.high, self.count, self.clusters, self.method)

    def shown(self, value: float) -> str:
        """Formats the value, or an end of its interval, for people."""
        return f"{value:.2%}" if self.unit == "share" else f"{value:.1f} {self.unit}"


def _file(name: str, head: str) -> Path:
    return card_files.path("cards", name, head)


def read(name: str, head: str = FULL) -> tuple[Measurement, ...]:
    """Measured figures of a model's head, empty if nothing has been measured yet.

    Raises:
        ConfigError: the file is damaged.
    """
    path = _file(name, head)
    if not path.exists():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"The card {path} is not valid JSON ({error}); delete it and measure again with tools/evaluate.py."
        ) from None
    return tuple(from_dict(Measurement, entry, str(path)) for entry in entries)


def write(name: str, new: list[Measurement], head: str = FULL) -> None:
    """Adds measurements to the card of a model's head, replacing those with the same metric, variant and data.

    A figure on every Nth face of a data set is dropped if there is one on all faces: it is the same quantity.
    """
    merged = {(m.metric, m.variant, m.data): m for m in (*read(name, head), *new)}
    kept = [m for m in merged.values() if PART not in m.data or _on_all_faces(m) not in merged]
    write_json(_file(name, head), [to_dict(m) for m in kept])


def _on_all_faces(m: Measurement) -> tuple[str, str, str]:
    return m.metric, m.variant, m.data.partition(PART)[0]
