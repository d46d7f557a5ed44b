"""Labeled Faces in the Wild (Huang et al. 2007): identity by folder, gender from AFIF4's lists.

Every LFW frame is centred on the face, so the chip is the central 122 pixels of the official 250x250 frames
and of any central crop of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from privzoo.data.files import Files, Folder, Zip, is_image, open_files, read_list
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, warn_skipped
from privzoo.errors import DataError, ImageError

FOLDERS = ("lfw", "lfw-a", "lfw2", "lfw-deepfunneled", "lfw_funneled", "lfw-funneled")
GENDER_FOLDER = "lfw_gender"
CHIP = 122  # pixels of the frame, framed like UTKFace's chips


def centre(image: np.ndarray) -> np.ndarray:
    """Cut the centre 122x122 pixels out of a frame, uint8 (H, W, 3); a smaller frame raises ImageError."""
    height, width = image.shape[:2]
    if min(height, width) < CHIP:
        raise ImageError(f"An LFW frame has {width}x{height} pixels: at least {CHIP}x{CHIP} are needed.")
    top, left = (height - CHIP) // 2, (width - CHIP) // 2
    return image[top : top + CHIP, left : left + CHIP]


def load(root: str | Path, chip: bool = True, gender: bool = True) -> Dataset:
    """Load LFW with the labels identity and gender.

    Args:
        root: the folder lfw, its zip, or a folder that holds either; the folder `lfw_gender` with
            `male_names.txt` and `female_names.txt` is inside it or next to it.
        chip: return the face chip, not the whole frame.
        gender: drop images that are in both gender lists or in neither (protocol 1). False needs no lists,
            keeps every image and gives identity only.

    Returns:
        The samples, sorted by name; identity is the index into `classes["identity"]`.

    Raises:
        DataError: the layout `lfw/<Person>/<Person>_NNNN.jpg` or the gender lists are missing.

    Example:
        >>> len(load("data"))
        13225
    """
    files = open_files(root, FOLDERS)
    people = _people(files)
    genders = _genders(files) if gender else None
    if gender and genders is None:
        raise DataError(
            f"{files} has no gender lists: put male_names.txt and female_names.txt into a folder "
            f"{GENDER_FOLDER} next to it, or load with gender=False."
        )
    names, samples = tuple(sorted(people)), []
    skipped: Counter[str] = Counter()
    for identity, person in enumerate(names):
        for path in people[person]:
            labels = _labels(path, identity, genders)
            if gender and "gender" not in labels:
                skipped["without one gender label"] += 1
                continue
            samples.append(_sample(files, path, labels, chip))
    warn_skipped("LFW", skipped)
    return Dataset("lfw", samples, _classes(names, gender), skipped)


def lfw100(
    root: str | Path, chip: bool = True, people: int = 100, images: int = 40, after: int = 0
) -> tuple[Dataset, Dataset]:
    """Load the identity attack's data, protocol 3: the 100 people with the most images.

    Args:
        root: as for `load`; without gender lists the samples have no gender.
        chip: return the face chip, not the whole frame.
        people: how many people, those with the most images first, ties by name.
        images: maximum number of images of each, the lowest numbers.
        after: how many people come before them and are left out; 100: ranks 101 to 200, on whom settings are chosen
            (protocol 7).

    Returns:
        Train and test (every third image of a person). Identity runs from 0 in the order of the people.

    Raises:
        DataError: the layout is missing, or it has fewer people.
    """
    files = open_files(root, FOLDERS)
    found = _people(files)
    if len(found) < after + people:
        raise DataError(f"{files} holds {len(found)} people and {after + people} are wanted: use the whole data set.")
    names = tuple(sorted(found, key=lambda person: (-len(found[person]), person))[after : after + people])
    genders = _genders(files)
    train: list[Sample] = []
    test: list[Sample] = []
    for identity, person in enumerate(names):
        for number, path in enumerate(found[person][:images], 1):
            sample = _sample(files, path, _labels(path, identity, genders), chip)
            (test if number % 3 == 0 else train).append(sample)
    classes = _classes(names, genders is not None)
    name = f"lfw{after + 1}to{after + people}" if after else f"lfw{people}"
    return Dataset(f"{name}-train", train, classes), Dataset(f"{name}-test", test, dict(classes))


def _people(files: Files) -> dict[str, list[str]]:
    """Return person -> paths in the order of their numbers."""
    people = defaultdict(list)
    for path in files.names():
        parts = path.split("/")
        if len(parts) == 2 and is_image(path) and parts[1].startswith(f"{parts[0]}_"):
            people[parts[0]].append(path)
    if not people:
        raise DataError(f"{files} holds no <Person>/<Person>_NNNN.jpg: give LFW's folder or zip.")
    return dict(people)


def _labels(path: str, identity: int, genders: dict[str, int] | None) -> dict[str, int]:
    gender = (genders or {}).get(path.rsplit("/", 1)[-1])
    return {"identity": identity} if gender is None else {"gender": gender, "identity": identity}


def _sample(files: Files, path: str, labels: dict[str, int], chip: bool) -> Sample:
    name = f"lfw/{path}"
    return Sample(name, ReadImage(files, path, name, centre if chip else None), labels)


def _classes(people: tuple[str, ...], gender: bool) -> dict[str, tuple[str, ...]]:
    return ({"gender": CLASSES["gender"]} if gender else {}) | {"identity": people}


def _genders(files: Files) -> dict[str, int] | None:
    """Return file name -> gender of the files that are in one list only; None if there are no lists."""
    inside = Folder(files.path / GENDER_FOLDER) if isinstance(files, Folder) else None
    packed = Zip(files.path).below([GENDER_FOLDER]) if isinstance(files, Zip) else None
    beside = Folder(files.path.parent / GENDER_FOLDER)
    for place in (inside, packed, beside):
        if place is None or not {"male_names.txt", "female_names.txt"} <= set(place.names()):
            continue
        # The lists are compared by whole file names: one entry without its .jpg names no file.
        male, female = (
            set(read_list(place, f"{gender}_names.txt").decode("utf-8", "replace").split())
            for gender in CLASSES["gender"]
        )
        return dict.fromkeys(male - female, 0) | dict.fromkeys(female - male, 1)
    return None
