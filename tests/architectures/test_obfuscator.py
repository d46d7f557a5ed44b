"""The obfuscator against Leroux et al. 2018, Table 4, and its graph against its table."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo import architectures, weights
from privzoo.architectures import bottleneck, graph, obfuscator
from privzoo.architectures.obfuscator import DEOBFUSCATOR, OBFUSCATOR
from privzoo.errors import ConfigError


def built(part: str, side: int | None, width: float = 1.0, **options) -> keras.Model:
    return graph.chain(bottleneck.layers(part, side, width, **options), (side, side, 3), "image", part)


@pytest.mark.parametrize("part", [OBFUSCATOR, DEOBFUSCATOR])
def test_it_has_the_published_parameters(part):
    model = built(part, 32, batch_norm=True)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 324_518
    assert 4 * 324_518 / 2**20 == pytest.approx(1.2, abs=0.05)  # megabytes, as the paper has it


def test_it_has_the_published_flops():
    found = sum(layer.multiply_adds for layer in obfuscator.costs((32, 32, 3)))
    assert found == 26_449_920 and f"{found:.1e}" == "2.6e+07"


def test_the_bottlenecks_have_the_published_shapes():
    """Table 4's input sizes, of the halving ones those after them."""
    shapes = {layer.name: layer.shape for layer in obfuscator.costs((32, 32, 3))}
    sides = {name.removeprefix("obfuscator_"): (shape[0], shape[2]) for name, shape in shapes.items()}
    ends = ("conv", *(f"{way}{i}_project" for way in ("down", "up") for i in (1, 2, 3)))
    assert [sides[end] for end in ends] == [(32, 32), (16, 32), (8, 64), (4, 128), (8, 64), (16, 32), (32, 3)]


def test_at_96_px_a_narrower_one_costs_at_most_a_twentieth_of_vgg16():
    network = sum(layer.multiply_adds for layer in architectures.costs("vgg16", 96, 2))
    assert sum(layer.multiply_adds for layer in obfuscator.costs((96, 96, 3), 0.75)) <= 0.05 * network
    assert sum(layer.multiply_adds for layer in obfuscator.costs((96, 96, 3))) > 0.05 * network


@settings(max_examples=8, deadline=None)
@given(st.integers(32, 70), st.floats(0.1, 1.2))
def test_the_graph_is_the_table_at_any_size(side, width):
    model = built(OBFUSCATOR, side, width)
    assert model.output_shape == (None, side, side, 3)
    costs = obfuscator.costs((side, side, 3), width)
    assert sum(layer.parameters for layer in costs) == model.count_params()
    multiply_adds = 0
    for layer in graph.layers(model):
        if isinstance(layer, keras.layers.Conv2D):
            multiply_adds += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            multiply_adds += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
    assert sum(layer.multiply_adds for layer in costs) == multiply_adds
    assert graph.layers(model)[-1].name == "obfuscated"


def test_the_output_is_an_image_whatever_the_weights():
    model = built(OBFUSCATOR, 32, 0.25)
    model.set_weights([value * 3 for value in model.get_weights()])
    found = np.asarray(model(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)))
    assert found.min() >= 0 and found.max() <= 255


def test_folding_batch_norm_and_storing_keep_what_it_computes():
    trained = built(OBFUSCATOR, 40, 0.25, batch_norm=True, seed=1)
    rng = np.random.default_rng(0)
    for norm in (norm for layer in trained.layers for norm in graph.norms(layer)):
        norm.set_weights([rng.uniform(0.5, 1.5, v.shape) for v in norm.weights])
    images = rng.uniform(0, 255, (4, 40, 40, 3)).astype(np.float32)
    expected = np.asarray(trained(images, training=False))
    folded = graph.fold_batch_norm(graph.get_weights(trained))
    released = built(OBFUSCATOR, 40, 0.25)
    graph.set_weights(released, folded)
    np.testing.assert_allclose(released(images), expected, atol=0.01)
    stored = weights.decode(weights.encode(folded))
    for key, value in folded.items():
        assert stored[key].shape == value.shape
        scale = np.abs(value).max(axis=(0, 1)) if key.endswith("depthwise/kernel") else np.abs(value).max()
        assert (np.abs(stored[key] - value) <= scale / 127).all(), key


def test_seeds_decide_the_start():
    same, again, other = (built(OBFUSCATOR, 32, 0.25, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(same, other, strict=True))


def test_what_it_cannot_take():
    with pytest.raises(ConfigError, match="of 31 px is too small"):
        built(OBFUSCATOR, 31)
    with pytest.raises(ConfigError, match="of 16 px is too small"):
        obfuscator.costs((16, 16, 3))
    with pytest.raises(ConfigError, match="width 0"):
        obfuscator.modules(OBFUSCATOR, 0)
    with pytest.raises(ConfigError, match="multiples of 8 px, not 50"):
        bottleneck.check_any({48, 50})
    assert bottleneck.check_any({50}) == 50 and bottleneck.check_any({48, 64}) is None
