"""LFW's attributes: scores of 72 or 73 classifiers for each image (Kumar, Berg, Belhumeur, Nayar, ICCV 2009).

The labels come from classifiers, not from people: a positive score counts as present. Faces and people are LFW's. The
split is by people, by the md5 of their names: a network that is trained on this part must not be measured on LFW for
anything else.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from privzoo.data import lfw
from privzoo.data.attributes import LABEL
from privzoo.data.files import Files, Folder, Zip, open_files, read_list
from privzoo.data.samples import Dataset, ReadImage, Sample, check_split, path_hash, warn_skipped
from privzoo.errors import DataError

TABLES = ("lfw_attributes.csv", "lfw_attributes.txt")
SPLITS = ("train", "validation", "test")
PARTS = {0: "test", 1: "test", 2: "test", 3: "validation"}  # md5 of a person's name, mod 10 -> part; others train


def load(root: str | Path, split: str = "all", chip: bool = True) -> Dataset:
    """Load LFW's images that have scores, with the labels attributes and identity.

    Args:
        root: as for `lfw.load`. The table is inside LFW's folder or zip or next to it: `lfw_attributes.csv`, with the
            column image (`<Person>/<Person>_NNNN.jpg`) and one for each attribute, or the published
            `lfw_attributes.txt`, with the columns person, imagenum and one for each attribute, divided by tabs.
        split: "train", "validation", "test" or "all"; nobody is in two parts.
        chip: return the face chip, not the whole frame.

    Returns:
        The samples in the table's order; images that are missing and damaged lines are skipped and counted.

    Raises:
        DataError: the table or the images are missing, or the table is in another format.
        ConfigError: unknown split.

    Example:
        >>> len(load("data", split="test").classes["attributes"])  # doctest: +SKIP
        72
    """
    check_split(split, (*SPLITS, "all"))
    files = open_files(root, lfw.FOLDERS)
    where, content = _table(files)
    names, rows = _read(where, content)
    there, skipped = set(files.names()), Counter[str]()
    found = []
    for image, values in rows:
        if values is None:
            skipped["damaged line"] += 1
        elif image not in there:
            skipped["image missing"] += 1
        else:
            found.append((image, values))
    people = tuple(sorted({image.split("/")[0] for image, _ in found}))
    samples = []
    for image, values in found:
        person = image.split("/")[0]
        if split in ("all", PARTS.get(path_hash(person) % 10, "train")):
            read = ReadImage(files, image, f"lfw/{image}", lfw.centre if chip else None)
            samples.append(Sample(f"lfw/{image}", read, {LABEL: values, "identity": people.index(person)}))
    if not samples:
        raise DataError(f"{files} holds no image of the split {split} with a line in {where}: give the whole LFW.")
    warn_skipped("LFW's attributes", skipped)
    return Dataset("lfw_attributes", samples, {LABEL: names, "identity": people}, skipped)


def _table(files: Files) -> tuple[str, bytes]:
    inside: Files = Zip(files.path) if isinstance(files, Zip) else files
    for place in (files, inside, Folder(files.path.parent)):
        for name in TABLES:
            # Only the folder itself: what else stands beside a data set is not looked through.
            known = place.path / name if isinstance(place, Folder) else None
            if known.is_file() if known else name in place.names():
                return f"{place}/{name}", read_list(place, name)
    raise DataError(f"{files} has no {TABLES[0]} inside it or next to it: put it, or {TABLES[1]}, there.")


def _read(where: str, content: bytes) -> tuple[tuple[str, ...], list[tuple[str, tuple[int, ...] | None]]]:
    """Names of the attributes, and each image with its values; None for a damaged line."""
    text = content.decode("utf-8-sig", "replace")
    published = where.endswith(".txt")
    # Published are a line of comment and the names of the columns, both after #.
    kept = [line for line in text.splitlines() if line.strip() and (line[:1] != "#" or line[:2] == "#\t")]
    lines = [line.removeprefix("#\t") for line in kept]
    table = csv.reader(io.StringIO("\n".join(lines)), delimiter="\t" if published else ",")
    header = [one.strip() for one in next(table, [])]
    keys = ["person", "imagenum"] if published else ["image"]
    names = tuple(one.replace(" ", "_") for one in header[len(keys) :])
    if header[: len(keys)] != keys or not names:
        raise DataError(f"{where} has the columns {', '.join(header[:3])}, ...: it must begin with {', '.join(keys)}.")
    return names, list(_rows(table, len(keys), len(names)))


def _rows(table: Iterator[list[str]], keys: int, count: int) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    for row in table:
        try:
            scores = [float(value) for value in row[keys:]]
            if keys == 1:
                image = row[0].strip()
            else:
                person = row[0].strip().replace(" ", "_")
                image = f"{person}/{person}_{int(row[1]):04}.jpg"
        except (ValueError, IndexError):
            yield "", None
            continue
        whole = len(scores) == count and all(map(math.isfinite, scores))
        yield image, tuple(int(score > 0) for score in scores) if whole else None
