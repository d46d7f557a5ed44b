"""The identity attack on one's own people."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_zoo
from PIL import Image

import privzoo
from privzoo import config, measurement, weights
from privzoo.audit import model_audit, own, reconstruction_cells
from privzoo.audit.cells import Plan
from privzoo.audit.report import families
from privzoo.data import splits
from privzoo.errors import ConfigError, DataError
from privzoo.provenance import write_json

pytestmark = pytest.mark.training

NETWORK = dataclasses.replace(
    tiny_zoo.PARENT,
    name="mine",
    task="label",
    classes=("a", "b"),
    training=dataclasses.replace(tiny_zoo.PARENT.training, dataset="folder"),
)


def write(root, people, images=6, test=0, named="{person}__{number}.jpg"):
    """Own images, of each person in both classes; of the first `test` people as test images."""
    rng = np.random.default_rng(0)
    for i in range(people):
        base = rng.integers(0, 200, (4, 4, 3))
        for number in range(images):
            folder = root / ("test" if i < test else "train") / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            small = np.clip(base + rng.integers(0, 40, base.shape), 0, 255).astype(np.uint8)
            file = named.format(person=f"p{i:02d}", number=number)
            Image.fromarray(small).resize((tiny_zoo.SIZE, tiny_zoo.SIZE)).save(folder / file, quality=95)
    return root


def persons(faces):
    return sorted(np.unique(faces.labels["identity"], return_counts=True)[1].tolist())


def test_every_third_image_of_each_person_is_scored(tmp_path):
    train, test = own.people(NETWORK, write(tmp_path / "mine", 4, images=7), 24)
    assert persons(train) == [5] * 4 and persons(test) == [2] * 4
    assert not set(train.ids) & set(test.ids)
    assert test.name == "mine-people-test, trained on too"
    quick = own.people(NETWORK, tmp_path / "mine", 24, quick=True)
    assert [persons(side) for side in quick] == [[5] * 4, [1] * 4]


def test_people_of_the_test_part_are_taken_where_they_are_enough(tmp_path):
    sides = own.people(NETWORK, write(tmp_path / "mine", 14, test=10), 24)
    assert [len(persons(side)) for side in sides] == [10, 10] and sides[1].name == "mine-people-test"
    sides = own.people(NETWORK, write(tmp_path / "few", 14, test=9), 24)
    assert len(persons(sides[1])) == 14 and sides[1].name.endswith("trained on too")


def test_settings_are_chosen_on_others_where_there_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "MOST", 10)
    data = own.data_of(NETWORK, write(tmp_path / "mine", 22))
    measured, chosen = data.people(24), data.choosing(24)
    assert [len(persons(side)) for side in (*measured, *chosen)] == [10] * 4
    assert not {*measured[0].ids, *measured[1].ids} & {*chosen[0].ids, *chosen[1].ids}
    assert chosen[1].name == "mine-choosing-people-test, trained on too"
    few = own.data_of(NETWORK, write(tmp_path / "few", 19))
    assert few.choosing(24)[1].ids == few.people(24)[1].ids
    assert few.choosing(24)[1].name.endswith(", measured on too")


def test_a_photograph_that_is_there_twice_counts_once(tmp_path):
    root = write(tmp_path / "mine", 3)
    (root / "train" / "a" / "p00__99.jpg").write_bytes((root / "train" / "a" / "p00__0.jpg").read_bytes())
    train, test = own.people(NETWORK, root, 24)
    assert persons(train) == [4] * 3 and persons(test) == [2] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"people": 3, "named": "{person}-{number}.jpg"}, "shows 0 people in 6 images or more, and 0 in all"),
        ({"people": 3, "images": 5}, "shows 0 people in 6 images or more, and 3 in all"),
        ({"people": 1}, "name the files <person>__<number>.jpg, or list them in people.csv"),
    ],
)
def test_what_is_missing_is_said(tmp_path, options, words):
    with pytest.raises(DataError, match=words):
        own.people(NETWORK, write(tmp_path / "mine", **options), 24)


def test_test_data_follow_the_network(tmp_path):
    data = splits.test_set(NETWORK, write(tmp_path / "mine", 3, test=1))
    assert data.name == "mine-test" and len(data) == 6
    odd = dataclasses.replace(tiny_zoo.PARENT, task="race")
    with pytest.raises(ConfigError, match="learns 'race' from utkface, for which there are no test data"):
        splits.test_set(odd, tmp_path)


@pytest.fixture
def zoo(tmp_path):
    """A zoo with a network of one's own beside another, and a model of each."""
    with tiny_zoo.installed(tmp_path / "zoo") as folder:
        released = dataclasses.replace(NETWORK, weights=config.network(tiny_zoo.PARENT.name).weights)
        config.write(released, folder / "networks" / "mine.yaml")
        for name, network in (("mine_simple_conv5", "mine"), ("vgg_s_tiny_simple_conv5", tiny_zoo.PARENT.name)):
            model = dataclasses.replace(tiny_zoo.model("simple"), name=name, network=network)
            config.write(model, folder / "models" / f"{name}.yaml")
        tiny_zoo.forget()
        yield folder


def test_models_are_attacked_on_own_people(tmp_path, zoo):
    model = privzoo.load("mine_simple_conv5")
    root = write(tmp_path / "mine", 5, images=9)
    data = own.data_of(model.card.network, root)
    plan = Plan(tmp_path / "cache", (1,), (1,), ("lda",), deep="none")
    assert not model_audit.too_weak(model_audit.measure(model_audit.yardstick(data, plan), plan, "local", False))
    [view] = model_audit.views(model, ["float"], plan.cache)
    figures = model_audit.measure(model_audit.attacks(model, view, data, plan), plan, "local", False)
    assert {f["attack"] for f in figures} == {"identity", "rank"}  # no other attribute is known
    assert {f["data"] for f in figures} == {"mine-people-test, trained on too"}
    chance = [f["value"] for f in figures if f["feature"] == "chance" and f["metric"] == "top-1"]
    assert chance == [0.2]
    assert {"label", "logit"} <= {f["feature"] for f in figures}
    written = model_audit.document(model, figures, "command", False)
    measurement.write(model.name, model_audit.measurements(written))
    assert privzoo.show(model.name).identity_attack().data == "mine-people-test, trained on too"
    # No faces of research data sets are read for what cannot be measured.
    assert reconstruction_cells.measure(model, data, plan, tmp_path / "audit", progress=False) == []


def test_figures_stand_apart(tmp_path, zoo):
    family = families.family_of("mine_simple_conv5")
    assert family == "mine" and families.family_of("vgg_s_tiny_simple_conv5") == ""
    child = dataclasses.replace(NETWORK, name="mine_siamese", parent="mine")
    assert families.family(child) == "mine"
    assert families.family_of("gone") == ""
    assert str(families.file("mine", None)) == "RESULTS_mine.md" and str(families.file("", None)) == "RESULTS.md"
    assert families.file("mine", "") is None and str(families.file("mine", "x.md")) == "x.md"


def test_the_card_says_what_it_was_trained_on(zoo):
    name = "mine_simple_conv5"
    assert "- trained on own images\n" in str(privzoo.show(name))
    assert "public data" not in str(privzoo.show(name)) and "public data" in str(
        privzoo.show("vgg_s_tiny_simple_conv5")
    )
    facts = {"folder": "my_faces", "images": {"a": 30, "b": 28}, "people": 9, "held_out": "the folder test"}
    facts["parts"] = {"train": 50, "validation": 4, "test": 4}
    network = config.network("mine")
    stored = weights.find(network.weights).with_suffix(".json")
    release = {"bytes": 1, "validation_faces": 4, "labels_changed_by_coding": 0}
    release["validation_accuracy"] = {"float32": 1.0, "released": 1.0}
    record = {"data": {"train": 50, "own": facts}, "release": release, "epochs": [], "date": "2020-01-01", "git": "x"}
    write_json(stored, record | {"config": {"training": {"seed": 1}}})
    text = str(privzoo.show(name))
    assert "- trained on own images in the folder my_faces\n" in text
    assert "- images: 30 a, 28 b, 9 known people; 50 train, 4 validation, 4 test; held out: the folder test\n" in text
    assert "- licence: none\n" in text
    assert privzoo.show(name).to_dict()["training_data"] == "own images in the folder my_faces"


def test_the_list_says_among_whom(zoo, capsys):
    from privzoo.cli import main

    assert main(["list", "vgg_s*"]) == 0
    assert "your own data" not in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "For networks trained on your own data: among its people" in capsys.readouterr().out
