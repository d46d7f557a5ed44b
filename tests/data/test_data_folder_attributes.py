"""The user's own images with a table of attributes: forms, parts, people, and what is damaged or missing."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import jpeg, write_folder, write_zip

from privzoo.data import arrays, folder_attributes
from privzoo.errors import ConfigError, DataError

COUNT = 40
FILES = [f"faces/p{number // 2}__{number % 2}.jpg" for number in range(COUNT)]
VALUES = np.random.default_rng(0).integers(0, 2, (COUNT, 2))
LINES = [f"{file},{a},{2 * b - 1}" for file, (a, b) in zip(FILES, VALUES, strict=True)]


def files(lines=LINES, header="file,Hat,Scarf"):
    images = {file: jpeg(40, 40, seed) for seed, file in enumerate(FILES)}
    return {**images, "attributes.csv": "\n".join([header, *lines, ""]).encode()}


@pytest.mark.parametrize("packed", [None, "", "mine/", "a/b/"])
def test_load(tmp_path, packed):
    named = {f"{packed or ''}{name}": content for name, content in files().items()}
    root = write_folder(named, tmp_path / "mine") if packed is None else write_zip(named, tmp_path / "mine.zip")
    data = folder_attributes.load(root, "traits", ("Scarf", "Hat"))
    assert data.classes["traits"] == ("Scarf", "Hat") and len(data.classes["identity"]) == COUNT // 2
    found = dict(zip((s.name for s in data.samples), arrays(data, None)[1]["traits"], strict=True))
    for file, values in zip(FILES, VALUES, strict=True):
        assert tuple(found[file]) == tuple(values[::-1])
    assert data.facts["images"] == {"Scarf": VALUES[:, 1].sum(), "Hat": VALUES[:, 0].sum()}
    assert folder_attributes.load(root).classes["attributes"] == ("Hat", "Scarf")
    assert not data.skipped


def test_people_are_held_out(tmp_path):
    root = write_folder(files(), tmp_path)
    parts = [folder_attributes.load(root, split=split) for split in ("train", "validation", "test")]
    who = [{data.classes["identity"][s.person] for s in data.samples} for data in parts]
    assert sum(map(len, parts)) == COUNT and sum(map(len, who)) == len(set.union(*who)) == COUNT // 2
    assert list(parts[1].facts["parts"].values()) == list(map(len, parts))
    assert "one person in ten" in parts[0].facts["held_out"]


def test_own_test_images_and_their_copies(tmp_path):
    given = files([*LINES, "test/a.jpg,1,1", "test/b.jpg,0,1"])
    given |= {"test/a.jpg": jpeg(40, 40, 99), "test/b.jpg": given[FILES[0]]}
    data = folder_attributes.load(write_folder(given, tmp_path), split="test")
    assert [s.name for s in data.samples] == ["test/a.jpg"] and data.skipped == {
        "test image that is a training image too": 1
    }


def test_what_lacks_its_other_half_is_counted(tmp_path):
    root = write_folder(files([*LINES[1:], "gone.jpg,1,1"]), tmp_path)
    assert folder_attributes.load(root).skipped == {"image without a line": 1, "line without an image": 1}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, DataError, r"has no attributes\.csv: put a table there"),
        (files(header="image,Hat,Scarf"), DataError, "has the columns image, Hat, Scarf; give file, then each"),
        (files(header="file,Hat,Hat"), DataError, "give file, then each attribute once"),
        (files(["x.jpg,1"]), DataError, r"has 1 values for x\.jpg; give 2 values, each 1, 0 or -1"),
        (files(["x.jpg,1,maybe"]), DataError, r"has 'maybe' for x\.jpg"),
        (files([LINES[0], LINES[0]]), DataError, "has two lines for faces"),
        (files(["x.jpg,1,1"]), DataError, "names no image that is there"),
        ({"attributes.csv": b"file,\xff\n"}, DataError, "is not a CSV in UTF-8"),
    ],
)
def test_damaged_tables_are_said(tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        folder_attributes.load(write_folder(given, tmp_path) if given else tmp_path)


def test_an_unknown_attribute_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"attributes\.csv has no attribute Tie: use one of Hat, Scarf"):
        folder_attributes.load(write_folder(files(), tmp_path), names=("Tie",))
