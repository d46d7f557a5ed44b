"""Heads of networks that tell attributes: exported, on the device, and over a socket."""

from __future__ import annotations

import attribute_zoo
import numpy as np
import pytest
from attribute_zoo import DATAMIX, NAMES, SIMPLE

import privzoo
from privzoo.edge import Client, Head, MixingClient, MixingHead
from privzoo.edge.access import Target
from privzoo.edge.manifest import parse_manifest
from privzoo.errors import ConfigError, ServerError
from privzoo.export.manifests import to_json
from privzoo.mechanisms.covers import Covers
from privzoo.serving import Server

pytestmark = [pytest.mark.all_models, pytest.mark.server]


@pytest.fixture(scope="module", autouse=True)
def zoo_of_attributes(tmp_path_factory):
    with attribute_zoo.installed(tmp_path_factory.mktemp("zoo")):
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for name in (SIMPLE.name, DATAMIX.name):
        model = privzoo.load(name)
        model.export_tail(folder)
        model.export_head(folder / f"{name}.tflite", "float32", attribute_zoo.chips()[:8])
    return folder


def test_the_manifest_states_the_output(exported):
    manifest = Head(exported / f"{SIMPLE.name}.tflite").manifest
    assert manifest["output"] == "attributes" and manifest["classes"] == list(NAMES)
    with pytest.raises(ConfigError, match="unknown kind of output, 'depths'; update privzoo"):
        parse_manifest(to_json({**manifest, "output": "depths"}), "head.tflite")


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_client_gets_the_models_answers(exported, protocol):
    chips = attribute_zoo.chips()[:8]
    model = privzoo.load(SIMPLE.name)
    with Server(exported / SIMPLE.name, SIMPLE.name) as server:
        url = server.url if protocol == "rest" else f"grpc://{server.grpc}"
        with Client(Head(exported / f"{SIMPLE.name}.tflite"), url) as client:
            answers = client.predict(chips, face="given")
    found = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(found, model.predict(chips, face="given"), atol=1e-4)
    for answer in answers:
        assert answer.label == ", ".join(name for name in NAMES if answer.probabilities[name] > 0.5)


def test_mixtures_end_in_a_sigmoid_too(exported):
    """Four copies of one face in a group: whatever main is, mixtures and unmixing must give what the model computes."""
    head, model = MixingHead(exported / f"{DATAMIX.name}.tflite"), privzoo.load(DATAMIX.name)
    assert head.mixing.output == model.mixing.output == "attributes"
    chips = attribute_zoo.chips()[:8]
    mixtures, key = head.mix(chips)
    hidden = np.asarray(model.tail(mixtures))
    unmixed = head.answers(key, hidden)
    assert unmixed.shape == (8, len(NAMES)) and (np.abs(unmixed.sum(1) - 1) > 1e-3).any()
    post = np.asarray(model.network(chips.astype(np.float32)))  # the same last layer, of faces that are not mixed
    pre = np.asarray(model.tail(model.head(chips.astype(np.float32))))
    np.testing.assert_allclose(head.mixing.answers(pre), post, atol=1e-5)
    covers = Covers(np.random.default_rng(0).integers(0, 256, (8, *chips.shape[1:])).astype(np.uint8))
    with Server(exported / DATAMIX.name, DATAMIX.name) as server:
        with MixingClient(head, server.url, covers, timeout=60) as client:
            answers = client.predict(chips[:5], face="given")
    assert [len(answer.probabilities) for answer in answers] == [len(NAMES)] * 5


def test_probabilities_of_attributes_need_not_add_up():
    rows = np.array([[0.9, 0.8, 0.7]], np.float32)
    target = Target("traits", None, "s", "features", 3, kind="attributes")
    assert target.checked(rows, 1, "http://x") is rows
    with pytest.raises(ServerError, match="a value of 1.5, which is not a probability"):
        target.checked(np.array([[0.9, 1.5, 0.7]], np.float32), 1, "http://x")
    with pytest.raises(ServerError, match="add up to 2.4"):  # what an earlier client says of them
        Target("traits", None, "s", "features", 3).checked(rows, 1, "http://x")
