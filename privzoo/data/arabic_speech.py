"""Arabic Speech Commands (Ghandoura, Hjabo, Al Dakkak 2021): 40 keywords, each said ten times by 30 people.

The official split keeps speakers apart: 18 to train, 6 to validate, 6 to test.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path

from privzoo.data.files import Files, open_files, read_list
from privzoo.data.samples import CLASSES, Dataset, ReadClip, Sample, check_split, warn_skipped
from privzoo.errors import DataError

FOLDERS = ("arabic_speech_commands", "arabic-speech-commands-dataset", "arabic-speech-commands")
CLIPS = "dataset"
TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
COLUMNS = ("file", "class")
SUFFIXES = (".wav", ".flac", ".opus", ".ogg")
KEYWORDS = CLASSES["keyword"]
NAMED = re.compile(r"(?P<speaker>\d{8})_NO_(?P<round>\d+)")


def load(root: str | Path, split: str = "train") -> Dataset:
    """Load Arabic Speech Commands with the labels keyword, identity (the speaker) and round (1 to 10).

    Args:
        root: the folder arabic_speech_commands, its zip, or a folder that holds either. The recordings are
            `dataset/<keyword>/<speaker>_NO_<round>.wav`, or in another format that the tables' names may not say.
        split: "train", "validation" (val.csv), "test" or "all".

    Returns:
        The samples in the tables' order; missing recordings and damaged lines are skipped and counted. A sample's
        `image` is its clip, int16 (16000,).

    Raises:
        DataError: a table or all its recordings are missing, or a table is in another format.
        ConfigError: unknown split.

    Example:
        >>> len(load("data", split="test"))
        2400
    """
    check_split(split, (*TABLES, "all"))
    files = open_files(root, FOLDERS)
    found = files.names()
    paths = {path.rpartition(".")[0]: path for path in found if path.lower().endswith(SUFFIXES)}
    # Numbered over all parts, so that a speaker has the same number in each.
    speakers = sorted({match["speaker"] for path in paths if (match := NAMED.fullmatch(path.rpartition("/")[2]))})
    index = {speaker: number for number, speaker in enumerate(speakers)}
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    for part in TABLES if split == "all" else (split,):
        for file, keyword in _rows(files, found, TABLES[part]):
            stem = file.rpartition(".")[0]
            named = NAMED.fullmatch(stem.rpartition("/")[2])
            if keyword not in KEYWORDS or named is None:
                skipped[f"damaged line in {TABLES[part]}"] += 1
            elif stem not in paths:
                skipped["recording missing"] += 1
            else:
                labels = {"keyword": KEYWORDS.index(keyword), "identity": index[named["speaker"]]}
                name = f"{FOLDERS[0]}/{paths[stem]}"
                samples.append(
                    Sample(name, ReadClip(files, paths[stem], name), labels | {"round": int(named["round"])})
                )
    if not samples:
        raise DataError(
            f"{files} holds no usable recording of the split {split}: give the folder or zip with train.csv, val.csv, "
            f"test.csv and {CLIPS}/<keyword>/<speaker>_NO_<round>.wav."
        )
    warn_skipped("Arabic Speech Commands", skipped)
    return Dataset("arabic_speech", samples, {"keyword": KEYWORDS, "identity": tuple(speakers)}, skipped)


def _rows(files: Files, found: list[str], table: str) -> list[tuple[str, str]]:
    """File and keyword of each line of a table; raises DataError when it is missing or in another format."""
    if table not in found:
        raise DataError(f"{files} has no {table}: get the data set again, whose three tables say who is in which part.")
    try:
        text = read_list(files, table).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise DataError(f"{files}/{table} has the columns {rows.fieldnames}; its first line must be file,class.")
        return [((row["file"] or "").replace("\\", "/").removeprefix("./"), row["class"] or "") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{files}/{table} is not a CSV in UTF-8 ({error}): get the data set again.") from None
