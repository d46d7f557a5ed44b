"""LFW's attributes: both forms of the table, the split by people, what is damaged or missing."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import FORMS, jpeg, place, write_folder, write_zip

from privzoo.data import arrays, lfw_attributes
from privzoo.data.attributes import chosen
from privzoo.errors import ConfigError, DataError

PEOPLE = [f"{first}_{last}" for first in ("Ann", "Bob", "Cy", "Di", "Ed") for last in ("Low", "May", "Nye", "Orr")]
IMAGES = [f"{person}/{person}_{number:04}.jpg" for person in PEOPLE for number in (1, 2)]
SCORES = np.random.default_rng(0).normal(size=(len(IMAGES), 3)).round(3)
CSV = "image,Male,Brown_Hair,Bald\n" + "".join(
    f"{image},{','.join(map(str, row))}\n" for image, row in zip(IMAGES, SCORES, strict=True)
)
TXT = "#lfw_attributes.txt - a comment\n#\tperson\timagenum\tMale\tBrown Hair\tBald\n" + "".join(
    f"{image.split('/')[0].replace('_', ' ')}\t{int(image[-8:-4])}\t" + "\t".join(map(str, row)) + "\n"
    for image, row in zip(IMAGES, SCORES, strict=True)
)


@pytest.fixture(scope="module")
def images():
    return {image: jpeg(144, 144, seed) for seed, image in enumerate(IMAGES)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "table"), [("lfw_attributes.csv", CSV), ("lfw_attributes.txt", TXT)])
def test_load(tmp_path, images, form, name, table):
    data = lfw_attributes.load(place({**images, name: table.encode()}, tmp_path, form, "lfw"))
    assert [sample.name for sample in data.samples] == [f"lfw/{image}" for image in IMAGES]
    assert data.classes == {"attributes": ("Male", "Brown_Hair", "Bald"), "identity": tuple(sorted(PEOPLE))}
    chips, labels = arrays(data, None)
    assert chips.shape == (len(IMAGES), 122, 122, 3)
    np.testing.assert_array_equal(labels["attributes"], SCORES > 0)
    assert [data.classes["identity"][k] for k in labels["identity"]] == [image.split("/")[0] for image in IMAGES]
    assert not data.skipped


def test_the_table_may_be_next_to_the_images(tmp_path, images):
    write_zip({f"lfw/{name}": content for name, content in images.items()}, tmp_path / "lfw.zip")
    write_folder({"lfw_attributes.csv": CSV.encode()}, tmp_path)
    for root in (tmp_path, tmp_path / "lfw.zip"):
        assert len(lfw_attributes.load(root, chip=False)) == len(IMAGES)


def test_nobody_is_in_two_parts(tmp_path, images):
    root = place({**images, "lfw_attributes.csv": CSV.encode()}, tmp_path, "folder", "lfw")
    parts = [{s.name.split("/")[1] for s in lfw_attributes.load(root, split).samples} for split in ("train", "test")]
    parts.append({s.name.split("/")[1] for s in lfw_attributes.load(root, "validation").samples})
    assert set.union(*parts) == set(PEOPLE) and sum(map(len, parts)) == len(PEOPLE)


def test_what_is_damaged_or_missing_is_skipped(tmp_path, images):
    rows = CSV.splitlines()
    rows[1], rows[2] = rows[1].rpartition(",")[0], rows[2].replace(rows[2].split(",")[1], "much")
    rows.append("Eve_Low/Eve_Low_0001.jpg,1,1,1")
    files = {**images, "lfw_attributes.csv": "\n".join(rows).encode()}
    data = lfw_attributes.load(place(files, tmp_path, "zip", "lfw"))
    assert data.skipped == {"damaged line": 2, "image missing": 1} and len(data) == len(IMAGES) - 2


def test_a_missing_or_strange_table_is_said(tmp_path, images):
    root = place(dict(images), tmp_path, "folder", "lfw")
    with pytest.raises(DataError, match=r"has no lfw_attributes\.csv inside it or next to it"):
        lfw_attributes.load(root)
    write_folder({"lfw_attributes.csv": b"file,Male\nx,1\n"}, tmp_path)
    with pytest.raises(DataError, match=r"has the columns file, Male, \.\.\.: it must begin with image\."):
        lfw_attributes.load(root)
    write_folder({"lfw_attributes.csv": b"image,Male\nEve_Low/Eve_Low_0001.jpg,1\n"}, tmp_path)
    with pytest.raises(DataError, match="holds no image of the split all"):
        lfw_attributes.load(root)
    with pytest.raises(ConfigError, match="split 'half' is unknown"):
        lfw_attributes.load(root, "half")


def test_some_attributes_in_another_order(tmp_path, images):
    data = lfw_attributes.load(place({**images, "lfw_attributes.csv": CSV.encode()}, tmp_path, "folder", "lfw"))
    some = chosen(data, ("Bald", "Male"))
    assert some.classes["attributes"] == ("Bald", "Male")
    np.testing.assert_array_equal([sample.labels["attributes"] for sample in some.samples], SCORES[:, [2, 0]] > 0)
    assert chosen(data, ("Male", "Brown_Hair", "Bald")) is data
    with pytest.raises(ConfigError, match="has no attribute Nice: use one of Male, Brown_Hair, Bald"):
        chosen(data, ("Nice",))
    with pytest.raises(ConfigError, match="lfw_attributes has no attributes: it has identity"):
        chosen(type(data)(data.name, [], {"identity": ()}), ("Male",))
