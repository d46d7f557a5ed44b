"""CelebA (Liu et al., ICCV 2015): aligned images of celebrities with 40 attributes and identities.

Square images are taken as they are: the official ones are all 178x218, so that these were cut out by others already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from privzoo import faces
from privzoo.data.attributes import LABEL, check_attributes
from privzoo.data.files import Files, Folder, Zip, is_image, open_files, read_list
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, check_split, in_validation, warn_skipped
from privzoo.errors import DataError, ImageError

FOLDERS = ("CelebA", "celeba-dataset")
IMAGES = "img_align_celeba"
ATTRIBUTES, IDENTITIES, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
SPLITS = ("train", "validation", "test")
ALIGNED = (218, 178)  # height, width in pixels
#: Brings the aligned images' mean eyes (69 and 108, 111) and mouth (152) to where UTKFace's chips have them.
CHIP = faces.Box(x=40, y=84, size=97)


def cut_chip(image: np.ndarray) -> np.ndarray:
    """Cut the chip, uint8 (97, 97, 3), out of an aligned image (218, 178, 3).

    A square image is a chip already; any other raises ImageError.
    """
    height, width = image.shape[:2]
    if height == width:
        return image
    if (height, width) != ALIGNED:
        raise ImageError(
            f"A CelebA image has {width}x{height} pixels: use the aligned images, 178x218, or square face chips."
        )
    return faces.crop(image, CHIP, CHIP.size)


def load(root: str | Path, split: str = "train", chip: bool = True, attributes: Sequence[str] = ()) -> Dataset:
    """Load CelebA with the labels attributes (all), gender, and identity (if `identity_CelebA.txt` exists).

    A part of the data set whose `list_eval_partition.txt` has no validation images gets some: of the training images
    those of every tenth person, by the md5 of their number, or without identities every tenth image.

    Args:
        root: the folder CelebA, its zip, or a folder that holds either. `list_attr_celeba.txt`,
            `identity_CelebA.txt` and `list_eval_partition.txt` may be in Anno/ and Eval/ or together; the
            images in `img_align_celeba/` or, in a folder, still packed in `img_align_celeba.zip`.
        split: "train", "validation", "test" (of list_eval_partition.txt) or "all".
        chip: return the face chip, not the whole aligned image.
        attributes: columns of list_attr_celeba.txt to return as labels of their own too: 0 no, 1 yes.

    Returns:
        The samples in the list's order; missing images and damaged lines are skipped and counted.

    Raises:
        DataError: a list or the images are missing, or a list is in another format.
        ConfigError: unknown split or attribute.

    Example:
        >>> sorted(load("data", split="test", attributes=["Smiling"]).classes)
        ['Smiling', 'attributes', 'gender', 'identity']
    """
    check_split(split, (*SPLITS, "all"))
    files = open_files(root, FOLDERS)
    found = files.names()
    columns, rows, skipped = _attributes(files, _find(found, ATTRIBUTES))
    check_attributes("CelebA", attributes, columns)
    place, paths = _images(files, found)
    people = _pairs(files, _find(found, IDENTITIES))
    partition = _with_validation(_pairs(files, _find(found, PARTITION)), people)
    if split != "all" and not partition:
        raise DataError(f'{files} has no {PARTITION}: put it next to {ATTRIBUTES}, or load with split="all".')
    names = tuple(str(person) for person in sorted(set(people.values())))
    index = {int(person): number for number, person in enumerate(names)}
    samples = []
    for image, values in rows:
        if split != "all" and partition.get(image) != SPLITS.index(split):
            continue
        if image not in paths:
            skipped["image missing"] += 1
            continue
        labels: dict[str, int | tuple[int, ...]] = {LABEL: tuple(map(int, values))}
        labels["gender"] = 0 if values[columns["Male"]] else 1
        labels |= {attribute: int(values[columns[attribute]]) for attribute in attributes}
        if image in people:
            labels["identity"] = index[people[image]]
        name = f"{IMAGES}/{image}"
        samples.append(Sample(name, ReadImage(place, paths[image], name, cut_chip if chip else None), labels))
    if not samples:
        raise DataError(f"{files} holds no image of the split {split}; download {IMAGES} and {PARTITION} again.")
    warn_skipped("CelebA", skipped)
    classes = {LABEL: tuple(columns), "gender": CLASSES["gender"]} | dict.fromkeys(attributes, ("no", "yes"))
    return Dataset("celeba", samples, classes | ({"identity": names} if people else {}), skipped)


def _find(found: list[str], file: str) -> str | None:
    return min((name for name in found if name.rsplit("/", 1)[-1] == file), key=len, default=None)


def _images(files: Files, found: list[str]) -> tuple[Files, dict[str, str]]:
    """Return where the aligned images are, and image name -> path there."""
    paths = {path.rsplit("/", 1)[-1]: path for path in found if f"/{IMAGES}/" in f"/{path}" and is_image(path)}
    packed = _find(found, f"{IMAGES}.zip")
    if not paths and packed and isinstance(files, Folder):
        files = Zip(files.path / packed)
        paths = {path.rsplit("/", 1)[-1]: path for path in files.names() if is_image(path)}
    if not paths:
        raise DataError(f"{files} holds no images {IMAGES}/<number>.jpg: unpack {IMAGES}.zip there.")
    return files, paths


def _with_validation(partition: dict[str, int], people: dict[str, int]) -> dict[str, int]:
    """The partition, with a tenth of the training part as validation if it has none, so that nobody is in both."""
    train, validation, _ = range(len(SPLITS))
    if validation in partition.values():
        return partition

    def moved(image: str) -> bool:
        return in_validation(str(people.get(image, image)))

    return {image: validation if part == train and moved(image) else part for image, part in partition.items()}


def _lines(files: Files, path: str) -> list[list[str]]:
    text = read_list(files, path).decode("utf-8", "replace")
    return [line.split() for line in text.splitlines() if line.strip()]


def _attributes(files: Files, path: str | None) -> tuple[dict[str, int], list[tuple[str, list[bool]]], Counter[str]]:
    """Return column -> number, (image, values) of every line, and the count of damaged lines."""
    if path is None:
        raise DataError(f"{files} has no {ATTRIBUTES}; download it from CelebA's folder Anno.")
    lines = _lines(files, path)
    skipped: Counter[str] = Counter()
    if len(lines) < 2 or "Male" not in lines[1]:
        raise DataError(
            f"{files}/{path} is not CelebA's list (a count, a line of attribute names, lines of 1 and -1): "
            "download it from CelebA's folder Anno."
        )
    columns = {column: number for number, column in enumerate(lines[1])}
    rows = []
    for image, *values in lines[2:]:
        if len(values) != len(columns) or not set(values) <= {"1", "-1"}:
            skipped[f"damaged line in {ATTRIBUTES}"] += 1
            continue
        rows.append((image, [value == "1" for value in values]))
    return columns, rows, skipped


def _pairs(files: Files, path: str | None) -> dict[str, int]:
    """Return image -> number of a list with these two columns; empty if there is no list."""
    if path is None:
        return {}
    try:
        return {image: int(number) for image, number in _lines(files, path)}
    except ValueError:
        raise DataError(f"{files}/{path} is not lines of <image> <number>; download it again.") from None
