"""Layer tables against the papers' figures, and graphs against the tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privzoo import architectures
from privzoo.architectures.layers import Pool, feature_costs, output_side
from privzoo.errors import ConfigError, UnknownNameError


def cost_until(architecture: str, size: int, cut: str, classifier=(4096, 4096), classes=1000):
    layers = architectures.costs(architecture, size, classes, classifier)
    end = [layer.name for layer in layers].index(cut) + 1
    return layers[end - 1], sum(x.multiply_adds for x in layers[:end]), sum(x.multiply_adds for x in layers)


def test_published_parameter_counts():
    vgg16 = architectures.costs("vgg16", 224, 1000, (4096, 4096))
    assert sum(layer.parameters for layer in vgg16) == 138_357_544
    vgg_s = architectures.costs("vgg_s", 224, 1000, (4096, 4096))
    assert sum(layer.parameters for layer in vgg_s) == 102_908_520


def test_cut_after_conv5_1_costs_what_datamix_says():
    layer, head, whole = cost_until("vgg16", 224, "conv5_1")
    assert layer.shape == (14, 14, 512)
    assert np.prod(layer.shape) * 4 == 401_408
    assert head / whole == pytest.approx(0.932, abs=5e-4)


def test_vgg_s_has_the_published_shapes():
    shapes = {layer.name: layer.shape for layer in architectures.costs("vgg_s", 224, 1000, (4096, 4096))}
    assert shapes["conv1"] == (109, 109, 96)
    assert shapes["pool1"] == (37, 37, 96)
    assert shapes["conv5"] == (17, 17, 512)
    assert shapes["pool5"] == (6, 6, 512)


@given(side=st.integers(1, 300), size=st.integers(1, 4), stride=st.integers(1, 4))
def test_a_ceiling_pool_covers_the_whole_input(side, size, stride):
    pool = Pool("p", size, min(stride, size), ceil=True)
    out = output_side(side, pool)
    assert (out - 1) * pool.stride + size >= side
    assert (out - 1) * pool.stride < side


@pytest.mark.parametrize("architecture", ["vgg16", "vgg_s"])
def test_every_input_from_48_px_leaves_something(architecture):
    for size in range(architectures.MINIMUM_INPUT_SIZE, 260):
        assert min(layer.shape[0] for layer in feature_costs(architectures.layers(architecture), size)) >= 1


@pytest.mark.parametrize("size", [48, 71, 72, 96, 97])
def test_a_vgg_s_of_any_size_is_the_one_of_that_size(size):
    from privzoo.architectures import graph

    free, fixed = (graph.build("vgg_s", 3, input_size=given) for given in (None, size))
    fixed.set_weights(free.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(free(images)), np.asarray(fixed(images)))


def test_unknown_names_are_named():
    with pytest.raises(UnknownNameError, match="'vgg19'"):
        architectures.layers("vgg19")
    with pytest.raises(UnknownNameError, match="conv4_1"):
        architectures.check_cut("vgg16", "conv4_1")


CASES = [("vgg16", 48, (), False), ("vgg_s", 96, (), False), ("vgg_s", 75, (32, 16), True), ("vgg16", 64, (24,), False)]


@pytest.mark.parametrize(("architecture", "size", "classifier", "lrn"), CASES)
def test_graph_matches_its_table_and_splits_exactly(architecture, size, classifier, lrn):
    from privzoo.architectures import graph

    network = graph.build(architecture, 3, input_size=size, classifier=classifier, lrn=lrn)
    costs = architectures.costs(architecture, size, 3, classifier)
    assert network.count_params() == sum(layer.parameters for layer in costs)
    for layer in costs:
        assert network.get_layer(layer.name).output.shape[1:] == layer.shape
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    whole = np.asarray(network(images))
    for cut in architectures.cuts(architecture):
        head, tail = graph.split(network, cut)
        assert head.input.name == "image"
        assert tail.input.name == "features"
        assert np.array_equal(np.asarray(tail(head(images))), whole)
        assert head.get_layer(cut) is network.get_layer(cut)  # one copy of the weights in memory


def test_folding_batch_norm_keeps_the_logits():
    from privzoo.architectures import graph

    rng = np.random.default_rng(1)
    trained = graph.build("vgg_s", 4, input_size=96, batch_norm=True, dropout=0.5, probabilities=False)
    values = graph.get_weights(trained)
    for key, value in values.items():
        if key.endswith(("gamma", "moving_variance")):
            values[key] = rng.uniform(0.5, 2.0, value.shape)
        elif key.endswith(("beta", "moving_mean")):
            values[key] = rng.normal(0, 0.5, value.shape)
    graph.set_weights(trained, values)
    folded = graph.build("vgg_s", 4, input_size=96, probabilities=False)
    graph.set_weights(folded, graph.fold_batch_norm(values))
    images = rng.uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    before, after = np.asarray(trained(images, training=False)), np.asarray(folded(images))
    assert np.abs(before - after).max() < 1e-3 * np.abs(before).max()


def test_local_response_norm_is_caffes():
    from privzoo.architectures.graph import LocalResponseNormalization

    x = np.random.default_rng(2).normal(size=(1, 2, 2, 7)).astype(np.float32)
    expected = np.empty_like(x)
    for c in range(7):
        window = x[..., max(0, c - 2) : c + 3]
        expected[..., c] = x[..., c] / (2 + 5e-4 / 5 * (window**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(np.asarray(LocalResponseNormalization()(x)), expected, rtol=1e-5)


def test_impossible_networks_are_refused():
    from privzoo.architectures import graph

    with pytest.raises(ConfigError, match="too small"):
        graph.build("vgg16", 2, input_size=32)
    with pytest.raises(ConfigError, match="fixed input size"):
        graph.build("vgg16", 2, input_size=None, classifier=(64,))
    with pytest.raises(UnknownNameError, match="conv9"):
        graph.split(graph.build("vgg_s", 2, input_size=48), "conv9")
