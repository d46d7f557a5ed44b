"""The recipe for attributes: from the parent's weights, on faces in CelebA's formats, to a release and its figures."""

from __future__ import annotations

import csv
import dataclasses
import json

import attribute_zoo
import numpy as np
import pytest
import tiny_zoo
from attribute_zoo import DATAMIX, MIXED, NAMES, NETWORK, SIMPLE

from privzoo import config, weights
from privzoo.config import Stage
from privzoo.data import arrays, splits
from privzoo.errors import ConfigError, DataError
from privzoo.training import losses, primary

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return attribute_zoo.write_faces(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The tiny zoo, with the attribute networks and models planned."""
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        training = dataclasses.replace(NETWORK.training, stages=(Stage(tiny_zoo.SIZE, 12),))
        for network in (dataclasses.replace(NETWORK, training=training), MIXED):
            config.write(network, folder / "planned" / "networks" / f"{network.name}.yaml")
        for model in (SIMPLE, DATAMIX):
            config.write(model, folder / "planned" / "models" / f"{model.name}.yaml")
        yield folder


def planned(zoo, name):
    return zoo / "planned" / "networks" / f"{name}.yaml"


def tool(name, zoo, *arguments, **variables):
    done = tiny_zoo.tool(name, zoo, *map(str, arguments), PRIVZOO_HOME=str(zoo / "home"), **variables)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_loss_is_the_mean_cross_entropy_of_the_attributes():
    logits = np.array([[2.0, -1.0, 0.5], [-3.0, 0.1, 4.0]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, 1]])
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(np.where(truth == 1, np.log(p), np.log(1 - p)))
    loss, accuracy = losses.primary(NETWORK)
    assert float(loss(truth, logits)) == pytest.approx(expected, rel=1e-5)
    accuracy.update_state(truth, logits)
    assert float(accuracy.result()) == pytest.approx(5 / 6)
    assert losses.primary(tiny_zoo.PARENT)[1] == "accuracy"


def test_it_starts_as_its_parent_with_a_new_last_layer(zoo, data):
    network = config.read(config.NetworkConfig, planned(zoo, NETWORK.name))
    chips, _ = arrays(splits.of_network(network, data)[0], None)
    built = primary.build(network, network.training)
    before = built.get_layer("fc8").get_weights()[0].copy()
    primary.start_from_parent(built, network, chips)
    np.testing.assert_array_equal(built.get_layer("fc8").get_weights()[0], before)
    import keras

    parent = tiny_zoo.parent_network()
    hidden, own = (
        keras.Model(one.input, one.get_layer("average").output)(chips[:8].astype(np.float32), training=False)
        for one in (parent, built)
    )
    np.testing.assert_allclose(own, hidden, rtol=1e-3, atol=1e-4)


def test_from_training_to_figures(zoo, data):
    """The network and its model, then the DataMix network, trained on JAX, and its model."""
    where = ("--data_dir", data, "--release")
    measure = ("--data_dir", data, "--quantizations", "float32", "--cache_dir", zoo / "cache", "--results", "")
    tool("train.py", zoo, "--config", planned(zoo, NETWORK.name), "--run_dir", zoo / "run", *where)
    with (zoo / "run" / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert float(log[-1]["accuracy"]) > 0.7 and float(log[-1]["loss"]) < float(log[0]["loss"])
    record = json.loads((zoo / "weights" / f"{NETWORK.name}.json").read_text())
    assert 0.5 < record["release"]["validation_accuracy"]["released"] <= 1
    tiny_zoo.forget()
    released = config.network(NETWORK.name)
    stored = set(np.load(zoo / "weights" / released.weights.file).files)
    # Frozen layers are the parent's very bits, and need not be stored again.
    assert "fc8/kernel" in stored and "conv5/kernel" in stored
    assert not any(key.startswith(("conv1/", "conv2/")) for key in stored)
    parent = weights.load(config.network(tiny_zoo.PARENT.name))
    np.testing.assert_array_equal(weights.load(released)["conv2/kernel"], parent["conv2/kernel"])

    tool("fit.py", zoo, "--model", SIMPLE.name, *where)
    tool("evaluate.py", zoo, "--model", SIMPLE.name, *measure)
    card = json.loads((zoo / "cards" / f"{SIMPLE.name}.json").read_text())
    found = {(m["metric"], m["variant"]): m for m in card}
    accuracy = found["accuracy", "float head + tail"]
    assert accuracy["value"] > 0.6 and (accuracy["count"], accuracy["clusters"]) == (16, 4)
    assert found["accuracy", "always the majority of each attribute"]["value"] == 0.5
    each = [found[f"accuracy of {name}", "float head + tail"]["value"] for name in NAMES]
    assert accuracy["value"] == pytest.approx(np.mean(each), abs=1e-5)
    assert found["balanced accuracy of Bright", "float head + tail"]["value"] > 0.9
    assert found["label agreement with the network", "float32 TFLite head + tail"]["value"] == 1

    pytest.importorskip("jax")
    tool("train.py", zoo, "--config", planned(zoo, MIXED.name), "--run_dir", zoo / "mixed", *where, KERAS_BACKEND="jax")
    tool("fit.py", zoo, "--model", DATAMIX.name, *where)
    tool("evaluate.py", zoo, "--model", DATAMIX.name, "--draws", 2, *measure)
    mixed = json.loads((zoo / "cards" / f"{DATAMIX.name}.json").read_text())
    [figure] = [m for m in mixed if (m["metric"], m["variant"]) == ("accuracy", "float head + tail")]
    assert figure["data"] == accuracy["data"] == "celeba" and figure["seeds"] == [1, 2]


def test_the_section_on_accuracy_names_the_best_and_the_worst_attribute(zoo):
    from evaluating import results

    from privzoo import card
    from privzoo.measurement import Measurement, write

    def measured(metric, value):
        return Measurement(
            metric, "float head + tail", "celeba", value, value, value, 9, (), "2026-01-01", "x", "y", "z"
        )

    with attribute_zoo.installed(zoo / "other"):
        values = {"accuracy": 0.9, "balanced accuracy": 0.7}
        values |= {f"balanced accuracy of {name}": 0.5 + k / 5 for k, name in enumerate(NAMES)}
        write(SIMPLE.name, [measured(metric, value) for metric, value in values.items()])
        text = results.accuracy([card.read(SIMPLE.name)], "link")
    assert "**Attributes**, CelebA's test part, 9 faces" in text
    assert "means over 3 attributes. By balanced accuracy Bright is told worst (50.0%) and Young best (90.0%)." in text


def test_data_without_the_attributes_are_said(data, tmp_path):
    with pytest.raises(ConfigError, match="celeba has no attribute Happy: use one of Bright, Male, Young"):
        splits.of_network(dataclasses.replace(NETWORK, classes=("Bright", "Happy")), data)
    other = dataclasses.replace(NETWORK, training=dataclasses.replace(NETWORK.training, dataset="utkface"))
    with pytest.raises(ConfigError, match="utkface has no attributes: it has gender, race"):
        splits.of_network(other, tiny_zoo.write_faces(tmp_path))


def test_a_network_can_tell_some_attributes_in_another_order(data):
    network = dataclasses.replace(NETWORK, classes=("Young", "Bright"))
    train, validation = splits.of_network(network, data)
    assert train.classes["attributes"] == validation.classes["attributes"] == ("Young", "Bright")
    _, labels = arrays(splits.test_set(network, data), None)
    np.testing.assert_array_equal(
        labels["attributes"], [(attribute_zoo.truth(i)[2], attribute_zoo.truth(i)[0]) for i in range(48, 64)]
    )


def test_a_missing_list_is_said(data, tmp_path):
    with pytest.raises(DataError, match="holds no images|has no list_attr_celeba"):
        splits.of_network(NETWORK, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lrn": True}, "and its parent vgg_s_tiny differ in lrn"),
        (
            {"training": dataclasses.replace(NETWORK.training, start="x.npz")},
            "a parent to start from: start cannot",
        ),
    ],
)
def test_a_parent_that_does_not_fit_is_said(zoo, data, tmp_path, change, words):
    network = dataclasses.replace(NETWORK, **change)
    with pytest.raises(ConfigError, match=words):
        primary.train(network, *splits.of_network(network, data), tmp_path)
