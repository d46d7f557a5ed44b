"""LFW's loader, gender lists and the identity attack's split, on fake sets in the official layout."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import FORMS, encoded, picture, place, write_folder

from privzoo.data import arrays, lfw
from privzoo.errors import DataError, ImageError

COUNTS = {"Ann_B": 7, "Bob": 5, "Carl_O'Hara": 5, "Di": 2, "Ed": 1}
FEMALE = {"Ann_B", "Di"}


def frame(side: int = 144) -> bytes:
    return encoded(picture(side)[:, :, 0])


@pytest.fixture(scope="module")
def files():
    image = frame()
    return {f"{who}/{who}_{n:04}.jpg": image for who, count in COUNTS.items() for n in range(1, count + 1)}


@pytest.fixture(scope="module")
def lists(files):
    """Di_0002 is in neither list, Ed_0001 in both; one entry names no file."""
    names = [name.split("/")[1] for name in files if not name.endswith("Di_0002.jpg")]
    female = [name for name in names if name.rsplit("_", 1)[0] in FEMALE] + ["Bob_0001", "Ed_0001.jpg"]
    male = [name for name in names if name.rsplit("_", 1)[0] not in FEMALE]
    return {
        "lfw_gender/male_names.txt": "\n".join(male).encode(),
        "lfw_gender/female_names.txt": "\r\n".join([*female, ""]).encode(),
    }


@pytest.mark.parametrize("form", FORMS)
def test_load(tmp_path, files, lists, form, caplog):
    root = place(files, tmp_path, form, "lfw")
    write_folder(lists, tmp_path)
    data = lfw.load(root)
    assert data.skipped == {"without one gender label": 2} and "2 without one gender label" in caplog.text
    assert data.classes == {"gender": ("male", "female"), "identity": tuple(sorted(COUNTS))}
    assert len(data) == 18
    for sample in data.samples:
        person = sample.name.split("/")[1]
        assert data.classes["identity"][sample.labels["identity"]] == person
        assert sample.labels["gender"] == int(person in FEMALE)
        assert sample.name == f"lfw/{person}/{sample.name.split('/')[2]}"
    images, labels = arrays(data, None)
    assert images.shape == (18, 122, 122, 3) and set(labels) == {"gender", "identity"}


@pytest.mark.parametrize("form", ["folder", "bare zip"])
def test_gender_lists_may_lie_inside(tmp_path, files, lists, form):
    assert len(lfw.load(place(files | lists, tmp_path, form, "lfw"))) == 18


@pytest.mark.parametrize("form", FORMS)
def test_missing_gender_lists_are_named(tmp_path, files, form):
    root = place(files, tmp_path, form, "lfw")
    with pytest.raises(DataError, match=r"has no gender lists: put male_names\.txt and female_names\.txt"):
        lfw.load(root)
    data = lfw.load(root, gender=False)
    assert len(data) == 20 and not data.skipped
    assert set(data.classes) == set(data.samples[0].labels) == {"identity"}


def test_one_gender_list_is_not_enough(tmp_path, files, lists):
    root = place(files, tmp_path, "parent", "lfw")
    write_folder({"lfw_gender/male_names.txt": lists["lfw_gender/male_names.txt"]}, tmp_path)
    with pytest.raises(DataError, match="has no gender lists"):
        lfw.load(root)


@pytest.mark.parametrize("side", [122, 123, 144, 250])
def test_chip_is_the_centre_of_the_frame(side):
    image = picture(side)
    top = (side - 122) // 2
    assert (lfw.centre(image) == image[top : top + 122, top : top + 122]).all()


def test_chip_of_the_official_frame_is_that_of_its_centre():
    image = picture(250)
    assert (lfw.centre(image) == lfw.centre(image[53 : 53 + 144, 53 : 53 + 144])).all()


def test_small_frame_is_refused_by_name_and_skipped_in_bulk(tmp_path):
    write_folder({"lfw/A/A_0001.jpg": frame(121), "lfw/A/A_0002.jpg": frame(122)}, tmp_path)
    data = lfw.load(tmp_path, gender=False)
    with pytest.raises(ImageError, match=r"A_0001\.jpg: An LFW frame has 121x121 pixels"):
        data.samples[0].image()
    assert len(arrays(data, 32)[0]) == 1


def test_whole_frame_on_request(tmp_path, files):
    data = lfw.load(place(files, tmp_path, "folder", "lfw"), chip=False, gender=False)
    assert data.samples[0].image().shape == (144, 144, 3)


@pytest.mark.parametrize("folder", lfw.FOLDERS)
def test_names_of_the_official_folders(tmp_path, folder):
    write_folder({f"{folder}/A/A_0001.jpg": frame()}, tmp_path)
    assert len(lfw.load(tmp_path, gender=False)) == 1


def test_folder_without_lfw_is_refused(tmp_path):
    write_folder({"A/B_0001.jpg": frame(), "A_0001.jpg": frame()}, tmp_path)
    with pytest.raises(DataError, match=r"holds no <Person>/<Person>_NNNN\.jpg"):
        lfw.load(tmp_path)
    with pytest.raises(DataError, match=r"holds no <Person>/<Person>_NNNN\.jpg"):
        lfw.lfw100(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_identity_attack(tmp_path, files, lists, form):
    root = place(files, tmp_path, form, "lfw")
    write_folder(lists, tmp_path)
    train, test = lfw.lfw100(root, people=3, images=6)
    assert train.classes["identity"] == test.classes["identity"] == ("Ann_B", "Bob", "Carl_O'Hara")
    numbers = [(s.labels["identity"], int(s.name[-8:-4])) for s in test.samples]
    assert numbers == [(0, 3), (0, 6), (1, 3), (2, 3)]
    numbers = [(s.labels["identity"], int(s.name[-8:-4])) for s in train.samples]
    assert numbers == [(0, 1), (0, 2), (0, 4), (0, 5), *((who, n) for who in (1, 2) for n in (1, 2, 4, 5))]
    assert {s.labels["gender"] for s in train.samples} == {0, 1}
    assert test.samples[0].image().shape == (122, 122, 3)


def test_identity_attack_needs_no_gender_lists(tmp_path, files):
    train, _ = lfw.lfw100(place(files, tmp_path, "zip", "lfw"), people=2)
    assert set(train.samples[0].labels) == set(train.classes) == {"identity"}


def test_identity_attack_with_too_few_people_is_refused(tmp_path, files):
    with pytest.raises(DataError, match="holds 5 people and 100 are wanted"):
        lfw.lfw100(place(files, tmp_path, "folder", "lfw"))


def test_identity_numbers_are_whole(tmp_path, files):
    train, _ = lfw.lfw100(place(files, tmp_path, "folder", "lfw"), people=3)
    assert arrays(train, 16, "identity")[1].dtype == np.int64
