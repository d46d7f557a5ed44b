"""What a model's two halves cost, from the layer tables. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from privzoo import architectures
from privzoo.architectures import obfuscator
from privzoo.architectures.layers import LayerCost
from privzoo.config import DATAMIX, FULL, HEADS, LABEL, OBFUSCATED, SLIM, ModelConfig, NetworkConfig
from privzoo.errors import ConfigError, UnknownNameError

BYTES_OF_FLOAT32 = 4


@dataclass(frozen=True)
class Cost:
    """What a model's two halves cost per image; counts come from the layer tables."""

    feature_shape: tuple[int, ...]  # height, width, channels, or (dimensions,); a code is a symbol and its epsilon
    feature_bytes: int  # as float32, before any framing; the symbol of a code is one byte
    head_parameters: int
    tail_parameters: int
    head_multiply_adds: int
    tail_multiply_adds: int
    network_multiply_adds: int  # of the full head and the tail

    @property
    def head_share(self) -> float:
        """The head's multiply-adds as a share of the full head's and the tail's, 0..1."""
        return self.head_multiply_adds / self.network_multiply_adds


def heads(model: ModelConfig) -> tuple[str, ...]:
    """Heads that a model has."""
    return HEADS if model.slim else (FULL,)


def check_head(model: ModelConfig, head: str) -> None:
    """Raises UnknownNameError unless a model has the head."""
    if head not in heads(model):
        raise UnknownNameError(f"{model.name} has no head {head!r}; it has {', '.join(heads(model))}.")


def _head_costs(
    model: ModelConfig, network: NetworkConfig, channels: Mapping[str, int] | None = None
) -> list[LayerCost]:
    """Costs of the layers up to the cut, and of the reduction if there is one."""
    layers = architectures.costs(
        network.architecture, network.input_shape, len(network.classes), network.classifier, channels
    )
    cut = architectures.cut_layer(network.architecture, model.cut)
    found = layers[: [layer.name for layer in layers].index(cut) + 1]
    if model.dimensions and model.embedding != LABEL:
        products = math.prod(found[-1].shape) * model.dimensions
        found.append(LayerCost("reduce", (model.dimensions,), products + model.dimensions, products))
    return found


def cost(model: ModelConfig, network: NetworkConfig, head: str = FULL) -> Cost:
    """Computes a model's cost from the layer tables and its reduction.

    Raises:
        UnknownNameError: the network's architecture cannot be cut there, or the model has no such head.
        ConfigError: an obfuscated model of a network without an obfuscator, or another model of one with it.
    """
    if (model.embedding == OBFUSCATED) != (network.obfuscation is not None):
        raise ConfigError(
            f"{model.name} is {model.embedding}, but {network.name} has {'an' if network.obfuscation else 'no'} "
            "obfuscator; an obfuscated model needs a network that was trained with one, and other models one without."
        )
    if model.embedding != LABEL or model.cut != architectures.LAST:
        architectures.check_cut(network.architecture, model.cut)
    check_head(model, head)
    layers = architectures.costs(network.architecture, network.input_shape, len(network.classes), network.classifier)
    if network.obfuscation:
        front = obfuscator.costs(network.input_shape, network.obfuscation.width)
        return _cost(front, layers, front)
    end = [layer.name for layer in layers].index(architectures.cut_layer(network.architecture, model.cut)) + 1
    full, tail = _head_costs(model, network), layers[end:]
    own = _head_costs(model, network, model.slim.channels) if head == SLIM and model.slim else full
    if model.embedding == DATAMIX:  # the last layer is the device's too
        shape = full[-1].shape
        found = _cost([*full, tail[-1]], tail[:-1], [*full, tail[-1]])
        return dataclasses.replace(found, feature_shape=shape, feature_bytes=math.prod(shape) * BYTES_OF_FLOAT32)
    if model.code:
        weights = (model.code.symbols or 0) * len(network.classes)
        found = _cost(own, [LayerCost("posterior", (len(network.classes),), weights, weights)], full)
        return dataclasses.replace(found, feature_shape=(2,), feature_bytes=1)
    if model.dimensions:
        shape = layers[end - 1].shape
        products = math.prod(shape) * model.dimensions
        tail.insert(0, LayerCost("reconstruct", shape, products + math.prod(shape), products))
    return _cost(own, tail, full)


def _cost(head: list[LayerCost], tail: list[LayerCost], full: list[LayerCost]) -> Cost:
    return Cost(
        feature_shape=head[-1].shape,
        feature_bytes=math.prod(head[-1].shape) * BYTES_OF_FLOAT32,
        head_parameters=sum(layer.parameters for layer in head),
        tail_parameters=sum(layer.parameters for layer in tail),
        head_multiply_adds=sum(layer.multiply_adds for layer in head),
        tail_multiply_adds=sum(layer.multiply_adds for layer in tail),
        network_multiply_adds=sum(layer.multiply_adds for layer in (*full, *tail)),
    )
