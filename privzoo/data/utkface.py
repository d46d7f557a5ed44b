"""UTKFace (Zhang, Song, Qi, CVPR 2017): aligned face chips whose file names give age, gender and race."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from privzoo.data.files import is_image, open_files
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, hash_split, warn_skipped
from privzoo.errors import DataError

FOLDER = "UTKFace"
#: Some of the original names have a space in the date or no dot before jpg: the date is left alone.
NAME = re.compile(r"([0-9]{1,3})_([01])_([0-4])_[^_]+")


def parse(file: str) -> dict[str, int] | None:
    """Read the labels in a file name `<age>_<gender>_<race>_<date>.jpg.chip.jpg`.

    Args:
        file: the name without folder.

    Returns:
        age in years, gender 0 or 1, race 0 to 4; None when a field is missing or out of range.

    Example:
        >>> parse("26_1_3_20170104221126581.jpg.chip.jpg")
        {'age': 26, 'gender': 1, 'race': 3}
    """
    match = NAME.fullmatch(file)
    if match is None:
        return None
    age, gender, race = map(int, match.groups())
    return {"age": age, "gender": gender, "race": race}


def load(root: str | Path, split: str = "train") -> Dataset:
    """Load UTKFace with the labels age, gender and race.

    Args:
        root: the folder UTKFace, its zip, or a folder that holds either.
        split: "train", "validation" (files whose path's md5 is 0 mod 10) or "all".

    Returns:
        The samples, sorted by name; file names that lack a field are skipped and counted.

    Raises:
        DataError: no file name is one of UTKFace's.
        ConfigError: unknown split.

    Example:
        >>> len(load("data", split="all"))
        23704
    """
    files = open_files(root, [FOLDER])
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    for path in files.names():
        # The archive has one flat folder: anything deeper is another data set that shares the root.
        if "/" in path or not is_image(path):
            continue
        labels = parse(path)
        if labels is None:
            skipped["malformed file name"] += 1
            continue
        name = f"{FOLDER}/{path}"
        samples.append(Sample(name, ReadImage(files, path, name), labels))
    if not samples:
        raise DataError(
            f"{files} holds no file named like UTKFace's: give the folder or zip of the aligned and "
            "cropped faces, <age>_<gender>_<race>_<date>.jpg.chip.jpg."
        )
    warn_skipped("UTKFace", skipped)
    classes = {"gender": CLASSES["gender"], "race": CLASSES["race"]}
    return Dataset("utkface", hash_split(samples, split), classes, skipped)
