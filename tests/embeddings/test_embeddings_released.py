"""Reduced, noisy and rounded models as they are released: loaded, exported, served and measured."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
import tiny_zoo
from tiny_zoo import DIMENSIONS, NOISE, PARENT

import privzoo
from privzoo import config, costs, weights
from privzoo.errors import ConfigError, UnknownNameError
from privzoo.mechanisms.gaussian import budget_sigma, clip

pytestmark = pytest.mark.all_models


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def network(zoo):
    return tiny_zoo.parent_network()


@pytest.fixture(scope="module")
def released(zoo, network, tmp_path_factory):
    """Names of released models of each kind, from the tool's own code on faces in a folder."""
    from privzoo.data import utkface
    from privzoo.training import release
    from privzoo.training.fitting import Fitter

    faces = utkface.load(tiny_zoo.write_faces(tmp_path_factory.mktemp("faces")), split="all")
    cache = tmp_path_factory.mktemp("cache")
    fitter = Fitter(config.network(PARENT.name), network, ["conv5", "fc8"], faces, faces, cache)
    names = []
    models = [
        tiny_zoo.model(embedding)
        for embedding in ("simple", "reduced_simple", "noisy_reduced_simple", "coded", "label")
    ]
    rounded = dataclasses.replace(models[1], name="vgg_s_tiny_rounded", step=0.5, relevance=1.0)
    coarse = dataclasses.replace(models[0], name="vgg_s_tiny_coarse", step=0.25)
    for model in (*models, rounded, coarse):
        config.write(model, zoo / "planned" / "models" / f"{model.name}.yaml")
        found = fitter.fit(model) if model.dimensions else ({}, {})
        assert release.release_model(model, *found).weights is None or found[0]
        tiny_zoo.forget()  # a code finds its base by name
        names.append(model.name)
    assert not list((zoo / "planned" / "models").iterdir())
    # What the layers before the cuts, those to conv5 and those to the end give, of training and of validation faces.
    assert len(list(cache.iterdir())) == 6
    return names


def test_released_models_are_what_their_cards_say(zoo, released):
    assert privzoo.list_models() == sorted(released)
    chips = tiny_zoo.chips(4)[0]
    for name in released:
        model = privzoo.load(name)
        cost = model.card.cost
        assert model.head.count_params() == cost.head_parameters
        assert model.tail.count_params() == cost.tail_parameters
        assert model.features(chips).shape[1:] == cost.feature_shape
        assert cost.feature_bytes == (1 if model.book else 4 * np.prod(cost.feature_shape))
        assert model.network is privzoo.load(released[0]).network
        assert name in str(model.card) and config.to_dict(model.config)
        if model.config.weights:
            assert weights.sha256(weights.find(model.config.weights)) == model.config.weights.sha256
            from privzoo.architectures import graph
            from privzoo.training.release import coded_output, golden_output

            record = json.loads((zoo / "weights" / f"{name}.json").read_text())
            if model.book:
                found = coded_output(model.head, model.tail, model.book, model.config.code.epsilon)
                np.testing.assert_allclose(found, record["golden_output"], atol=1e-5)
                assert record["book"] == model.book.name
                continue
            layers = [*graph.layers(model.head), *graph.layers(model.tail)]
            whole = graph.chain(layers, model.head.input_shape[1:], "image", "whole")
            np.testing.assert_allclose(golden_output(whole), record["golden_output"], atol=1e-5)


def test_a_noisy_models_features_differ_at_each_call(released):
    model, chips = privzoo.load("vgg_s_tiny_noisy_reduced_simple_conv5"), tiny_zoo.chips(4)[0]
    assert not np.array_equal(model.features(chips), model.features(chips))
    assert np.array_equal(model.features(chips, random.Random(1)), model.features(chips, random.Random(1)))
    assert "noise" in model.card.to_dict() and "Gaussian, standard deviation 0.3" in str(model.card)
    assert any("add up" in limit for limit in model.card.to_dict()["limits"])
    clean = np.asarray(model.head(chips.astype(np.float32)))
    far = model.features(np.repeat(chips, 50, 0)) - np.repeat(clip(clean, NOISE.clip), 50, 0)
    assert far.std() == pytest.approx(NOISE.sigma, rel=0.2)


def test_a_budget_sets_the_noise(released):
    name = "vgg_s_tiny_noisy_reduced_simple_conv5"
    model = privzoo.load(name, epsilon=4)
    assert model.noise.sigma == pytest.approx(budget_sigma(4, 1e-5, NOISE.clip))
    assert model.manifest()["noise"]["epsilon"] == pytest.approx(4)
    assert privzoo.load(name).noise.sigma == NOISE.sigma
    with pytest.raises(ConfigError, match="adds no noise"):
        privzoo.load("vgg_s_tiny_reduced_simple_conv5", epsilon=4)
    with pytest.raises(ConfigError, match="is not valid"):
        privzoo.load(name, epsilon=-1)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_device_adds_the_noise_and_counts(released, tmp_path, quantization):
    from privzoo.edge import Head
    from privzoo.mechanisms.gaussian import spent_epsilon

    chips = tiny_zoo.chips()[0]
    model = privzoo.load("vgg_s_tiny_noisy_reduced_simple_conv5")
    path = model.export_head(tmp_path / "head.tflite", quantization, chips)
    head = Head(path)
    assert (head.noise.sigma, head.noise.clip, head.queries) == (NOISE.sigma, NOISE.clip, 0)
    assert head.spent_epsilon() == 0
    first, second = head.features(chips[:8]), head.features(chips[:8])
    assert first.shape == (8, DIMENSIONS) and not np.array_equal(first, second)
    assert head.queries == 16
    assert head.spent_epsilon() == pytest.approx(spent_epsilon(head.noise, 16))
    drawn = np.concatenate([head.features(chips[:1]) for _ in range(200)])
    assert drawn.std(0) == pytest.approx(NOISE.sigma, rel=0.3)
    other = Head(path, epsilon=2, delta=1e-6)
    assert other.noise.sigma == pytest.approx(budget_sigma(2, 1e-6, NOISE.clip))
    assert other.noise.drawn() == {
        "kind": "gaussian",
        "sigma": other.noise.sigma,
        "epsilon": 2,
        "delta": 1e-6,
        "drawn": True,
    }
    with pytest.raises(ConfigError, match="^delta=1e-06 is only half of a budget"):
        Head(path, delta=1e-6)
    with pytest.raises(ConfigError, match="^total_delta=1e-06 is only half of a total"):
        Head(path, total_delta=1e-6)
    assert head.manifest["tail"] == other.manifest["tail"]
    quiet = privzoo.load("vgg_s_tiny_reduced_simple_conv5").export_head(tmp_path / "quiet.tflite", quantization, chips)
    assert Head(quiet).noise is None
    with pytest.raises(ConfigError, match="adds no noise"):
        Head(quiet, epsilon=2)
    with pytest.raises(ConfigError, match="^delta=1e-06 is not used by the head"):
        Head(quiet, delta=1e-6)
    unprotected = Head(quiet)
    unprotected.features(chips[:1])
    assert unprotected.spent_epsilon() == float("inf")


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_device_rounds(released, tmp_path, quantization):
    from privzoo.edge import Head

    chips, model = tiny_zoo.chips()[0], privzoo.load("vgg_s_tiny_rounded")
    features = Head(model.export_head(tmp_path / "head.tflite", quantization, chips)).features(chips)
    assert np.array_equal(features, np.rint(features)) and features.any()
    assert np.mean(model.classify(features).argmax(1) == model.predict(chips, face="given").argmax(1)) > 0.9


def test_tails_take_reduced_features(released, tmp_path):
    import tensorflow as tf

    chips = tiny_zoo.chips(4)[0]
    model = privzoo.load("vgg_s_tiny_reduced_simple_conv5")
    served = tf.saved_model.load(str(model.export_tail(tmp_path)))
    features = model.features(chips)
    answer = served.signatures["serving_default"](features=tf.constant(features))["probabilities"]
    np.testing.assert_allclose(answer, model.classify(features), atol=1e-6)


def test_accuracy_is_measured_at_every_budget(released, zoo, tmp_path):
    from evaluating import accuracy, results

    from privzoo import measurement
    from privzoo.data import utkface

    faces = utkface.load(tiny_zoo.write_faces(tmp_path), split="all")
    models = [privzoo.load(name) for name in released]
    for model, found in accuracy.evaluate(models, faces, ["float32"], str, tmp_path / "cache", progress=False):
        measurement.write(model.name, found)
        budgets = [m for m in found if "epsilon" in m.variant and m.metric == "accuracy"]
        assert len(budgets) == (5 if model.config.noise else 0)
        float_, deployed = (
            privzoo.show(model.name).figure("accuracy", f"{v} + tail") for v in ("float head", "float32 TFLite head")
        )
        assert abs(float_.value - deployed.value) <= (0.2 if model.noise else 0.05)
    path = tmp_path / "RESULTS.md"
    path.write_text("# Ours\n\nbefore\n")
    for _ in range(2):
        results.write(path, [privzoo.show(name) for name in released])
    text = path.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count("| vgg_s_tiny_simple_conv5 |") == 1
    assert text.count("| vgg_s_tiny_noisy_reduced_simple_conv5 |") == 2 and "epsilon 16" in text


CODED, LABEL = "vgg_s_tiny_coded_conv5", "vgg_s_tiny_label_fc8"


def test_a_coded_model_sends_symbols_and_says_so(released):
    model, chips = privzoo.load(CODED, epsilon=2), tiny_zoo.chips(40)[0]
    k = model.config.code.symbols
    assert (model.noise.k, model.noise.budget, model.book.k) == (k, 2, k)
    assert privzoo.load(CODED).noise.budget == model.config.code.epsilon == 3
    sent = model.features(chips)
    assert sent.shape == (40, 2) and set(sent[:, 0]) <= set(range(k)) and (sent[:, 1] == 2).all()
    assert np.array_equal(model.features(chips, random.Random(1)), model.features(chips, random.Random(1)))
    often = np.concatenate([model.features(chips)[:, 0] for _ in range(20)])
    true = np.tile(model.book.encode(np.asarray(model.head(chips.astype(np.float32)))), 20)
    assert np.mean(often == true) == pytest.approx(float(model.noise.probability_same), abs=0.07)
    answers = model.classify(sent)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)
    # A symbol that was sent under a larger budget is stronger evidence, by the same tail.
    surer = model.classify(sent * np.float32([1, 4]))
    assert surer.max(1).mean() > answers.max(1).mean()
    (one, *_) = model.explain(chips[:1], "given")
    assert one.label in model.classes
    card = privzoo.show(CODED)
    assert card.feature() == "1 symbol" and card.cost.feature_bytes == 1 and card.epsilon() == 3
    assert "epsilon 3 at delta 0" in str(card) and "1 byte" in str(card) and "of 100 equally likely people" in str(card)
    assert not any("reveals the face" in limit for limit in card.to_dict()["limits"])
    assert model.noise.drawn() == {"kind": "randomized_response", "k": k, "epsilon": 2.0, "delta": 0.0, "drawn": True}


@pytest.mark.parametrize("name", [CODED, LABEL])
def test_every_coded_model_can_repeat_its_answers(released, name, tmp_path):
    model, chips = privzoo.load(name, epsilon=0.5, permanent=tmp_path / "secret"), tiny_zoo.chips(40)[0]
    assert np.array_equal(model.features(chips, slot="anna"), model.features(chips, slot="anna"))


def test_wrong_codes_are_refused_in_one_sentence(released):
    from privzoo.errors import FeatureError

    model = privzoo.load(CODED)
    good = model.features(tiny_zoo.chips(3)[0])
    for bad, said in (
        (good + np.float32([0.5, 0]), "not an integer"),
        (good * np.float32([1, -1]), "not above 0"),
        (good + np.float32([200, 0]), "a code of"),
        (good[:, :1], "takes numbers of shape"),
        (good * np.float32([1, np.nan]), "NaN"),
    ):
        with pytest.raises(FeatureError, match=said):
            model.classify(bad)
    for budget in (0, -1, 1e9, True, "much"):
        with pytest.raises(ConfigError, match="not a budget for a code"):
            privzoo.load(CODED, epsilon=budget)
    with pytest.raises(ConfigError, match="has a code"):
        dataclasses.replace(model.config, step=0.5)
    with pytest.raises(ConfigError, match="invalid"):
        dataclasses.replace(model.config.code, symbols=1)
    for changed in ({"base": "vgg_s_tiny_simple_conv5"}, {"base": "vgg_s_tiny_rounded"}):
        other = dataclasses.replace(model.config, code=dataclasses.replace(model.config.code, **changed))
        with pytest.raises(ConfigError, match="cannot be based on"):
            weights.of_base(other)
    from privzoo.embeddings import coded

    arrays = weights.read(weights.find(model.config.weights))
    with pytest.raises(ConfigError, match="fit it again"):
        more = dataclasses.replace(model.config.code, symbols=model.config.code.symbols + 1)
        coded.book_of(arrays, dataclasses.replace(model.config, code=more))
    from privzoo.errors import WeightsError

    with pytest.raises(WeightsError, match="no released code/joint"):
        coded.book_of({key: value for key, value in arrays.items() if key != "code/joint"}, model.config)


def test_a_label_is_the_whole_networks_class(released):
    model, chips = privzoo.load(LABEL), tiny_zoo.chips()[0]
    own = np.asarray(model.network(chips.astype(np.float32))).argmax(1)
    symbols = model.book.encode(np.asarray(model.head(chips.astype(np.float32))))
    np.testing.assert_array_equal(symbols, own)
    assert (model.card.cost.tail_multiply_adds, model.book.k) == (4, 2)  # the table of two symbols and two classes
    assert model.card.cost.head_share > 0.999999
    assert "the classes that the network predicts" in str(model.card) and "It is the baseline" in str(model.card)
    with pytest.raises(ConfigError, match="sends codes, not features; print the code's"):
        config.check_uncoded(model.config)
    with pytest.raises(UnknownNameError, match="no cut 'fc8'"):
        costs.cost(dataclasses.replace(model.config, embedding="coded"), model.card.network)


@pytest.mark.parametrize("name", [CODED, LABEL])
@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_coded_model_is_exported_and_served(released, tmp_path, quantization, name):
    import tensorflow as tf

    from privzoo.edge import Head

    chips, model = tiny_zoo.chips()[0], privzoo.load(name)
    head = Head(model.export_head(tmp_path / "head.tflite", quantization, chips), epsilon=1)
    sent = head.features(chips)
    assert sent.shape == (len(chips), 2) and (sent[:, 1] == 1).all()
    entry = head.manifest["noise"]
    assert (entry["kind"], entry["epsilon"], entry["codebook"]["name"]) == ("randomized_response", 3, model.book.name)
    assert head.spent_epsilon() == len(chips)
    served = tf.saved_model.load(str(model.export_tail(tmp_path))).signatures["serving_default"]
    answer = served(symbol=tf.constant(sent[:, 0].astype(np.uint8)), epsilon=tf.constant(sent[:, 1]))["probabilities"]
    np.testing.assert_allclose(answer, model.classify(sent), atol=1e-6)
