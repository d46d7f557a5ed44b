"""Slim heads: another head for the same tail, with fewer channels in every convolution.

A slim head ends with the same reduction to as many numbers, which mean the same: it was trained to reproduce its
parent's feature. So rounding, clipping and noise are the parent's too. `tools/optimising` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from privzoo.architectures import graph
from privzoo.embeddings import reduced
from privzoo.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from privzoo.config import ModelConfig, NetworkConfig


def build(network: NetworkConfig, model: ModelConfig, channels: Mapping[str, int]) -> keras.Model:
    """Builds a slim head with fresh weights.

    Args:
        network: that the parent's head is cut from.
        model: of reduced features.
        channels: convolution -> its output channels; missing ones keep the parent's width.

    Returns:
        `image` float32 RGB 0..255 (N, S, S, 3) -> `features` (N, k).

    Raises:
        ConfigError: the model's feature is an activation, or invalid channels.
        UnknownNameError: channels of a layer that the network lacks.
    """
    if model.dimensions is None:
        raise ConfigError(f"{model.name} sends an activation; only heads of reduced features are made slim.")
    for layer, count in channels.items():
        if count < 1:
            raise ConfigError(f"A slim {layer} of {model.name} cannot have {count} channels; give 1 or more.")
    whole = graph.build(
        network.architecture,
        len(network.classes),
        input_size=network.input_size,
        lrn=network.lrn,
        channels=channels,
    )
    head, _ = graph.split(whole, model.cut)
    end = reduced.reducing(head.output_shape[1:], model)
    return graph.chain([*graph.layers(head), *end], head.input_shape[1:], "image", "head")


def filled(
    network: NetworkConfig, model: ModelConfig, channels: Mapping[str, int], arrays: Mapping[str, np.ndarray]
) -> keras.Model:
    """As `build`, with weights.

    Args:
        arrays: `<layer>/kernel` and `<layer>/bias` of every layer up to the reduction, `reduce`.

    Raises:
        WeightsError: they are of other channels, or some are missing.
    """
    head = build(network, model, channels)
    try:
        graph.set_weights(head, dict(arrays))
    except ConfigError as error:
        raise WeightsError(f"These weights are not those of the slim head of {model.name}: {error}") from None
    return head
