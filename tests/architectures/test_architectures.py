"""Layer tables against the papers' figures, and graphs against the tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privzoo import architectures
from privzoo.architectures.layers import Conv, Pool, Residual, feature_costs, output_side
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


def test_resnet18_has_the_published_size():
    """He et al. 2016, Table 1: 1.8 billion multiply-adds; DataMix, Table 4: 11.18 million parameters for 35 classes."""
    published = architectures.costs("resnet18", 224, 1000)
    normalized = 4_800  # their batch norm has a scale of its own for each channel, which is folded away here
    assert sum(layer.parameters for layer in published) == 11_689_512 - normalized
    assert sum(layer.multiply_adds for layer in published) == pytest.approx(1.8e9, rel=0.01)
    shapes = {layer.name: layer.shape for layer in published}
    sides = [shapes[cut] for cut in ("pool1", *architectures.cuts("resnet18"))]
    assert sides == [(56, 56, 64), (56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]
    words = architectures.costs("resnet18", (49, 32, 1), 35)
    assert sum(layer.parameters for layer in words) == pytest.approx(11.18e6, rel=1e-3)


def test_the_parts_of_resnet18_before_each_block_are_datamix_s():
    """Table 4: 0.02, 0.10 and 0.17 million parameters before the stem's end and the first two blocks'."""
    layers = architectures.costs("resnet18", (49, 32, 1), 35)
    parts = np.cumsum([layer.parameters for layer in layers])[1:4] / 1e6
    np.testing.assert_allclose(parts, [0.02, 0.10, 0.17], atol=0.025)


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


@pytest.mark.parametrize("architecture", architectures.ARCHITECTURES)
def test_every_input_from_the_smallest_leaves_something(architecture):
    for size in range(architectures.smallest(architecture), 260):
        costs = feature_costs(architectures.layers(architecture), (size, size, 3))
        assert min(layer.shape[0] for layer in costs) >= 1


@pytest.mark.parametrize("size", [48, 71, 72, 96, 97])
def test_a_vgg_s_of_any_size_is_the_one_of_that_size(size):
    from privzoo.architectures import graph

    free, fixed = (graph.build("vgg_s", 3, input_size=given) for given in (None, size))
    fixed.set_weights(free.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(free(images)), np.asarray(fixed(images)))


@pytest.mark.parametrize("architecture", architectures.ARCHITECTURES)
def test_every_cut_is_after_the_trunk(architecture):
    names = [layer.name for layer in architectures.layers(architecture)]
    assert all(
        names.index(cut) > names.index(architectures.trunk(architecture)) for cut in architectures.cuts(architecture)
    )


def test_unknown_names_are_named():
    with pytest.raises(UnknownNameError, match="'vgg19'"):
        architectures.layers("vgg19")
    with pytest.raises(UnknownNameError, match="conv4_1"):
        architectures.check_cut("vgg16", "conv4_1")


CASES = [
    ("vgg16", 48, (), False),
    ("vgg_s", 96, (), False),
    ("vgg_s", 75, (32, 16), True),
    ("vgg16", 64, (24,), False),
    ("resnet18", (49, 32, 1), (), False),
    ("resnet18", 75, (16,), False),
]


@pytest.mark.parametrize(("architecture", "size", "classifier", "lrn"), CASES)
def test_graph_matches_its_table_and_splits_exactly(architecture, size, classifier, lrn):
    from privzoo.architectures import graph

    network = graph.build(architecture, 3, input_size=size, classifier=classifier, lrn=lrn)
    costs = architectures.costs(architecture, size, 3, classifier)
    assert network.count_params() == sum(layer.parameters for layer in costs)
    for layer in costs:
        assert network.get_layer(layer.name).output.shape[1:] == layer.shape
    shape = architectures.shape_of(size)
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)
    whole = np.asarray(network(images))
    for cut in architectures.cuts(architecture):
        head, tail = graph.split(network, cut)
        assert head.input.name == ("spectrogram" if shape[-1] == 1 else "image")
        assert tail.input.name == "features"
        assert np.array_equal(np.asarray(tail(head(images))), whole)
        assert head.get_layer(cut) is network.get_layer(cut)  # one copy of the weights in memory


@pytest.mark.parametrize("architecture", ["vgg_s", "resnet18"])
def test_folding_batch_norm_keeps_the_logits(architecture):
    from privzoo.architectures import graph

    rng = np.random.default_rng(1)
    trained = graph.build(architecture, 4, input_size=96, batch_norm=True, dropout=0.5, probabilities=False)
    values = graph.get_weights(trained)
    for key, value in values.items():
        if key.endswith(("gamma", "moving_variance")):
            values[key] = rng.uniform(0.5, 2.0, value.shape)
        elif key.endswith(("beta", "moving_mean")):
            values[key] = rng.normal(0, 0.5, value.shape)
    graph.set_weights(trained, values)
    folded = graph.build(architecture, 4, input_size=96, probabilities=False)
    graph.set_weights(folded, graph.fold_batch_norm(values))
    images = rng.uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    before, after = np.asarray(trained(images, training=False)), np.asarray(folded(images))
    assert np.abs(before - after).max() < 1e-3 * np.abs(before).max()


def test_a_residual_block_is_its_equation():
    from privzoo.architectures import graph
    from privzoo.architectures.residual import ResidualBlock, convolution

    x = np.random.default_rng(3).normal(size=(2, 9, 5, 4)).astype(np.float32)
    for block in (Residual("same", 4), Residual("wider", 6), Residual("smaller", 4, stride=2)):
        layer = ResidualBlock(block, name=block.name)
        found = np.asarray(layer(x))
        first, second, shortcut = (one and convolution(one) for one in block.convolutions(4))
        for one, place in ((first, x), (second, first(x)), (shortcut, x)):
            if one:
                one(place)
        inner = {one.name: one for one in (layer.a, layer.b, layer.shortcut) if one}
        for one in (first, second, shortcut):
            if one:
                one.set_weights(inner[one.name].get_weights())
        around = np.asarray(shortcut(x)) if shortcut else x
        expected = np.maximum(0, np.asarray(second(np.maximum(0, np.asarray(first(x))))) + around)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert layer.compute_output_shape(x.shape) == found.shape
        again = type(layer).from_config(layer.get_config())
        again.build(x.shape)
        assert [v.name for v in again.weights] == [v.name for v in layer.weights]
    assert {key.rpartition("/")[0] for key in graph.get_weights(graph.build("resnet18", 3))} >= {"block2_1_shortcut"}


def test_the_shortcut_is_counted_only_where_it_changes_the_shape():
    plain, wider = (feature_costs([Residual("r", filters)], (8, 8, 4))[0] for filters in (4, 8))
    convolutions = (Conv("a", 8, 3), Conv("b", 8, 3), Conv("c", 8, 1))
    assert plain.parameters == 2 * (9 * 4 * 4 + 4)
    inputs = zip(convolutions, (4, 8, 4), strict=True)
    assert wider.parameters == sum(c.kernel**2 * channels * 8 + 8 for c, channels in inputs)


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
