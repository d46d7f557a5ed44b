"""The record of a training run: config, data, code, time, curves."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privzoo.config import NetworkConfig, to_plain
from privzoo.files import replacing, write_text
from privzoo.provenance import write_json


def fingerprint(config: NetworkConfig) -> str:
    """Hash of everything in a config that affects the run: 16 hex digits.

    Entries at their default are left out, so that a run can be resumed after a new option was added with a default
    that changes nothing.
    """
    relevant = dataclasses.replace(config, weights=None, coding="int8", description="", licence="")
    return hashlib.sha256(json.dumps(_changed(relevant), sort_keys=True).encode()).hexdigest()[:16]


def _changed(config: Any) -> dict[str, Any]:
    return {
        field.name: _changed(value) if dataclasses.is_dataclass(value) else to_plain(value)
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != field.default
    }


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of a Keras CSV log, one per epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def trim_log(path: Path, epochs: int) -> None:
    """Drops rows of a CSV log from epoch `epochs` (counted from 0) on: which a resumed run will rewrite."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if not lines:  # a run killed within the first epoch leaves an empty file
        return
    header, *rows = lines
    kept = [row for row in rows if int(row.split(",")[header.split(",").index("epoch")]) < epochs]
    write_text(path, "".join(f"{line}\n" for line in [header, *kept]))


def write(path: Path, *, curves: Path, **facts: Any) -> None:
    """Writes a run's record.

    Args:
        path: the JSON file.
        curves: the CSV log, whose rows go into the record.
        facts: what only the recipe knows.
    """
    import keras
    import numpy

    write_json(
        path,
        {
            **facts,
            "date": datetime.date.today().isoformat(),
            "backend": keras.backend.backend(),
            "versions": {
                "python": platform.python_version(),
                "keras": keras.__version__,
                "numpy": numpy.__version__,
            },
            "epochs": read_log(curves),
        },
    )


def plot_curves(log: Path, path: Path, title: str, columns: Sequence[str] = ()) -> None:
    """Plots columns of a log by epoch to a PNG, of training and validation.

    Args:
        log: of `read_log`.
        path: the PNG.
        title: of the plot.
        columns: without the prefix of validation; one that the log lacks stays empty. None given: loss and accuracy.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_log(log)
    accuracy = next((key for key in rows[0] if key.endswith("accuracy") and not key.startswith("val_")), "accuracy")
    columns = columns or ("loss", accuracy)
    figure, axes = plt.subplots(1, len(columns), figsize=(4.5 * len(columns), 3.2), layout="constrained")
    for axis, key in zip(axes, columns, strict=True):
        for prefix, label in (("", "train"), ("val_", "validation")):
            if prefix + key in rows[0]:
                axis.plot([r["epoch"] + 1 for r in rows], [r[prefix + key] for r in rows], marker="o", label=label)
        axis.set(xlabel="epoch", ylabel=key.replace("fc8_", "").replace("_", " "))
        if axis.has_data():
            axis.legend()
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
