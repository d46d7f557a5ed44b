"""Files of a data set, from a folder or a zip: names, reading, and what is said when something is wrong."""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from data_fakes import FORMS, place, write_folder, write_zip

from privzoo.data.files import Folder, Zip, is_image, open_files, read_list
from privzoo.errors import DataError, ImageError

FILES = {"a/1.jpg": b"one", "a/2.jpg": b"two", "b.txt": b"three"}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_files(tmp_path, form):
    files = open_files(place(FILES, tmp_path, form, "Faces"), ["Faces"])
    assert files.names() == sorted(FILES)
    assert {name: files.read(name) for name in files.names()} == FILES
    with files.open("b.txt") as stream:
        assert stream.read() == b"three"


def test_names_leave_out_litter(tmp_path):
    litter = {"__MACOSX/a/._1.jpg": b"", "a/.DS_Store": b"", "a/Thumbs.db": b"", "a/._1.jpg": b""}
    assert Zip(write_zip(FILES | litter, tmp_path / "x.zip")).names() == sorted(FILES)
    assert Folder(write_folder(FILES | litter, tmp_path / "x")).names()[-3:] == sorted(FILES)


def test_official_folder_is_found_deeper_in_a_zip(tmp_path):
    nested = {f"archive/UTKFACE/{name}": content for name, content in FILES.items()} | {"README": b""}
    assert open_files(write_zip(nested, tmp_path / "x.zip"), ["UTKFace"]).names() == sorted(FILES)


def test_outermost_official_folder_of_a_zip_wins(tmp_path):
    files = write_zip({"lfw/lfw/1.jpg": b"", "lfw/2.jpg": b""}, tmp_path / "x.zip")
    assert open_files(files, ["lfw"]).names() == ["2.jpg", "lfw/1.jpg"]


def test_folder_is_preferred_to_zip(tmp_path):
    write_zip({"Faces/packed.jpg": b""}, tmp_path / "faces.zip")
    write_folder({"Faces/unpacked.jpg": b""}, tmp_path)
    assert open_files(tmp_path, ["Faces"]).names() == ["unpacked.jpg"]


def test_links_are_followed(tmp_path):
    write_folder(FILES, tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "Faces").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert open_files(tmp_path / "root", ["Faces"]).names() == sorted(FILES)


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(write_folder(FILES, tmp_path)))
    assert open_files("~", ["Faces"]).names() == sorted(FILES)


def test_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist: give the folder Faces"):
        open_files(tmp_path / "nowhere", ["Faces"])


def test_file_that_is_no_zip_is_named(tmp_path):
    path = tmp_path / "faces.zip"
    path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match=r"faces\.zip is not a readable zip"):
        open_files(path, ["Faces"])


def test_folder_that_may_not_be_read_is_named():
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders lie in one that only root may enter
        os.chmod(folder, 0)
        try:
            if root:  # who may read every folder
                os.seteuid(65534)
            with pytest.raises(DataError, match="check its permissions"):
                open_files(folder, ["Faces"])
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o700)


@pytest.mark.parametrize("make", [lambda path: Folder(path), lambda path: Zip(write_zip(FILES, path / "x.zip"))])
def test_file_that_is_not_there_is_named(tmp_path, make):
    files = make(tmp_path)
    with pytest.raises(ImageError, match=r"a/9\.jpg cannot be read"):
        files.read("a/9.jpg")
    with pytest.raises(DataError, match=r"a/9\.jpg cannot be read"):
        files.open("a/9.jpg")
    with pytest.raises(DataError, match=r"a/9\.jpg cannot be read"):
        read_list(files, "a/9.jpg")


def test_damaged_entry_of_a_zip_is_named_and_others_are_read(tmp_path):
    path = write_zip(FILES, tmp_path / "x.zip")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"one", b"0ne", 1))
    files = Zip(path)
    with pytest.raises(ImageError, match=r"a/1\.jpg cannot be read \(Bad CRC-32"):
        files.read("a/1.jpg")
    assert files.read("a/2.jpg") == b"two"


def test_zip_is_opened_once(tmp_path, monkeypatch):
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args: opened.append(args) or real(*args))
    write = tmp_path / "x.zip"
    with real(write, "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}.jpg", b"x")
    files = Zip(write)
    assert [files.read(name) for name in files.names()] == [b"x"] * 50
    assert len(opened) == 1


def test_zip_is_opened_again_in_another_process(tmp_path, monkeypatch):
    files = Zip(write_zip(FILES, tmp_path / "x.zip"))
    before = files._open()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert files._open() is not before
    assert files.read("a/1.jpg") == b"one"


def test_files_can_be_pickled(tmp_path):
    files = open_files(place(FILES, tmp_path, "zip", "Faces"), ["Faces"])
    files.read("a/1.jpg")
    copy = pickle.loads(pickle.dumps(files))
    assert (str(copy), copy.read("a/1.jpg")) == (str(files), b"one")


def test_zip_is_read_by_several_threads(tmp_path):
    contents = {f"{number}.jpg": bytes([number]) * 5000 for number in range(100)}
    files = Zip(write_zip(contents, tmp_path / "x.zip"))
    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(contents, pool.map(files.read, contents), strict=True)) == contents


def test_messages_show_where_files_lie(tmp_path):
    assert str(Folder(tmp_path)) == str(tmp_path)
    assert str(Zip(tmp_path / "x.zip", "Faces/")) == str(tmp_path / "x.zip" / "Faces")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True),
        ("a.JPEG", True),
        ("a.jpg.chip.jpg", True),
        ("a.txt", False),
        ("jpg", False),
        ("", False),
    ],
)
def test_is_image(name, expected):
    assert is_image(name) is expected
    assert is_image(str(Path("folder") / name)) is expected
