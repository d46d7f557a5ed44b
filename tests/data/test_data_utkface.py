"""UTKFace's loader, on fake sets in the official layout."""

from __future__ import annotations

import pickle

import pytest
from data_fakes import FORMS, jpeg, place, write_folder
from hypothesis import given
from hypothesis import strategies as st

from privzoo.data import arrays, utkface
from privzoo.data.samples import in_validation
from privzoo.errors import ConfigError, DataError, PrivzooError

NAMES = [f"{age}_{age % 2}_{age % 5}_2017010917{age:04}.jpg.chip.jpg" for age in range(1, 41)]
MALFORMED = ["39_1_20170116174525125.jpg.chip.jpg", "61_1_20170109142408075.jpg.chip.jpg"]


@pytest.fixture(scope="module")
def files():
    return {name: jpeg(16, seed=seed) for seed, name in enumerate(NAMES)} | dict.fromkeys(MALFORMED, jpeg(16))


@given(st.integers(0, 116), st.integers(0, 1), st.integers(0, 4), st.from_regex(r"\A[0-9]{17}( |)\Z"))
def test_parse_reads_what_the_format_says(age, gender, race, date):
    labels = {"age": age, "gender": gender, "race": race}
    assert utkface.parse(f"{age}_{gender}_{race}_{date}.jpg.chip.jpg") == labels


@given(st.text() | st.from_regex(r"[0-9]*_[0-9]*_[0-9]*_[0-9]*\.jpg"))
def test_parse_takes_any_text_and_gives_possible_labels(file):
    labels = utkface.parse(file)
    if labels is not None:
        assert 0 <= labels["age"] <= 999 and labels["gender"] in (0, 1) and labels["race"] in range(5)
        assert file.count("_") == 3


@pytest.mark.parametrize(
    "file",
    [
        *MALFORMED,
        "",
        "a_b_c_d.jpg",
        "20_2_0_1.jpg",
        "20_1_5_1.jpg",
        "-1_1_0_1.jpg",
        "1_1_0_.x_y.jpg",
        "²_1_0_1.jpg",
        "9" * 5000 + "_1_0_1.jpg",
    ],
)
def test_parse_refuses_malformed_names(file):
    assert utkface.parse(file) is None


@pytest.mark.parametrize("form", FORMS)
def test_load(tmp_path, files, form, caplog):
    root = place(files, tmp_path, form, "UTKFace")
    data = utkface.load(root, split="all")
    assert [s.name for s in data.samples] == sorted(f"UTKFace/{name}" for name in NAMES)
    assert data.skipped == {"malformed file name": 2}
    assert "2 malformed file name" in caplog.text
    assert data.classes["gender"] == ("male", "female") and len(data.classes["race"]) == 5
    images, labels = arrays(data, None)
    assert images.shape == (40, 16, 16, 3)
    assert sorted(labels["age"]) == list(range(1, 41))
    assert (labels["gender"] == labels["age"] % 2).all() and (labels["race"] == labels["age"] % 5).all()


@pytest.mark.parametrize("form", FORMS)
def test_split_does_not_depend_on_where_the_files_lie(tmp_path, files, form):
    root = place(files, tmp_path, form, "UTKFace")
    train, validation = utkface.load(root), utkface.load(root, split="validation")
    assert [s.name for s in validation.samples] == sorted(
        f"UTKFace/{name}" for name in NAMES if in_validation(f"UTKFace/{name}")
    )
    assert 0 < len(validation) and len(train) + len(validation) == len(NAMES)


def test_sample_can_go_to_another_process(tmp_path, files):
    sample = utkface.load(place(files, tmp_path, "zip", "UTKFace"), split="all").samples[0]
    assert (pickle.loads(pickle.dumps(sample)).image() == sample.image()).all()


def test_other_files_beside_it_are_left_alone(tmp_path, files):
    write_folder({"README.txt": b"", "other/1_1_1_1.jpg": jpeg(8)}, tmp_path)
    assert len(utkface.load(write_folder(files, tmp_path), split="all")) == len(NAMES)


def test_folder_without_utkface_is_refused(tmp_path):
    write_folder({"lfw/A/A_0001.jpg": jpeg(8), "1.jpg": jpeg(8)}, tmp_path)
    with pytest.raises(DataError, match=r"holds no file named like UTKFace's: give .*<age>_<gender>") as caught:
        utkface.load(tmp_path)
    assert isinstance(caught.value, PrivzooError) and str(tmp_path) in str(caught.value)


def test_unknown_split_is_refused(tmp_path, files):
    with pytest.raises(ConfigError, match="'test' is unknown"):
        utkface.load(write_folder(files, tmp_path), split="test")
