"""IMDB-WIKI (Rothe, Timofte, Van Gool, ICCVW 2015): gender and age of celebrities, in a .mat file."""

from __future__ import annotations

import io
import math
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from privzoo import faces
from privzoo.data.files import Files, Folder, open_files, read_list
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, check_split, hash_split, warn_skipped
from privzoo.errors import ConfigError, DataError, ImageError, MissingExtraError

FIELDS = ("dob", "photo_taken", "full_path", "gender", "face_location", "face_score", "second_face_score")
#: In the sets wiki_crop and imdb_crop the detector's box has a margin of 40% of its side on every side.
CROP_MARGIN = 0.4
MATLAB_EPOCH = 366  # days from MATLAB's day 0 to Python's ordinal 0
MAX_AGE = 100


class CutFace:
    """Cuts the square of the detector's box, grown by a margin; repeats the border's pixels beyond it.

    Args:
        location: left, top, right, bottom in pixels, counted from 1 as MATLAB does; None for the images
            of the cropped sets, where the box is the image without its margin.
        margin: share of the box's side to add on every side.
    """

    __slots__ = ("location", "margin")

    def __init__(self, location: tuple[float, ...] | None, margin: float) -> None:
        self.location, self.margin = location, margin

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the chip, uint8 RGB (S, S, 3), of an image, uint8 RGB (H, W, 3)."""
        height, width = image.shape[:2]
        if self.location is None:
            side = max(height, width) / (1 + 2 * CROP_MARGIN)
            x, y = width / 2, height / 2
        else:
            left, top, right, bottom = self.location
            side = max(right - left, bottom - top) + 1
            x, y = (left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5
        size = round(side * (1 + 2 * self.margin))
        if size < 1:
            raise ImageError(f"A face box of {side:g} pixels is empty: the image is too small.")
        box = faces.Box(round(x - size / 2), round(y - size / 2), size)
        return faces.crop(image, box, min(size, faces.MAX_CHIP_SIZE))


def age(dob: float, photo_taken: int) -> int | None:
    """Compute the age in whole years in the middle of the year of the photograph, as the authors do.

    Args:
        dob: date of birth as a MATLAB date number, in days.
        photo_taken: year.

    Returns:
        The age, or None when one of the dates is not a date.

    Example:
        >>> age(723671.0, 2009)
        28
    """
    try:
        born, year = date.fromordinal(int(dob) - MATLAB_EPOCH), int(photo_taken)
    except (OverflowError, ValueError):
        return None
    return year - born.year - ((born.month, born.day) > (7, 1))


def load(
    root: str | Path,
    name: str = "wiki",
    split: str = "all",
    min_face_score: float = 1.0,
    one_face: bool = True,
    margin: float = 0.0,
    cropped: bool | None = None,
) -> Dataset:
    """Load one of the two sets with the labels gender and age.

    Args:
        root: the folder wiki, wiki_crop, imdb or imdb_crop with its .mat file, its zip, or a folder that
            holds one.
        name: "wiki" or "imdb".
        split: "train", "validation" (images whose path's md5 is 0 mod 10) or "all"; the set has no split
            of its own.
        min_face_score: least score of the authors' face detector.
        one_face: leave out images with a second face, if it is unclear which face the labels describe.
        margin: share of the detector's box to add on every side; 0 keeps the box, forehead to chin.
        cropped: whether these are the cropped images; None goes by the folder's name.

    Returns:
        The samples in the .mat file's order; those without a label or a face are skipped and counted by reason.

    Raises:
        DataError: the .mat file is missing or has other fields, or no image is usable.
        ConfigError: unknown name or split.
        MissingExtraError: SciPy is not installed.

    Example:
        >>> load("data/wiki_crop").classes
        {'gender': ('male', 'female')}
    """
    check_split(split, ("train", "validation", "all"))
    if name not in ("wiki", "imdb"):
        raise ConfigError(f'The name {name!r} is unknown: use "wiki" or "imdb".')
    files = open_files(root, [f"{name}_crop", name])
    found = files.names()
    table = min((n for n in found if n.rsplit("/", 1)[-1] == f"{name}.mat"), key=len, default=None)
    if table is None:
        raise DataError(f"{files} has no {name}.mat: give the folder {name}_crop or {name} that holds it.")
    meta = _read(files, table, name)
    base = table.rpartition("/")[0]
    if cropped is None:
        cropped = (base or str(files)).rsplit("/", 1)[-1].endswith("_crop")
    present, samples = set(found), []
    skipped: Counter[str] = Counter()
    for row in zip(*(meta[field] for field in FIELDS), strict=True):
        path, labels, location, reason = _judge(row, min_face_score, one_face)
        path = f"{base}/{path}" if base else path
        if reason is None and path not in present:
            reason = "image missing"
        if reason is not None:
            skipped[reason] += 1
            continue
        cut = CutFace(None if cropped else location, margin)
        samples.append(Sample(f"{name}/{path}", ReadImage(files, path, f"{name}/{path}", cut), labels))
    if not samples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "its lists are empty"
        raise DataError(f"{files}/{table} describes no usable image ({reasons}): unpack the images next to it.")
    warn_skipped(name, skipped)
    return Dataset(name, hash_split(samples, split), {"gender": CLASSES["gender"]}, skipped)


def _judge(
    row: tuple[Any, ...], min_face_score: float, one_face: bool
) -> tuple[str, dict[str, int], tuple[float, ...], str | None]:
    """Return path, labels, face box and, when the image is not usable, why."""
    dob, photo_taken, full_path, gender, face_location, score, second = row
    path = str(np.ravel(full_path)[0]) if np.size(full_path) else ""
    location = tuple(float(value) for value in np.ravel(face_location))
    years = age(dob, photo_taken)
    labels, reason = {}, None
    if not float(score) >= min_face_score or len(location) != 4:
        reason = "without a clear face"
    elif one_face and not math.isnan(float(second)):
        reason = "with a second face"
    elif float(gender) not in (0.0, 1.0):
        reason = "without gender"
    elif years is None or not 0 <= years <= MAX_AGE:
        reason = "without a possible age"
    else:
        # The authors count 0 female, 1 male: the opposite of UTKFace and this package.
        labels = {"gender": 1 - int(gender), "age": years}
    return path, labels, location, reason


def _read(files: Files, table: str, name: str) -> dict[str, np.ndarray]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError(
            "Reading IMDB-WIKI needs SciPy, which is not installed: run pip install 'privzoo[train]'."
        ) from error
    content = read_list(files, table)
    try:
        meta = loadmat(io.BytesIO(content))[name][0, 0]
        columns = {field: meta[field].ravel() for field in FIELDS}
    except Exception as error:  # SciPy raises almost anything on a damaged file.
        where = files.path / table if isinstance(files, Folder) else f"{files}/{table}"
        raise DataError(
            f"{where} is not the metadata of IMDB-WIKI ({type(error).__name__}: {error}); download it again."
        ) from error
    if len({len(column) for column in columns.values()}) != 1:
        raise DataError(f"{files}/{table} has columns of different lengths; download it again.")
    return columns
