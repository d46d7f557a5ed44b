"""CelebA's loader, on fake sets in the official layouts."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import FORMS, jpeg, picture, place, write_folder, write_zip

from privzoo.data import arrays, celeba
from privzoo.errors import ConfigError, DataError, ImageError

COUNT = 12
NAMES = [f"{number:06}.jpg" for number in range(1, COUNT + 1)]
PART = {name: number % 3 for number, name in enumerate(NAMES)}
PERSON = {name: 7 + 100 * (number // 2) for number, name in enumerate(NAMES)}
MALE = {name: number % 4 == 0 for number, name in enumerate(NAMES)}
SMILING = {name: number % 2 == 0 for number, name in enumerate(NAMES)}


def line(name: str) -> str:
    return f"{name} {1 if MALE[name] else -1:2}  1 {1 if SMILING[name] else -1:2}"


@pytest.fixture(scope="module")
def lists():
    return {
        "list_attr_celeba.txt": "\r\n".join([str(COUNT), "Male Young Smiling ", *map(line, NAMES), ""]).encode(),
        "identity_CelebA.txt": "".join(f"{name} {PERSON[name]}\n" for name in NAMES).encode(),
        "list_eval_partition.txt": "".join(f"{name} {PART[name]}\n" for name in NAMES).encode(),
    }


@pytest.fixture(scope="module")
def images():
    return {f"img_align_celeba/{name}": jpeg(178, 218, seed) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def official(lists, images):
    folders = {
        "list_attr_celeba.txt": "Anno",
        "identity_CelebA.txt": "Anno",
        "list_eval_partition.txt": "Eval",
    }
    return {f"{folders[name]}/{name}": content for name, content in lists.items()} | {
        f"Img/{name}": content for name, content in images.items()
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["official", "flat"])
def test_load(tmp_path, lists, images, official, form, layout):
    files = official if layout == "official" else lists | images
    root = place(files, tmp_path, form, "CelebA")
    data = celeba.load(root, split="all", attributes=["Smiling"])
    assert [s.name for s in data.samples] == [f"img_align_celeba/{name}" for name in NAMES]
    assert data.classes["gender"] == ("male", "female") and data.classes["Smiling"] == ("no", "yes")
    for name, sample in zip(NAMES, data.samples, strict=True):
        assert sample.labels["gender"] == int(not MALE[name])
        assert sample.labels["Smiling"] == int(SMILING[name])
        assert data.classes["identity"][sample.labels["identity"]] == str(PERSON[name])
    chips, labels = arrays(data, None)
    assert chips.shape == (COUNT, 97, 97, 3) and set(labels) == {"attributes", "gender", "Smiling", "identity"}
    assert not data.skipped


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_splits_are_those_of_the_partition(tmp_path, official, form):
    root = place(official, tmp_path, form, "CelebA")
    for number, split in enumerate(("train", "validation", "test")):
        names = [s.name.split("/")[1] for s in celeba.load(root, split).samples]
        assert names == [name for name in NAMES if PART[name] == number]


def test_images_may_still_be_packed(tmp_path, lists, images):
    write_folder({f"celeba/{name}": content for name, content in lists.items()}, tmp_path)
    write_zip(images, tmp_path / "celeba" / "img_align_celeba.zip")
    data = celeba.load(tmp_path, split="all")
    assert len(arrays(data, 32)[0]) == COUNT


def test_identities_are_numbered_alike_in_every_split(tmp_path, official):
    root = place(official, tmp_path, "folder", "CelebA")
    assert celeba.load(root, "train").classes == celeba.load(root, "test").classes
    assert celeba.load(root).classes["identity"] == tuple(str(7 + 100 * n) for n in range(COUNT // 2))


def test_chip_frames_the_face_as_utkface_does():
    image = picture(178, 218)
    assert (celeba.cut_chip(image) == image[84 : 84 + 97, 40 : 40 + 97]).all()
    # Eyes and mouth of the aligned images, against their measured places in UTKFace's mean chip.
    side, x, y = celeba.CHIP.size, celeba.CHIP.x, celeba.CHIP.y
    np.testing.assert_allclose([(69 - x) / side, (108 - x) / side], [0.30, 0.70], atol=0.02)
    np.testing.assert_allclose([(111 - y) / side, (152 - y) / side], [0.28, 0.71], atol=0.02)


def test_image_that_is_not_aligned_is_refused_by_name_and_skipped_in_bulk(tmp_path, official):
    files = official | {f"Img/img_align_celeba/{NAMES[0]}": jpeg(200, 150)}
    data = celeba.load(place(files, tmp_path, "folder", "CelebA"), split="all")
    with pytest.raises(ImageError, match=r"000001\.jpg: A CelebA image has 200x150 pixels: use the aligned"):
        data.samples[0].image()
    assert len(arrays(data, 16)[0]) == COUNT - 1


def test_whole_image_on_request(tmp_path, official):
    data = celeba.load(place(official, tmp_path, "folder", "CelebA"), chip=False)
    assert data.samples[0].image().shape == (218, 178, 3)


def test_missing_image_and_damaged_line_are_skipped_and_counted(tmp_path, official, caplog):
    files = dict(official)
    del files[f"Img/img_align_celeba/{NAMES[3]}"]
    bad = official["Anno/list_attr_celeba.txt"].decode().replace(line(NAMES[5]), f"{NAMES[5]} 1 1")
    bad = bad.replace(line(NAMES[6]), f"{NAMES[6]} 1 1 yes")
    files["Anno/list_attr_celeba.txt"] = bad.encode()
    data = celeba.load(place(files, tmp_path, "folder", "CelebA"), split="all")
    assert len(data) == COUNT - 3
    assert data.skipped == {"image missing": 1, "damaged line in list_attr_celeba.txt": 2}
    assert "3 files skipped" in caplog.text


def test_identities_are_optional(tmp_path, official):
    files = {name: content for name, content in official.items() if "identity" not in name}
    data = celeba.load(place(files, tmp_path, "folder", "CelebA"))
    assert set(data.classes) == set(data.samples[0].labels) == {"attributes", "gender"}


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("list_attr", r"has no list_attr_celeba\.txt; download it from CelebA's folder Anno"),
        ("list_eval", r'has no list_eval_partition\.txt: put it next to .*split="all"'),
        ("img_align", r"holds no images img_align_celeba/<number>\.jpg: unpack img_align_celeba\.zip there"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_missing_part_is_named(tmp_path, official, without, sentence, form):
    files = {name: content for name, content in official.items() if without not in name}
    with pytest.raises(DataError, match=sentence):
        celeba.load(place(files, tmp_path, form, "CelebA"))


def test_partition_is_not_needed_for_all(tmp_path, official):
    files = {name: content for name, content in official.items() if "list_eval" not in name}
    assert len(celeba.load(place(files, tmp_path, "folder", "CelebA"), split="all")) == COUNT


@pytest.mark.parametrize("content", [b"", b"12\n", b"12\nYoung Smiling\n", b"\xff\xfe\x00"])
def test_other_attribute_list_is_refused(tmp_path, official, content):
    files = official | {"Anno/list_attr_celeba.txt": content}
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt is not CelebA's list"):
        celeba.load(place(files, tmp_path, "folder", "CelebA"))


@pytest.mark.parametrize("content", [b"000001.jpg\n", b"000001.jpg x\n", b"a b c\n"])
@pytest.mark.parametrize("name", ["Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt"])
def test_other_list_of_pairs_is_refused(tmp_path, official, content, name):
    with pytest.raises(DataError, match="is not lines of <image> <number>"):
        celeba.load(place(official | {name: content}, tmp_path, "folder", "CelebA"))


def test_empty_split_is_named(tmp_path, official):
    files = official | {"Eval/list_eval_partition.txt": b"000001.jpg 0\n"}
    with pytest.raises(DataError, match="holds no image of the split test"):
        celeba.load(place(files, tmp_path, "folder", "CelebA"), split="test")


def test_unknown_attribute_and_split_are_refused(tmp_path, official):
    root = place(official, tmp_path, "folder", "CelebA")
    with pytest.raises(ConfigError, match="no attribute Happy: use one of Male, Young, Smiling"):
        celeba.load(root, attributes=["Smiling", "Happy"])
    with pytest.raises(ConfigError, match="'val' is unknown"):
        celeba.load(root, split="val")


def test_all_attributes_are_one_label(tmp_path, official):
    data = celeba.load(place(official, tmp_path, "folder", "CelebA"), split="all")
    assert data.classes["attributes"] == ("Male", "Young", "Smiling")
    _, labels = arrays(data, 32)
    np.testing.assert_array_equal(labels["attributes"], [[MALE[name], True, SMILING[name]] for name in NAMES])


def test_a_part_without_validation_images_gets_some_people(tmp_path, lists):
    people = 60
    names = [f"{number:06}.jpg" for number in range(people)]
    files = {
        "list_attr_celeba.txt": f"{people}\nMale\n{''.join(f'{name} 1{chr(10)}' for name in names)}".encode(),
        "identity_CelebA.txt": "".join(f"{name} {number // 2}\n" for number, name in enumerate(names)).encode(),
        "list_eval_partition.txt": "".join(f"{n} {2 * (k >= 50)}\n" for k, n in enumerate(names)).encode(),
    } | {f"img_align_celeba/{name}": b"" for name in names}
    root = place(files, tmp_path, "folder", "CelebA")
    found = {split: celeba.load(root, split) for split in ("train", "validation", "test")}
    who = {split: {data.classes["identity"][s.person] for s in data.samples} for split, data in found.items()}
    assert not who["train"] & who["validation"] and len(who["train"] | who["validation"]) == 25
    assert 0 < len(who["validation"]) < 8 and len(found["test"]) == 10
    (root / "identity_CelebA.txt").unlink()
    assert 0 < len(celeba.load(root, "validation")) < 15  # single images then


def test_square_images_are_chips_already(tmp_path, lists, images):
    files = lists | {name: jpeg(128, 128, 1) for name in images}
    data = celeba.load(place(files, tmp_path, "folder", "CelebA"), split="all")
    assert data.samples[0].image().shape == (128, 128, 3)
