"""The DataMix embedding: pre on the device, main in the cloud, post on the device (Liu et al. 2020, equation 2).

What leaves the device are mixtures of a group's features, whose key stays there (`privzoo.mechanisms.mixing`). The head
is pre, the tail is main, and post is the network's last layer, which the device computes from the unmixed answers.

Mixing is linear; a bias is not. main meets sums of faces with coefficients of either sign, and its convolutions have
biases (batch norm is folded into them), so that main of a mixture is not the mixture of main's answers. Mixing-aware
training (`privzoo.training.mixing`) makes the network useful in spite of that, and its accuracy is measured with
mixtures. On single faces, without mixing, the network of such a model is not meant to be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras

from privzoo.architectures import BLOCK, LAST, graph
from privzoo.errors import ConfigError
from privzoo.mechanisms.mixing import Mixing

if TYPE_CHECKING:
    import numpy as np

    from privzoo.config import ModelConfig, NetworkConfig

HIDDEN = "hidden"  # name of main's output


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """The head as the cut left it, and the tail without the network's last layer.

    Args:
        head: `image` -> activation (N, h, w, c); its layers are shared, not copied.
        tail: activation -> probabilities (N, classes), likewise.
        arrays: none.
        model: cut after a number of blocks.
    """
    found = graph.layers(tail)
    end = [layer.name for layer in found].index(LAST)
    return head, graph.chain(found[:end], tail.input_shape[1:], "features", "tail")


def mixing_of(network: keras.Model, config: NetworkConfig, model: ModelConfig) -> Mixing:
    """What the device does around the tail: how it mixes, and the network's last layer.

    Args:
        network: of `graph.inference_network`.
        config: of the network.
        model: that is cut from it.

    Raises:
        ConfigError: the network was not trained on mixtures at this cut.
    """
    settings = config.mixing
    if settings is None or model.cut != f"{BLOCK}{settings.blocks}":
        raise ConfigError(
            f"{model.name} sends mixtures at {model.cut}, but {config.name} was not trained on mixtures there; give a "
            "network that was, with tools/train.py."
        )
    kernel, bias = network.get_layer(LAST).get_weights()
    return Mixing(settings.group, settings.coefficients, kernel, bias, config.output)
