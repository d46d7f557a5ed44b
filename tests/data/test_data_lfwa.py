"""LFWA in its official layout: MATLAB files of both kinds, the official split, what is damaged or missing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from data_fakes import FORMS, jpeg, place

from privzoo.data import arrays, lfwa
from privzoo.errors import DataError

PEOPLE = [f"{first}_{last}" for first in ("Ann", "Bea", "Ben", "Di", "Ed", "Flo") for last in ("Low", "May", "Poe")]
IMAGES = [f"{person}/{person}_{number:04}.jpg" for person in PEOPLE for number in (1, 2)]
NAMES = ["5 o Clock Shadow", "Male", "Young"]
LABELS = np.random.default_rng(0).integers(0, 2, (len(IMAGES), 3)).astype(np.float64)
TRAIN = np.arange(1, 25, dtype=np.float64)  # from 1, as MATLAB counts
TABLES = {
    "lfw_att_40.mat": {"name": [one.replace("/", "\\") for one in IMAGES], "AttrName": NAMES, "label": LABELS},
    "indices_train_test.mat": {
        "indices_img_train": TRAIN,
        "indices_img_test": np.arange(25, len(IMAGES) + 1, dtype=np.float64),
    },
}


def hdf5(table: dict) -> bytes:
    """As MATLAB's version 7.3 stores it: matrices transposed, cells as references to arrays of characters."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as content:
        for key, value in table.items():
            if not isinstance(value, list):
                content[key] = np.atleast_2d(value).T
                continue
            cells = content.create_dataset(key, (1, len(value)), dtype=h5py.ref_dtype)
            for number, text in enumerate(value):
                letters = np.array([[ord(c)] for c in text], np.uint16)
                own = content.create_dataset(f"#refs#/{key}{number}", data=letters)
                cells[0, number] = own.ref
    return b"MATLAB 7.3 MAT-file".ljust(512) + file.getvalue()[512:]


def older(table: dict) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    cells = {k: np.array(v, object)[:, None] if isinstance(v, list) else v for k, v in table.items()}
    savemat(file, cells)
    return file.getvalue()


@pytest.fixture(scope="module")
def images():
    return {f"lfw/{image}": jpeg(250, 250, seed) for seed, image in enumerate(IMAGES)}


def files(images, made=hdf5, **changed):
    return images | {name: made({**table, **changed.get(name[:3], {})}) for name, table in TABLES.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("made", [hdf5, older])
def test_load(tmp_path, images, form, made):
    data = lfwa.load(place(files(images, made), tmp_path, form, "LFWA"))
    assert [sample.name for sample in data.samples] == [f"lfw/{image}" for image in IMAGES]
    assert data.classes["attributes"] == ("5_o_Clock_Shadow", "Male", "Young")
    chips, labels = arrays(data, None)
    assert chips.shape == (len(IMAGES), 122, 122, 3) and not data.skipped
    np.testing.assert_array_equal(labels["attributes"], LABELS)


def test_the_official_split_and_people_for_validation(tmp_path, images):
    root = place(files(images), tmp_path, "folder", "LFWA")
    parts = {split: [s.name[4:] for s in lfwa.load(root, split).samples] for split in ("train", "validation", "test")}
    assert parts["test"] == IMAGES[24:] and sorted(parts["train"] + parts["validation"]) == sorted(IMAGES[:24])
    people = [{image.split("/")[0] for image in parts[split]} for split in ("train", "validation")]
    assert not people[0] & people[1] and parts["validation"]


def test_missing_images_are_counted(tmp_path, images):
    root = place(files(dict(list(images.items())[2:])), tmp_path, "zip", "LFWA")
    assert lfwa.load(root).skipped == {"image missing": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lfw_att_40.mat": None}, r"has no lfw_att_40\.mat; download it with LFWA's annotations"),
        ({"indices_train_test.mat": None}, r"has no indices_train_test\.mat"),
        ({"lfw_att_40.mat": b"MATLAB no more"}, "is not a readable MATLAB file"),
        ({"lfw_att_40.mat": b""}, "is not a readable MATLAB file"),
        ({"lfw_att_40.mat": older({"name": IMAGES, "AttrName": NAMES})}, r"lfw_att_40\.mat lacks label"),
        ({"lfw_att_40.mat": older({"name": IMAGES, "AttrName": NAMES, "label": LABELS[1:]})}, "labels of shape"),
        (
            {"indices_train_test.mat": older({"indices_img_train": 0.0, "indices_img_test": 1.0})},
            "names image 0 of 36",
        ),
    ],
)
def test_damaged_lists_are_said(tmp_path, images, change, words):
    given = {name: content for name, content in {**files(images), **change}.items() if content is not None}
    with pytest.raises(DataError, match=words):
        lfwa.load(place(given, tmp_path, "folder", "LFWA"), "test")


def test_no_images_are_said(tmp_path):
    with pytest.raises(DataError, match="holds no lfw/<Person>"):
        lfwa.load(place(files({}), tmp_path, "folder", "LFWA"))
