"""Who is on one's own images."""

from __future__ import annotations

import pytest
from data_fakes import jpeg, write_folder, write_zip

from privzoo.data import folder
from privzoo.errors import DataError

FILES = {
    "a/anna__1.jpg": jpeg(8),
    "a/ben smith__07.png": jpeg(8, seed=1),
    "b/anna__2.jpg": jpeg(8, seed=2),
    "b/ben__x.jpg": jpeg(8, seed=3),
    "b/other.jpg": jpeg(8, seed=4),
}


def load(tmp_path, files, form="folder"):
    root = write_folder(files, tmp_path / "mine") if form == "folder" else write_zip(files, tmp_path / "mine.zip")
    data = folder.load(root)
    people = data.classes.get("identity", ())
    return {s.name: people[s.labels["identity"]] for s in data.samples if "identity" in s.labels}, data


def test_names_of_files(tmp_path):
    people, data = load(tmp_path, FILES)
    assert people == {"a/anna__1.jpg": "anna", "a/ben smith__07.png": "ben smith", "b/anna__2.jpg": "anna"}
    assert data.facts["people"] == 2


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_table_counts_alone(tmp_path, form):
    table = "\ufefffile,person\r\nb/other.jpg,carl\r\nb/anna__2.jpg,dora\r\nb/gone.jpg,x\r\na/anna__1.jpg,\r\n".encode()
    people, data = load(tmp_path, FILES | {"people.csv": table}, form)
    assert people == {"b/other.jpg": "carl", "b/anna__2.jpg": "dora"}
    assert data.skipped == {"line of people.csv that names no image": 1}


def test_the_table_may_leave_out_the_folder_train(tmp_path):
    files = {"train/a/1.jpg": jpeg(8), "train/b/1.jpg": jpeg(8), "people.csv": b"file,person\na/1.jpg,anna\n"}
    assert load(tmp_path, files)[0] == {"train/a/1.jpg": "anna"}


def test_nobody_is_known(tmp_path):
    people, data = load(tmp_path, {"a/1.jpg": jpeg(8)})
    assert not people and "identity" not in data.classes


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"name,who\na/1.jpg,x\n", "its first line must be file,person"),
        (b"", "its first line must be file,person"),
        (b"file,person\na/anna__1.jpg,x\na/anna__1.jpg,y\n", "gives a/anna__1.jpg two persons, x and y"),
        (b"file,person\na/anna__1.jpg,\xff\n", "not a CSV in UTF-8"),
        (b'file,person\n"a/anna__1.jpg,x\n', "not a CSV in UTF-8"),
    ],
)
def test_a_bad_table_is_named(tmp_path, table, words):
    with pytest.raises(DataError, match=words):
        load(tmp_path, FILES | {"people.csv": table})
