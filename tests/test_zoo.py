"""Every registered name: its files, its card, and the model against its card."""

from __future__ import annotations

import json

import numpy as np
import pytest
from input_helpers import predicted, random_inputs

import privzoo
from privzoo import config, weights
from privzoo.errors import FeatureError, UnknownNameError, WeightsError
from privzoo.mixed import MixedModel

pytestmark = pytest.mark.all_models

NAMES = privzoo.list_models()


def test_patterns_select_names():
    assert NAMES == sorted(NAMES)
    assert set(privzoo.list_models("vgg16_gender_simple_*")) >= {
        f"vgg16_gender_simple_{cut}" for cut in ("conv5_1", "conv5_2", "conv5_3")
    }
    assert privzoo.list_models("nothing*") == []


@pytest.mark.parametrize("name", config.networks())
def test_every_network_is_complete(name):
    network = config.network(name)
    assert network.name == name
    assert network.weights is not None, f"{name} is in the zoo without released weights"
    path = weights.find(network.weights)
    assert path.stat().st_size == network.weights.bytes
    assert config.from_dict(config.NetworkConfig, config.to_dict(network), name) == network


@pytest.mark.parametrize("name", config.networks())
def test_every_network_gives_its_golden_output(name):
    from privzoo import zoo
    from privzoo.training import release

    network = config.network(name)
    record = json.loads(weights.find(network.weights).with_suffix(".json").read_text())
    np.testing.assert_allclose(release.golden_output(zoo.load_network(network)), record["golden_output"], atol=2e-4)


def test_codes_have_the_slim_heads_of_their_bases():
    for model in filter(lambda model: model.code and model.code.base, map(config.model, NAMES)):
        assert model.slim == config.model(model.code.base).slim, model.name


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_complete(name):
    card = privzoo.show(name)
    assert card.model.name == name
    # Of networks for mixtures there are several at one cut, for groups of other sizes than 8.
    group = f"_group{mixing.group}" if (mixing := card.network.mixing) and mixing.group != 8 else ""
    assert name.endswith(f"{card.model.embedding}_{card.model.cut}{group}")
    assert card.cost.feature_bytes == (1 if card.model.code else 4 * np.prod(card.cost.feature_shape))
    assert 0 < card.cost.head_share < 1
    measured = card.figure("accuracy", "int8 TFLite head + tail")
    assert measured is not None, f"{name} has no measured accuracy; run tools/evaluate.py"
    for m in card.measurements:
        assert 0 <= m.low <= m.value <= m.high <= (100 if m.unit == "years" else 1)
        assert m.count > 0
        assert m.date
        assert m.git != "unknown"
        # One answer for all faces, and the detector alone, are of no head.
        assert len(m.sha256) == (0 if m.variant.startswith("always ") or m.variant == "detector" else 64)
    assert card.record["release"]["sha256"] == card.network.weights.sha256
    for shown in (name, card.record["date"], "labels changed"):
        assert shown in str(card)
    assert card.to_dict()["feature_bytes"] == card.cost.feature_bytes


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_what_its_card_says(name):
    model = privzoo.load(name)
    cost = model.card.cost
    last = model.mixing.kernel.size + model.mixing.bias.size if isinstance(model, MixedModel) else 0
    assert model.head.count_params() + last == cost.head_parameters
    assert model.tail.count_params() == cost.tail_parameters
    measured = model.card.figure("accuracy", "float head + tail")
    assert measured.sha256 == model.manifest()["head"]["weights_sha256"], f"{name} is not what was measured; measure it"
    chips = random_inputs(model, 2, seed=0)
    features = model.features(chips)
    assert features.shape[1:] == cost.feature_shape
    if isinstance(model, MixedModel):
        assert len(features) == model.mixing.group and not np.array_equal(features, model.features(chips))
        assert model.predict(chips, face="given").shape == (2, len(model.classes))
        return
    answer = model.classify(features)
    assert answer.shape == (2, len(model.classes))
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-5)
    if model.config.noise:
        assert not np.array_equal(features, model.features(chips))
    elif model.config.code:
        assert set(features[:, 0]) <= set(range(model.config.code.symbols))
        assert (features[:, 1] == model.config.code.epsilon).all()
    else:
        np.testing.assert_allclose(answer, predicted(model, chips), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if config.model(name).weights])
def test_every_embedding_has_its_arrays_and_gives_its_golden_output(name):
    from privzoo.architectures import graph
    from privzoo.training import release

    model, entry = privzoo.load(name), config.model(name).weights
    path = weights.find(entry)
    assert path.stat().st_size == entry.bytes
    record = json.loads(path.with_suffix(".json").read_text())
    if model.book:
        found = release.coded_output(model.head, model.tail, model.book, model.config.code.epsilon)
        np.testing.assert_allclose(found, record["golden_output"], atol=2e-4)
        return
    layers = [*graph.layers(model.head), *graph.layers(model.tail)]
    whole = graph.chain(layers, model.head.input_shape[1:], model.head.input.name, "whole")
    np.testing.assert_allclose(release.golden_output(whole), record["golden_output"], atol=2e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if config.model(name).noise])
def test_every_noisy_card_states_what_budgets_cost(name):
    card = privzoo.show(name)
    for epsilon in (1, 2, 4, 8, 16):
        assert card.figure("accuracy", f"float head + tail, epsilon {epsilon}, delta 1e-05")
    assert privzoo.load(name).manifest()["noise"]["budgets"]


@pytest.mark.parametrize("name", [name for name in NAMES if config.model(name).embedding in ("simple", "siamese")])
def test_head_and_tail_are_the_network(name):
    model = privzoo.load(name)
    chips = random_inputs(model, 3, seed=1)
    tensors = model.input.tensors(chips)
    if (step := model.config.step) is None:
        expected = np.asarray(model.network(tensors))
    else:  # the network but for the rounding
        from privzoo.architectures import graph

        head, tail = graph.split(model.network, model.config.cut)
        features = np.asarray(head(tensors))
        np.testing.assert_array_equal(model.features(chips), np.rint(features / np.float32(step)))
        expected = np.asarray(tail(np.rint(features / np.float32(step)) * np.float32(step)))
    np.testing.assert_allclose(predicted(model, chips), expected, atol=1e-5)


def test_models_of_one_network_share_its_weights():
    first, second = privzoo.load("vgg16_gender_simple_conv5_1"), privzoo.load("vgg16_gender_simple_conv5_3")
    assert first.network is second.network


def test_predict_finds_the_face(astronaut):
    model = privzoo.load("vgg16_gender_simple_conv5_3")
    (answer,) = model.explain(astronaut)
    assert answer.label == "female"
    assert answer.face["size"] > 60
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_predict_answers_for_all_faces(astronaut):
    model = privzoo.load("vgg16_gender_simple_conv5_3")
    two = np.concatenate([astronaut, astronaut], axis=1)
    assert model.predict(two).shape == (1, 2)
    rows, told = model.predict([two, astronaut], all_faces=True), model.explain([two, astronaut], all_faces=True)
    assert [(one.image, one.number) for one in told] == [("image 0", 1), ("image 0", 2), ("image 1", 1)]
    np.testing.assert_allclose(rows, [list(one.probabilities.values()) for one in told], rtol=1e-6)


def test_wrong_features_are_refused():
    model = privzoo.load("vgg16_gender_simple_conv5_3")
    with pytest.raises(FeatureError, match=r"\(2, 3\)"):
        model.classify(np.zeros((2, 3), np.float32))
    bad = np.zeros((1, *model.card.cost.feature_shape), np.float32)
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(FeatureError, match="NaN"):
        model.classify(bad)
    with pytest.raises(FeatureError, match="take"):
        model.features(np.array([["a"]]))


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean"):
        privzoo.load("vgg16_gender_simple_conv5_4")


def test_damaged_weights_never_become_random_ones(tmp_path, monkeypatch):
    from privzoo import zoo

    network = config.network("vgg16_gender")
    monkeypatch.setattr(zoo, "_networks", {})
    monkeypatch.setattr(weights, "find", lambda entry: tmp_path / entry.file)
    (tmp_path / network.weights.file).write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="cannot be read"):
        zoo.load("vgg16_gender_simple_conv5_3")
