"""LFWA (Liu et al., ICCV 2015): LFW's images with CelebA's 40 attributes, in its official layout.

That is the folder LFWA with `lfw/<Person>/<Person>_NNNN.jpg` and, beside it or in `anno/`, `lfw_att_40.mat` (name,
AttrName and label) and `indices_train_test.mat` (numbers from 1 of training and test images). MATLAB wrote both in its
version 7.3, which is HDF5; files that were saved again in an older version are read too.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.data import lfw
from privzoo.data.attributes import LABEL
from privzoo.data.files import Files, open_files, read_list
from privzoo.data.samples import Dataset, ReadImage, Sample, check_split, in_validation, warn_skipped
from privzoo.errors import DataError, MissingExtraError

FOLDERS = ("LFWA", "LFWA+", "lfwa-dataset")
ATTRIBUTES, INDICES = "lfw_att_40.mat", "indices_train_test.mat"
HDF5, HEADER = b"\x89HDF\r\n\x1a\n", 512  # a file's first bytes, and the bytes that MATLAB writes before them
SPLITS = ("train", "validation", "test")


def load(root: str | Path, split: str = "all", chip: bool = True) -> Dataset:
    """Load LFWA with the labels attributes and identity.

    Args:
        root: the folder LFWA, its zip, or a folder that holds either.
        split: "train", "test" (of indices_train_test.mat), "validation" or "all". There is no official validation part:
            every tenth person of the training part, by the md5 of the name, is taken out of it.
        chip: return the face chip, not the whole frame.

    Returns:
        The samples in the list's order, with CelebA's names of the attributes; missing images are skipped and counted.

    Raises:
        DataError: a list or the images are missing, or a list is in another format.
        ConfigError: unknown split.
        MissingExtraError: the package that reads these files is not installed.
    """
    check_split(split, (*SPLITS, "all"))
    files = open_files(root, FOLDERS)
    found = files.names()
    table = _mat(files, found, ATTRIBUTES, ("name", "AttrName", "label"))
    images = [_text(one).replace("\\", "/").strip() for one in table["name"]]
    # As CelebA's list writes them.
    names = tuple(_text(one).strip().replace(" ", "_") for one in table["AttrName"])
    labels = _matrix(table["label"], (len(images), len(names)), f"{files}/{ATTRIBUTES}")
    parts = _parts(files, found, images) if split != "all" else {}
    paths = {"/".join(path.split("/")[-2:]): path for path in found if path.lower().endswith(".jpg")}
    people = tuple(sorted({image.split("/")[0] for image in images}))
    numbers = {person: number for number, person in enumerate(people)}
    samples, skipped = [], Counter[str]()
    for image, values in zip(images, labels, strict=True):
        if split != "all" and parts.get(image) != split:
            continue
        if image not in paths:
            skipped["image missing"] += 1
            continue
        read = ReadImage(files, paths[image], f"lfw/{image}", lfw.centre if chip else None)
        has = tuple(int(value > 0) for value in values)
        known: dict[str, int | tuple[int, ...]] = {LABEL: has, "identity": numbers[image.split("/")[0]]}
        samples.append(Sample(f"lfw/{image}", read, known))
    if not samples:
        raise DataError(f"{files} holds no lfw/<Person>/<Person>_NNNN.jpg of the split {split}: unpack LFWA's images.")
    warn_skipped("LFWA", skipped)
    return Dataset("lfwa", samples, {LABEL: names, "identity": people}, skipped)


def _parts(files: Files, found: list[str], images: list[str]) -> dict[str, str]:
    """Image -> part."""
    keys = ("indices_img_train", "indices_img_test")
    table = _mat(files, found, INDICES, keys)
    parts = {}
    for key, part in zip(keys, ("train", "test"), strict=True):
        for number in np.asarray(table[key]).ravel().astype(int):
            if not 1 <= number <= len(images):
                raise DataError(f"{files}/{INDICES} names image {number} of {len(images)}; download it again.")
            image = images[number - 1]
            held = part == "train" and in_validation(image.split("/")[0])
            parts[image] = "validation" if held else part
    return parts


def _matrix(values: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """Labels (images, attributes); HDF5 stores MATLAB's matrices transposed."""
    array = np.asarray(values)
    for one in (array, array.T):
        if one.shape == shape:
            return one
    raise DataError(f"{where} has labels of shape {array.shape} for {shape[0]} x {shape[1]}; download it again.")


def _mat(files: Files, found: list[str], file: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Variables of a MATLAB file: cells of text as lists, everything else as arrays."""
    path = min((name for name in found if name.rsplit("/", 1)[-1] == file), key=len, default=None)
    if path is None:
        raise DataError(f"{files} has no {file}; download it with LFWA's annotations.")
    content = read_list(files, path)
    try:
        if HDF5 in (content[: len(HDF5)], content[HEADER : HEADER + len(HDF5)]):
            table = _hdf5(content, keys)
        else:
            from scipy.io import loadmat

            table = {key: value for key, value in loadmat(io.BytesIO(content)).items() if key in keys}
    except ImportError as error:
        raise MissingExtraError(f"Reading {path} needs {error.name}; run: pip install {error.name}.") from None
    except Exception as error:  # SciPy raises many things for damaged files: ValueError, struct.error, zlib.error, ...
        raise DataError(f"{files}/{path} is not a readable MATLAB file ({error}); download it again.") from None
    lacking = [key for key in keys if key not in table]
    if lacking:
        raise DataError(f"{files}/{path} lacks {lacking[0]}; download it again.")
    return {key: value.ravel().tolist() if value.dtype == object else value for key, value in table.items()}


def _hdf5(content: bytes, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    table = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        for key in keys:
            if key not in file:
                continue
            value = file[key][()]
            if value.dtype == object:  # references to texts, which are arrays of characters
                cells = np.empty(value.size, object)
                cells[:] = ["".join(map(chr, np.ravel(file[one][()]))) for one in value.ravel()]
                value = cells
            table[key] = value
    return table


def _text(cell: Any) -> str:
    return str(np.ravel(cell)[0]) if isinstance(cell, np.ndarray) else str(cell)
