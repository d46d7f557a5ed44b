"""DataMix's three parts, against its equation 2 and its Table 1."""

from __future__ import annotations

import numpy as np
import pytest

from privzoo import architectures
from privzoo.errors import ConfigError


@pytest.mark.parametrize(
    ("blocks", "cut", "share", "mebibytes"), [(1, "conv1_1", 0.006, 12.3), (2, "pool1", 0.125, 3.1)]
)
def test_blocks_of_vgg16_are_those_of_table_1(blocks, cut, share, mebibytes):
    assert architectures.block_cut("vgg16", blocks) == cut
    costs = architectures.costs("vgg16", 224, 1000, (4096, 4096))
    end = [layer.name for layer in costs].index(cut) + 1
    head, whole = (sum(layer.multiply_adds for layer in part) for part in (costs[:end], costs))
    assert head / whole == pytest.approx(share, abs=5e-4)  # the paper rounds up: 1 and 13 %
    assert np.prod(costs[end - 1].shape) * 4 / 2**20 == pytest.approx(mebibytes, abs=0.06)


def test_a_block_has_one_convolution_and_what_follows_it():
    assert [architectures.block_cut("vgg16", n) for n in range(1, 6)] == [
        "conv1_1",
        "pool1",
        "conv2_1",
        "pool2",
        "conv3_1",
    ]
    assert architectures.block_cut("vgg_s", 1) == "pool1"


@pytest.mark.parametrize("blocks", [0, 13])
def test_a_network_without_main_is_refused(blocks):
    with pytest.raises(ConfigError, match="give 1 to 12"):
        architectures.block_cut("vgg16", blocks)


@pytest.mark.parametrize(
    ("architecture", "blocks", "options"),
    [
        ("vgg16", 1, {}),
        ("vgg16", 2, {}),
        ("vgg16", 3, {"classifier": (16, 8)}),
        ("vgg_s", 1, {"lrn": True}),
        ("vgg16", 1, {"batch_norm": True}),
    ],
)
def test_three_parts_are_the_network(architecture, blocks, options):
    import keras

    from privzoo.architectures import graph

    keras.utils.set_random_seed(1)
    network = graph.build(architecture, 3, input_size=48, **options)
    pre, main, post = graph.split3(network, blocks)
    x = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype(np.float32)
    assert np.array_equal(np.asarray(post(main(pre(x)))), np.asarray(network(x)))
    names = [[layer.name for layer in graph.layers(part)] for part in (pre, main, post)]
    assert sum(names, []) == [layer.name for layer in graph.layers(network)]
    assert names[1][0].startswith("conv") and names[2] == ["fc8", "probabilities"]
    assert (pre.input.name, main.input.name, post.input.name) == ("image", "features", "hidden")
