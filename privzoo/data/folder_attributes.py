"""The user's own images with attributes of their own: a folder or zip of images with a table `attributes.csv`.

`docs/own_data.md` tells users what it may contain. The images are divided like those of `privzoo.data.folder`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from privzoo import checks
from privzoo.data import held_out, people
from privzoo.data.attributes import LABEL, check_attributes
from privzoo.data.files import Files, Zip, is_image, read_list
from privzoo.data.folder import SPLITS, TEST, check_part, digest, opened, unseen
from privzoo.data.samples import Dataset, ReadImage, Sample, check_split, warn_skipped
from privzoo.errors import DataError

TABLE = "attributes.csv"
VALUES = {"1": 1, "0": 0, "-1": 0}  # as CelebA's lists write them, too


def load(root: str | Path, label: str = LABEL, names: Sequence[str] | None = None, split: str = "all") -> Dataset:
    """Load images whose attributes stand in a table.

    Args:
        root: a folder with `attributes.csv`, whose columns are file, the image's path below the folder, and one for
            each attribute: 1 for present, 0 or -1 for not; or a zip of it. Images in a folder `test` are test images.
        label: name of the label with all attributes.
        names: of the attributes to return, in their order; None: all of the table.
        split: "train", "validation", "test" or "all", as `privzoo.data.held_out` divides them. Of the test images,
            those that are also training or validation images, byte for byte, are left out.

    Returns:
        The samples, sorted by path, with the label, and with identity if the person is known
        (`privzoo.data.people`). Images without a line, and lines without an image, are skipped, and counted with
        "train" and "all"; `facts` is what a card tells of the set.

    Raises:
        DataError: the table is missing or damaged, or the wanted part is empty.
        ConfigError: unknown split, or an attribute that the table lacks.
    """
    check_split(split, SPLITS)
    files, name, _ = opened(checks.local_path(root).expanduser())
    files = _top(files)
    known, rows = _table(files)
    names = tuple(names or known)
    check_attributes(f"{files}/{TABLE}", names, known)
    columns = [known.index(one) for one in names]
    paths = [path for path in files.names() if is_image(path)]
    found = [path for path in paths if path in rows]
    skipped = Counter(
        {"image without a line": len(paths) - len(found), "line without an image": len(rows) - len(found)}
    )
    who = people.of({path: path for path in found}, files, skipped)
    persons = tuple(sorted(set(who.values())))
    tested = {path for path in found if path.startswith(f"{TEST}/")}
    parts, how = held_out.divide({path: ("", who.get(path)) for path in found if path not in tested}, bool(tested))
    parts |= dict.fromkeys(tested, TEST)
    samples = []
    for path in found:
        if split in ("all", parts[path]):
            labels: dict[str, int | tuple[int, ...]] = {label: tuple(rows[path][k] for k in columns)}
            if path in who:
                labels["identity"] = persons.index(who[path])
            samples.append(Sample(path, ReadImage(files, path, f"{files}/{path}"), labels))
    before = len(samples)
    if split in (TEST, "validation"):
        skipped = Counter()  # reported with the training part
    if split == TEST:
        samples = unseen(files, samples, [path for path in found if parts[path] != TEST], skipped)
    if not found:
        raise DataError(f"{files}/{TABLE} names no image that is there: give paths below that folder.")
    check_part(files, samples, split, len(found), before - len(samples))
    skipped = +skipped
    warn_skipped(str(files), skipped)
    counts = Counter(parts.values())
    facts = {
        "folder": name,
        "images": {one: sum(rows[path][k] for path in found) for one, k in zip(names, columns, strict=True)},
        "parts": {part: counts[part] for part in SPLITS[:3]},
        "held_out": how,
        "people": len(persons),
        "seen": digest(path for path in found if parts[path] != TEST),
    }
    classes = {label: names} | ({"identity": persons} if persons else {})
    return Dataset(name if split == "all" else f"{name}-{split}", samples, classes, skipped, facts)


def _top(files: Files) -> Files:
    """Of a zip, the folder in it that has the table."""
    if not isinstance(files, Zip):
        return files
    whole = Zip(files.path)
    found = min((one for one in whole.names() if one.rsplit("/", 1)[-1] == TABLE), key=len, default=TABLE)
    return Zip(files.path, found.removesuffix(TABLE))


def _table(files: Files) -> tuple[list[str], dict[str, list[int]]]:
    """Names of the attributes, and the values of each file."""
    if TABLE not in files.names():
        raise DataError(f"{files} has no {TABLE}: put a table there with the columns file and one for each attribute.")
    where = f"{files}/{TABLE}"
    try:
        text = read_list(files, TABLE).decode("utf-8-sig")
        table = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [one.strip() for one in next(table, [])]
        if header[:1] != ["file"] or len(header) < 2 or len(set(header)) < len(header) or "" in header:
            raise DataError(f"{where} has the columns {', '.join(header)}; give file, then each attribute once.")
        rows: dict[str, list[int]] = {}
        for row in filter(None, table):
            file, *values = (one.strip() for one in row)
            wrong = next((one for one in values if one not in VALUES), None)
            if wrong is not None or len(values) != len(header) - 1:
                what = f"{len(values)} values" if wrong is None else repr(wrong)
                raise DataError(f"{where} has {what} for {file}; give {len(header) - 1} values, each 1, 0 or -1.")
            if file in rows:
                raise DataError(f"{where} has two lines for {file}; keep one.")
            rows[file] = [VALUES[one] for one in values]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where} is not a CSV in UTF-8 ({error}); save it again.") from None
    return header[1:], rows
