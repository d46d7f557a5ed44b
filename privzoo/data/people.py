"""Who is in the user's own images: by files named `<person>__<number>`, or by a table."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping

from privzoo.data.files import Files, read_list
from privzoo.errors import DataError

TABLE = "people.csv"  # next to the class folders
COLUMNS = ("file", "person")
NAMED = re.compile(r"(?P<person>.+)__\d+")


def of(images: Mapping[str, str], files: Files, skipped: Counter[str]) -> dict[str, str]:
    """Persons of images.

    Args:
        images: path in the data set -> its name `<class>/<image>`.
        files: of the data set. Its `people.csv`, with the columns file and person, overrides the file names; it
            may use either name.
        skipped: lines of the table that name no image are counted in it.

    Returns:
        Path -> person, of the images whose person is known.

    Raises:
        DataError: the table cannot be read, or gives one image two persons.
    """
    found = {}
    for path, name in images.items():
        stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        if match := NAMED.fullmatch(stem):
            found[path] = match["person"]
    if TABLE not in files.names():
        return found
    rows = _rows(files)
    listed = {file: rows[file] for pair in images.items() for file in pair if file in rows}
    skipped["line of people.csv that names no image"] = len(rows) - len(listed)
    # What the table omits is unknown: a mix of both could list a person's images under two names.
    found = {path: listed.get(path) or listed.get(name) for path, name in images.items()}
    return {path: person for path, person in found.items() if person}


def _rows(files: Files) -> dict[str, str]:
    where = f"{files}/{TABLE}"
    try:
        text = read_list(files, TABLE).decode("utf-8-sig")
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not set(COLUMNS) <= set(table.fieldnames or ()):
            raise DataError(f"{where} has the columns {table.fieldnames}; its first line must be file,person.")
        rows: dict[str, str] = {}
        for row in table:
            file, person = ((row[column] or "").strip() for column in COLUMNS)
            if rows.setdefault(file, person) != person:
                raise DataError(f"{where} gives {file} two persons, {rows[file]} and {person}; keep one line.")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where} is not a CSV in UTF-8 ({error}); save it again.") from None
    return {file: person for file, person in rows.items() if file and person}
