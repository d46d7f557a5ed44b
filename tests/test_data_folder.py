"""The loader of one's own `folder/<class>/<image>`."""

from __future__ import annotations

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
    assert data.classes == {"gender": ("male", "female")} and not data.skipped
    images, gender = arrays(data, None, "gender")
    assert images.shape == (3, 20, 20, 3) and gender.tolist() == [1, 1, 0]


def test_classes_are_the_folders_sorted(tmp_path):
    data = folder.load(make(tmp_path, FILES, "folder"))
    assert data.classes == {"label": ("female", "male")}


def test_classes_may_be_given_in_order(tmp_path):
    data = folder.load(make(tmp_path, FILES, "folder"), classes=["unsure", "male", "female"])
    assert data.samples[0].labels == {"label": 2}


@pytest.mark.parametrize("options", [{"label": "gender"}, {"classes": ["male", "female"]}])
def test_folder_that_is_no_class_is_named(tmp_path, options):
    root = make(tmp_path, FILES | {"other/1.jpg": jpeg(20)}, "folder")
    with pytest.raises(DataError, match="has a folder other, which is none of the classes male, female"):
        folder.load(root, **options)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_outside_class_folders_are_counted(tmp_path, form, caplog):
    extra = {"loose.jpg": jpeg(8), "male/deep/1.jpg": jpeg(8), "male/notes.txt": b""}
    data = folder.load(make(tmp_path, FILES | extra, form))
    assert len(data) == 3 and data.skipped == {"not in a class folder": 2}
    assert "2 not in a class folder" in caplog.text


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=30))
def test_split_is_a_partition(tmp_path_factory, numbers):
    root = write_folder({f"a/{n}.jpg": b"" for n in numbers}, tmp_path_factory.mktemp("x"))
    parts = [{s.name for s in folder.load(root, split=split).samples} for split in ("train", "validation")]
    assert parts[0] | parts[1] == {f"a/{n}.jpg" for n in numbers} and not parts[0] & parts[1]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_damaged_image_is_refused_by_name_and_skipped_in_bulk(tmp_path, form):
    data = folder.load(make(tmp_path, FILES | {"female/1.jpg": jpeg(20)[:200]}, form))
    with pytest.raises(ImageError, match=r"female/1\.jpg"):
        data.samples[0].image()
    assert len(arrays(data, None)[0]) == 3


@pytest.mark.parametrize("files", [{}, {"1.jpg": jpeg(8)}, {"a/b/1.jpg": jpeg(8), "c/1.txt": b""}])
def test_wrong_layout_is_named(tmp_path, files):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="holds no <class>/<image>: put the images of each class into a folder"):
        folder.load(make(tmp_path, files, "folder"))


def test_missing_folder_and_damaged_zip_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist: give a folder of class folders"):
        folder.load(tmp_path / "nowhere")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"bad\.zip is not a readable zip"):
        folder.load(tmp_path / "bad.zip")


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'test' is unknown"):
        folder.load(make(tmp_path, FILES, "folder"), split="test")
