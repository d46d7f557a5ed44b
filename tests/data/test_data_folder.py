"""The loader of one's own `folder/<class>/<image>`."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import encoded, jpeg, picture, write_folder, write_zip
from hypothesis import given
from hypothesis import strategies as st

from privzoo.data import arrays, folder
from privzoo.errors import ConfigError, DataError, ImageError

FILES = {
    "male/1.jpg": jpeg(20),
    "female/2.png": encoded(picture(20, seed=1), "PNG"),
    "female/3.JPG": jpeg(20),
}


def make(tmp_path, files, form):
    if form == "folder":
        return write_folder(files, tmp_path / "mine")
    if form == "zip of the folder":
        packed = {f"mine/{name}": content for name, content in files.items()} | {"mine/README.txt": b""}
        return write_zip(packed, tmp_path / "mine.zip")
    return write_zip(files, tmp_path / "male.zip")


@pytest.mark.parametrize("form", ["folder", "zip", "zip of the folder"])
def test_load(tmp_path, form):
    data = folder.load(make(tmp_path, FILES, form), label="gender")
    assert [(s.name, s.labels) for s in data.samples] == [
        ("female/2.png", {"gender": 1}),
        ("female/3.JPG", {"gender": 1}),
        ("male/1.jpg", {"gender": 0}),
    ]
    assert data.classes == {"gender": ("male", "female")}
    assert data.skipped == ({"no image by its name": 1} if form == "zip of the folder" else {})
    images, gender = arrays(data, None, "gender")
    assert images.shape == (3, 20, 20, 3) and gender.tolist() == [1, 1, 0]


def test_classes_are_the_folders_sorted(tmp_path):
    data = folder.load(make(tmp_path, FILES, "folder"))
    assert data.classes == {"label": ("female", "male")}


def test_classes_may_be_given_in_order(tmp_path):
    data = folder.load(make(tmp_path, FILES, "folder"), classes=["male", "female"])
    assert data.samples[0].labels == {"label": 1}


def test_a_class_without_images_is_named(tmp_path):
    root = make(tmp_path, FILES | {"unsure/notes.txt": b""}, "folder")
    with pytest.raises(DataError, match="no image of the class unsure: put some into a folder unsure"):
        folder.load(root, classes=["unsure", "male", "female"])


def test_classes_may_have_any_names(tmp_path):
    names = ["-x", "with spaces", "ein\u00e9", "眼鏡", "a,b"]
    # As macOS stores the accent: apart from its letter.
    root = make(tmp_path, {f"{name.replace(chr(233), 'e' + chr(0x301))}/1.jpg": jpeg(8) for name in names}, "folder")
    data = folder.load(root, classes=names)
    assert sorted(s.labels["label"] for s in data.samples) == [0, 1, 2, 3, 4]
    assert data.facts["images"] == dict.fromkeys(names, 1)


@pytest.mark.parametrize("options", [{"label": "gender"}, {"classes": ["male", "female"]}])
def test_folder_that_is_no_class_is_named(tmp_path, options):
    root = make(tmp_path, FILES | {"other/1.jpg": jpeg(20)}, "folder")
    with pytest.raises(DataError, match="has a folder other, which is not one of the classes male, female"):
        folder.load(root, **options)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_outside_class_folders_are_counted(tmp_path, form, caplog):
    extra = {"loose.jpg": jpeg(8), "male/deep/1.jpg": jpeg(8), "male/notes.txt": b""}
    data = folder.load(make(tmp_path, FILES | extra, form))
    assert len(data) == 3 and data.skipped == {"not in a class folder": 2, "no image by its name": 1}
    assert "2 not in a class folder" in caplog.text


def test_hidden_files_are_counted(tmp_path):
    extra = {".git/a.jpg": jpeg(8), "male/._1.jpg": b"", "male/Thumbs.db": b"", ".DS_Store": b""}
    data = folder.load(make(tmp_path, FILES | extra, "folder"))
    assert len(data) == 3 and data.skipped == {"hidden": 4}


def test_images_of_all_modes_and_shapes(tmp_path):
    rgba = np.dstack([picture(30, 20), np.full((20, 30), 255, np.uint8)])
    files = {
        "a/1.png": encoded(picture(30, 20)[..., 0], "PNG"),
        "a/2.png": encoded(rgba, "PNG"),
        "b/3.jpg": jpeg(9, 50),
    }
    images, _ = arrays(folder.load(make(tmp_path, files, "folder")), 16)
    assert images.shape == (3, 16, 16, 3)


@given(st.sets(st.integers(0, 10**6), min_size=3, max_size=30))
def test_split_is_a_partition(tmp_path_factory, numbers):
    root = write_folder({f"a/{n}.jpg": str(n).encode() for n in numbers}, tmp_path_factory.mktemp("x"))
    parts = [[s.name for s in folder.load(root, split=split).samples] for split in ("train", "validation", "test")]
    assert all(parts) and sorted(sum(parts, [])) == sorted(f"a/{n}.jpg" for n in numbers)


SIXTY = {f"{name}/{i}.jpg": jpeg(8, seed=i + 100 * (name == "b")) for name in "ab" for i in range(30)}


@pytest.mark.parametrize("layout", ["beside the classes", "beside train", "train is given", "zip"])
def test_a_folder_of_test_images_is_the_test_part(tmp_path, layout):
    own = {"test/a/x.jpg": jpeg(8, seed=300), "test/b/y.jpg": jpeg(8, seed=301)}
    inner = "" if layout == "beside the classes" else "train/"
    files = {inner + name: content for name, content in SIXTY.items()} | own
    root = make(tmp_path, files, "zip" if layout == "zip" else "folder")
    root = root / "train" if layout == "train is given" else root
    parts = {split: folder.load(root, split=split) for split in ("train", "validation", "test", "all")}
    assert [s.name for s in parts["test"].samples] == ["test/a/x.jpg", "test/b/y.jpg"]
    assert len(parts["train"]) + len(parts["validation"]) == 60 and len(parts["all"]) == 62
    assert parts["test"].facts["held_out"] == "the folder test"
    # Where the classes lie decides nothing.
    flat = folder.load(write_folder(SIXTY | own, tmp_path / "flat"), split="validation")
    assert [s.name.removeprefix("train/") for s in parts["validation"].samples] == [s.name for s in flat.samples]


def test_test_may_be_a_class(tmp_path):
    data = folder.load(make(tmp_path, {"test/1.jpg": jpeg(8), "train/2.jpg": jpeg(8)}, "folder"))
    assert data.classes == {"label": ("test", "train")}


def test_test_images_that_are_trained_on_are_left_out(tmp_path):
    own = {"test/a/new.jpg": jpeg(8, seed=300), "test/a/copy.jpg": SIXTY["a/7.jpg"]}
    data = folder.load(make(tmp_path, SIXTY | own, "folder"), split="test")
    assert [s.name for s in data.samples] == ["test/a/new.jpg"]
    assert data.skipped == {"test image that is a training image too": 1}


def test_test_images_that_are_all_trained_on_are_called_copies(tmp_path):
    own = {"test/a/copy.jpg": SIXTY["a/7.jpg"], "test/b/copy.jpg": SIXTY["b/1.jpg"]}
    root = make(tmp_path, SIXTY | own, "folder")
    with pytest.raises(DataError, match="holds 2 test images, all of which are copies of training or validation"):
        folder.load(root, split="test")
    assert len(folder.load(root, split="train")) + len(folder.load(root, split="validation")) == 60


def test_what_the_card_tells(tmp_path):
    facts = folder.load(make(tmp_path, SIXTY, "folder"), split="train").facts
    assert facts["folder"] == "mine" and facts["images"] == {"a": 30, "b": 30} and facts["people"] == 0
    assert sum(facts["parts"].values()) == 60 and all(facts["parts"].values())
    before = facts["seen"]
    assert folder.load(tmp_path / "mine", split="test").facts["seen"] == before
    write_folder({f"a/new{i}.jpg": jpeg(8, seed=400 + i) for i in range(9)}, tmp_path / "mine")
    assert folder.load(tmp_path / "mine", split="test").facts["seen"] != before


@pytest.mark.parametrize(("split", "words"), [("validation", "monitor training"), ("test", "measure on")])
def test_too_few_images_are_named(tmp_path, split, words):
    root = make(tmp_path, FILES, "folder")
    assert len(folder.load(root, split="train")) == 3
    with pytest.raises(DataError, match=f"holds 3 images, of which none is left to {words}: give each class 3 or more"):
        folder.load(root, split=split)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_damaged_image_is_refused_by_name_and_skipped_in_bulk(tmp_path, form):
    data = folder.load(make(tmp_path, FILES | {"female/1.jpg": jpeg(20)[:200]}, form))
    with pytest.raises(ImageError, match=r"female/1\.jpg"):
        data.samples[0].image()
    assert len(arrays(data, None)[0]) == 3


@pytest.mark.parametrize("files", [{}, {"1.jpg": jpeg(8)}, {"a/b/1.jpg": jpeg(8), "c/1.txt": b""}])
def test_wrong_layout_is_named(tmp_path, files):
    (tmp_path / "mine").mkdir()
    with pytest.raises(
        DataError, match="holds no <class>/<image>: put the images of each class into a separate folder"
    ):
        folder.load(make(tmp_path, files, "folder"))


def test_missing_folder_and_damaged_zip_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist: give a folder of class folders"):
        folder.load(tmp_path / "nowhere")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"bad\.zip is not a readable zip"):
        folder.load(tmp_path / "bad.zip")


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'dev' is unknown"):
        folder.load(make(tmp_path, FILES, "folder"), split="dev")
