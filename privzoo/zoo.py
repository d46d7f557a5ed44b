"""The one registry: names to models."""

from __future__ import annotations

import fnmatch
import os
import weakref
from typing import TYPE_CHECKING

from privzoo import card, config, embeddings, weights
from privzoo.card import Card
from privzoo.config import NetworkConfig
from privzoo.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import keras

    from privzoo.model import SplitModel

# Models of one network share its layers in memory, for as long as one of them is in use.
_networks: weakref.WeakValueDictionary[str, keras.Model] = weakref.WeakValueDictionary()


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, as `vgg16_gender_*`, sorted."""
    return fnmatch.filter(config.models(), pattern)


def show(name: str, head: str = config.FULL) -> Card:
    """Card of a model with its full or its slim head, without loading the model.

    Raises:
        UnknownNameError: no such model; the sentence has the closest names. Or the model has no such head.
    """
    return card.read(name, head)


def load_network(network: NetworkConfig) -> keras.Model:
    """Builds a released network and fills it with its weights, or gives the one that is in memory.

    Returns:
        `image` float32 RGB 0..255 (N, S, S, 3) -> probabilities (N, classes).

    Raises:
        WeightsError: its weights are missing or damaged.
        MissingExtraError: TensorFlow and Keras are not installed.
    """
    if (shared := _networks.get(network.name)) is not None:
        return shared
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes would bury privzoo's output
    try:
        import keras  # noqa: F401

        from privzoo.architectures import graph
    except ImportError:
        raise MissingExtraError(
            "Loading a model needs TensorFlow and Keras; install them with: pip install 'privzoo[cloud]'. "
            "A device needs privzoo.edge only."
        ) from None
    model = graph.inference_network(network, weights.load(network))
    _networks[network.name] = model
    return model


def load(name: str, epsilon: float | None = None, delta: float = 1e-5, head: str = config.FULL) -> SplitModel:
    """Loads a model.

    Args:
        name: `<network>_<task>_<embedding>_<cut>`, one of `list_models()`.
        epsilon: local-differential-privacy budget of one inference, from which the noise is set; None: the noise that
            the model was fitted to. Only for models with noise; `privzoo.mechanisms.gaussian` states the guarantee.
        delta: of the same budget.
        head: "full", or "slim" where the model has one: fewer multiply-adds on the device, for the same tail.

    Returns:
        The model with `head`, `tail`, `network`, `card`, `predict`, `export_head`, `export_tail`.

    Raises:
        UnknownNameError: no such model; the sentence has the closest names. Or the model has no such head.
        ConfigError: a budget for a model without noise, or one that cannot be.
        WeightsError: its weights are missing or damaged; never falls back to random ones.
        MissingExtraError: TensorFlow and Keras are not installed.

    Example:
        >>> model = load("vgg16_gender_simple_conv5_3")
        >>> model.head.output_shape
        (None, 6, 6, 512)
    """
    from privzoo.mechanisms import gaussian

    described = card.read(name, head)
    model = described.model
    if epsilon is not None and model.noise is None:
        raise ConfigError(f"{name} adds no noise, so that no epsilon can be kept; load a noisy or advanced model.")
    sigma = model.noise and model.noise.sigma
    if epsilon is not None:
        sigma = gaussian.budget_sigma(epsilon, delta, model.noise.clip)
    network = load_network(described.network)
    from privzoo.architectures import graph
    from privzoo.model import SplitModel

    arrays = weights.read(weights.find(model.weights)) if model.weights else {}
    front, tail = embeddings.get(model.embedding).attach(*graph.split(network, model.cut), arrays, model)
    if head == config.SLIM:
        from privzoo.embeddings import slim

        own = weights.read(weights.find(model.slim.weights))
        front = slim.filled(described.network, model, model.slim.channels, own)
    return SplitModel(
        described, network, front, tail, gaussian.Gaussian(sigma, model.noise.clip) if model.noise else None
    )
