"""Models that tell attributes, loaded: what predict, explain, the card and the command line say."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import attribute_zoo
import numpy as np
import pytest
from attribute_zoo import DATAMIX, NAMES, NETWORK, SIMPLE
from PIL import Image

import privzoo
from privzoo import cli, config, console
from privzoo.config import CodeConfig, SiameseConfig
from privzoo.errors import ConfigError

pytestmark = pytest.mark.all_models


@pytest.fixture(scope="module", autouse=True)
def zoo_of_attributes(tmp_path_factory):
    with attribute_zoo.installed(tmp_path_factory.mktemp("zoo")):
        yield


@pytest.fixture(scope="module")
def chips():
    return attribute_zoo.chips()


def test_each_attribute_has_its_own_probability(chips):
    model = privzoo.load(SIMPLE.name)
    found = model.predict(chips, face="given")
    assert found.shape == (len(chips), len(NAMES)) and model.output == "attributes" and model.classes == NAMES
    assert found.min() >= 0 and found.max() <= 1
    assert (np.abs(found.sum(1) - 1) > 0.1).any()
    np.testing.assert_allclose(model.tail(model.head(chips[:4].astype(np.float32))), found[:4], atol=1e-6)


@pytest.mark.parametrize("name", [SIMPLE.name, DATAMIX.name])
def test_a_label_has_the_attributes_that_are_present(chips, name):
    answers = privzoo.load(name).explain(chips, face="given")
    for answer in answers:
        assert tuple(answer.probabilities) == NAMES
        assert answer.label == ", ".join(one for one in NAMES if answer.probabilities[one] > 0.5)
    assert len({answer.label for answer in answers}) > 2 or name == DATAMIX.name


def test_the_card_says_that_there_are_several():
    card = privzoo.show(SIMPLE.name)
    assert "- task: attributes (Bright, Male, Young), each present or not, 48 px RGB faces" in str(card)
    assert "rare ones are often missed" in str(card)
    assert card.to_dict()["output"] == "attributes"


def test_predict_on_the_command_line(chips, tmp_path, capsys):
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, chip in zip(paths, chips, strict=False):
        Image.fromarray(chip).save(path)
    answers = privzoo.load(SIMPLE.name).explain(paths, face="given")
    assert cli.main(["predict", SIMPLE.name, *paths, "--face", "given"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "attributes", "face", "score", "turned", "by"]
    for row, answer in zip(rows, answers, strict=True):
        assert all(f"{name} {answer.probabilities[name]:.0%}" in row for name in answer.label.split(", ") if name)
    assert cli.main(["predict", SIMPLE.name, *paths, "--face", "given", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["answers"]
    assert [one["label"] for one in found] == [answer.label for answer in answers]
    assert all(set(one["probabilities"]) == set(NAMES) for one in found)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ({"a": 0.2, "b": 0.5}, "none; the most likely is b 50%"),
        ({"a": 0.6, "b": 0.9, "c": 0.1}, "b 90%, a 60%"),
        ({f"n{k:02}": 1 - k / 100 for k in range(13)}, "n08 92%, n09 91% and 3 more"),
    ],
)
def test_the_table_shows_what_is_present(probabilities, words, capsys):
    answer = SimpleNamespace(label="", probabilities=probabilities)
    console.print_answers([answer], True, ["x"], {"bytes sent": ["7"]}, "attributes")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["recording", "attributes", "bytes", "sent"] and words in row and row.endswith(" 7")


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": "reduced_simple", "dimensions": 2},
        {"embedding": "label", "cut": "fc8", "dimensions": 3, "code": CodeConfig(base=None, epsilon=3.0)},
        {"embedding": "coded", "dimensions": 2, "code": CodeConfig(base="x", epsilon=3.0)},
        {"embedding": "siamese"},
    ],
)
def test_embeddings_for_one_class_are_refused(changes):
    from privzoo import embeddings

    model = dataclasses.replace(SIMPLE, name="vgg_s_traits_other", **changes)
    with pytest.raises(ConfigError, match="one class for each face, and vgg_s_traits tells 3 attributes; use"):
        embeddings.check(model, NETWORK)
    config.write(model, config.config_folder() / "models" / f"{model.name}.yaml")
    config.models.cache_clear()
    try:
        with pytest.raises(ConfigError, match="needs one class for each face"):
            privzoo.load(model.name)
    finally:
        (config.config_folder() / "models" / f"{model.name}.yaml").unlink()
        config.models.cache_clear()


def test_a_siamese_network_of_attributes_is_refused():
    with pytest.raises(ConfigError, match="has attributes, and siamese needs one class for each face"):
        dataclasses.replace(NETWORK, siamese=SiameseConfig(cut="conv5", trained_from="conv5"))
    with pytest.raises(ConfigError, match="names one of its classes twice"):
        dataclasses.replace(NETWORK, classes=("Male", "Male"))
    with pytest.raises(ConfigError, match="output is 'many'; choose one of 'class', 'attributes'"):
        config.from_dict(config.NetworkConfig, {**config.to_dict(NETWORK), "output": "many"}, "x.yaml")
