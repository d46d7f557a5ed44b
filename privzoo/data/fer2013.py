"""FER2013 (Goodfellow et al., ICML 2013 challenge): 48x48 grey faces with seven emotions.

Both layouts are read: `fer2013/{train,validation,test}/<emotion>/<image>` and the original `fer2013.csv`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from privzoo import checks, faces
from privzoo.data.files import READ_ERRORS, Files, Folder, is_image, open_files
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, check_split, warn_skipped
from privzoo.errors import DataError

FOLDER, TABLE = "fer2013", "fer2013.csv"
SIDE = 48
SPLITS = ("train", "validation", "test")
EMOTIONS = CLASSES["emotion"]
#: The table's emotion numbers 0 to 6, in its own order.
TABLE_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
TABLE_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


def load(root: str | Path, split: str = "train") -> Dataset:
    """Load FER2013 with the label emotion.

    Args:
        root: the folder fer2013, its zip, the table fer2013.csv, or a folder that holds one of these.
        split: "train", "validation" (the table's PublicTest), "test" (PrivateTest) or "all".

    Returns:
        The samples, sorted by name or in the table's order; damaged rows are skipped and counted.

    Raises:
        DataError: neither layout is there, or it lacks the split.
        ConfigError: unknown split.

    Example:
        >>> len(load("data", split="test"))
        3589
    """
    check_split(split, (*SPLITS, "all"))
    root = checks.local_path(root).expanduser()
    files: Files
    table: str | None
    if root.is_file() and root.suffix.lower() == ".csv":
        files, table = Folder(root.parent), root.name
    elif (root / TABLE).is_file():
        files, table = Folder(root), TABLE
    else:
        files = open_files(root, [FOLDER])
        table = min((n for n in files.names() if n.rsplit("/", 1)[-1] == TABLE), key=len, default=None)
    samples, skipped = _from_table(files, table, split) if table else _from_folders(files, split)
    if not samples:
        raise DataError(
            f"{files} holds no usable FER2013 image for the split {split}: give fer2013.csv, or a folder or "
            f"zip with <split>/<emotion>/<image>, <split> one of {', '.join(SPLITS)}."
        )
    warn_skipped("FER2013", skipped)
    return Dataset("fer2013", samples, {"emotion": EMOTIONS}, skipped)


def _from_folders(files: Files, split: str) -> tuple[list[Sample], Counter[str]]:
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    for path in files.names():
        parts = path.split("/")
        if len(parts) != 3 or parts[0] not in SPLITS or not is_image(path):
            continue
        if split not in ("all", parts[0]):
            continue
        if parts[1].lower() not in EMOTIONS:
            skipped[f"in a folder {parts[1]}, which is not an emotion"] += 1
            continue
        name = f"{FOLDER}/{path}"
        labels = {"emotion": EMOTIONS.index(parts[1].lower())}
        samples.append(Sample(name, ReadImage(files, path, name), labels))
    return samples, skipped


def _from_table(files: Files, table: str, split: str) -> tuple[list[Sample], Counter[str]]:
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    try:
        with files.open(table) as stream:
            text = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
            rows = csv.DictReader(text)
            if not {"emotion", "pixels", "Usage"} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{files}/{table} has the columns {rows.fieldnames}, but emotion, pixels and Usage are "
                    "needed: give the original fer2013.csv."
                )
            for number, row in enumerate(rows):
                usage = TABLE_SPLITS.get(row["Usage"])
                if usage is not None and split not in ("all", usage):
                    continue
                sample = _from_row(row, f"{table}:{number}") if usage is not None else None
                if sample is None:
                    skipped["damaged row"] += 1
                else:
                    samples.append(sample)
    except (*READ_ERRORS, csv.Error) as error:
        raise DataError(f"{files}/{table} cannot be read to its end ({error}): copy it again.") from error
    return samples, skipped


def _from_row(row: dict[str, str], name: str) -> Sample | None:
    try:
        emotion = TABLE_EMOTIONS[["0", "1", "2", "3", "4", "5", "6"].index(row["emotion"])]
        # Ten times as fast as splitting the text; of a damaged one, older numpy gives the first numbers only.
        pixels = np.fromstring(row["pixels"], np.int64, sep=" ").reshape(SIDE, SIDE)
    except (TypeError, ValueError):
        return None
    if pixels.min() < 0 or pixels.max() > 255:
        return None
    labels = {"emotion": EMOTIONS.index(emotion)}
    return Sample(name, partial(faces.decode, pixels.astype(np.uint8), name), labels)
