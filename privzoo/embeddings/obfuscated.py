"""The obfuscated embedding: what leaves the device is an image that people cannot read (Leroux et al. 2018).

The head is the obfuscator (`privzoo.architectures.obfuscator`), the tail the whole network, which was trained on plain
images and is not changed: its weights are its parent's, bit for bit. `privzoo.training.obfuscation` trains the
obfuscator together with a deobfuscator that it learns to defeat. That this one fails says nothing about others: an
attacker trains a fresh one on the finished obfuscator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from privzoo.architectures import bottleneck, graph, obfuscator
from privzoo.config import given
from privzoo.embeddings import simple
from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from privzoo.config import ModelConfig, NetworkConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Head and tail as the cut left them; with a step, the image is rounded.

    Args:
        head: `image` -> obfuscated image (N, S, S, 3), RGB 0..255; its layers are shared, not copied.
        tail: obfuscated image -> probabilities (N, classes), likewise.
        arrays: none.
        model: cut at `image`. A step of 1 sends whole numbers, as images have.

    Raises:
        ConfigError: another cut.
    """
    if model.cut != obfuscator.CUT:
        raise ConfigError(f"{model.name} is obfuscated, but cut at {model.cut}; its cut must be {obfuscator.CUT}.")
    return simple.attach(head, tail, arrays, model)


def deobfuscator(network: NetworkConfig, arrays: Mapping[str, np.ndarray]) -> keras.Model:
    """The deobfuscator that a released obfuscator was trained against, for pictures: not the strongest attacker.

    Args:
        network: with an obfuscation.
        arrays: of `privzoo.weights.load`.

    Returns:
        Obfuscated image, RGB 0..255 (N, S, S, 3) -> image of the same kind.

    Raises:
        ConfigError: the network has no obfuscator, or the arrays are of another one.
    """
    settings = given(network.obfuscation, f"{network.name} has no obfuscator")
    layers = bottleneck.layers(obfuscator.DEOBFUSCATOR, network.chip_side, settings.decoder_width)
    model = graph.chain(layers, network.input_shape, obfuscator.CUT, obfuscator.DEOBFUSCATOR)
    graph.set_weights(model, dict(arrays))
    return model
