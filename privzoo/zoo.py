"""The one registry: names to models."""

from __future__ import annotations

import fnmatch
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privzoo import card, config, embeddings, forks, weights
from privzoo.card import Card
from privzoo.config import ModelConfig, NetworkConfig, WeightsFile
from privzoo.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import keras

    from privzoo.model import SplitModel

# Models of one network share its layers in memory, for as long as one of them is in use.
_networks: weakref.WeakValueDictionary[str, keras.Model] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Planned:
    """A model that cannot be loaded yet, or a network that has not been trained yet."""

    kind: str  # "model" or "network"
    name: str
    network: str  # the network's own name, if it is one
    cut: str | None  # None: a network
    embedding: str | None  # None: a network
    missing: str  # what is missing


def list_models(pattern: str = "*", planned: bool = False) -> list[str]:
    """Names of the models that match a shell pattern, such as `vgg16_gender_*`, sorted.

    Args:
        pattern: of the names.
        planned: models without weights instead of those with weights.
    """
    missing = {model.name: model for model in planned_models(pattern)}
    return (
        list(missing) if planned else [name for name in fnmatch.filter(config.models(), pattern) if name not in missing]
    )


def planned_models(pattern: str = "*") -> list[Planned]:
    """The models without weights on this machine that match a shell pattern, by name, and what each lacks.

    Weights exist if their files are bundled or cached, or a mirror is set from which `load` fetches them.
    """
    networks: dict[str, str | None] = {}
    folder = config.config_folder() / "planned" / "models"
    files = {**{path.stem: path for path in folder.glob("*.yaml")}, **config.models()}
    found = []
    for name in sorted(fnmatch.filter(files, pattern)):
        model = config.read(ModelConfig, files[name])
        if model.network not in networks:
            networks[model.network] = _missing_network(model.network)
        missing = networks[model.network] or _missing_file(model.weights, name, needed=model.dimensions is not None)
        if not missing and model.code and model.code.base:
            base = config.model(model.code.base)
            missing = _missing_file(base.weights, base.name, needed=True)
        if missing or name not in config.models():
            found.append(Planned("model", name, model.network, model.cut, model.embedding, missing or "its release"))
    return found


def planned_networks(pattern: str = "*") -> list[Planned]:
    """The networks of `zoo_configs/planned` that match a shell pattern, by name: described, but not trained."""
    files = (config.config_folder() / "planned" / "networks").glob("*.yaml")
    names = sorted(fnmatch.filter({path.stem for path in files}, pattern))
    return [Planned("network", name, name, None, None, "its training (tools/train.py)") for name in names]


def _missing_network(name: str) -> str | None:
    """What a network or its parent lacks."""
    if name not in config.networks():
        return f"weights of the network {name}"
    network = config.network(name)
    missing = _missing_file(network.weights, f"the network {name}", needed=True)
    return missing or (_missing_network(network.parent) if network.parent else None)


def _missing_file(entry: WeightsFile | None, of: str, needed: bool) -> str | None:
    if entry is None:
        return f"weights of {of}" if needed else None
    missing = weights.missing(entry)
    return f"the file {missing}" if missing else None


def show(name: str, head: str = config.FULL) -> Card:
    """Card of a model with its full or its slim head, without loading the model.

    Raises:
        UnknownNameError: no such model; the message has the closest names. Or the model has no such head.
    """
    return card.read(name, head)


def load_network(network: NetworkConfig) -> keras.Model:
    """Builds a released network and fills it with its weights, or returns the one in memory.

    Returns:
        `image` float32 RGB 0..255 (N, S, S, 3) -> probabilities (N, classes).

    Raises:
        WeightsError: its weights are missing or damaged.
        MissingExtraError: TensorFlow and Keras are not installed.
    """
    forks.check()
    if (shared := _networks.get(network.name)) is not None:
        return shared
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up messages would bury privzoo's output
    try:
        import keras  # noqa: F401

        from privzoo.architectures import graph
    except ImportError:
        raise MissingExtraError(
            "Loading a model needs TensorFlow and Keras; install them with: pip install 'privzoo[cloud]'. "
            "A device needs privzoo.edge only."
        ) from None
    arrays = weights.load(network)
    forks.remember()
    model = graph.inference_network(network, arrays)
    _networks[network.name] = model
    return model


def load(
    name: str,
    epsilon: float | None = None,
    delta: float | None = None,
    head: str = config.FULL,
    permanent: str | os.PathLike[str] | None = None,
    covers: str | os.PathLike[str] | None = None,
) -> SplitModel:
    """Loads a model.

    Args:
        name: `<network>_<task>_<embedding>_<cut>`, one of `list_models()`.
        epsilon: local-differential-privacy budget of one inference, which determines the noise; None: the noise that
            the model was fitted to. Only for models with noise or a code; `privzoo.mechanisms.gaussian` and
            `privzoo.mechanisms.randomized_response` state the guarantee.
        delta: of the same budget; None: 1e-5. Refused for codes, which have none.
        head: "full", or "slim" if the model has one: fewer multiply-adds on the device, for the same tail.
        permanent: file of the device's secret, created if missing, with which answers of a coded model are
            drawn once for each `slot` and repeated (`privzoo.mechanisms.permanent`); None: each is a fresh draw.
        covers: folder of photographs of other people, with which a DataMix model fills its groups, each once
            (`privzoo.mechanisms.covers`); None: chips that come with the package.

    Returns:
        The model with `head`, `tail`, `network`, `card`, `predict`, `export_head`, `export_tail`.

    Raises:
        UnknownNameError: no such model; the message has the closest names. Or the model has no such head.
        ConfigError: a budget for a model without noise, or an invalid one; permanent answers of a model without a
            code, or a secret that cannot be used; covers for a model that does not mix, or none in the folder.
        WeightsError: its weights are missing or damaged; never falls back to random ones.
        MissingExtraError: TensorFlow and Keras are not installed.
        ForkError: this process was forked after models were loaded.

    Example:
        >>> model = load("vgg16_gender_simple_conv5_3")
        >>> model.head.output_shape
        (None, 6, 6, 512)
    """
    from privzoo.mechanisms import permanent as answers
    from privzoo.mechanisms.budget import check_delta
    from privzoo.mechanisms.gaussian import Gaussian
    from privzoo.mechanisms.randomized_response import RandomizedResponse, check_budget

    described = card.read(name, head)
    model = described.model
    if epsilon is not None and model.noise is None and model.code is None:
        raise ConfigError(f"{name} adds no noise, so it cannot keep an epsilon; load a coded, noisy or advanced model.")
    if covers is not None and model.embedding != config.DATAMIX:
        raise ConfigError(f"{name} mixes no faces, so it has no use for covers; leave them out.")
    # All checked before loading, which takes seconds.
    delta = check_delta(epsilon, delta, name, bool(model.code) if model.code or model.noise else None)
    if model.code:
        check_budget(model.code.epsilon if epsilon is None else epsilon)
    embeddings.check(model, described.network)
    answers.permanent(permanent, None, name if model.code else None, name)
    noise = Gaussian(model.noise.sigma, model.noise.clip) if model.noise else None
    if noise and epsilon is not None:
        noise = Gaussian.keeping(epsilon, delta, noise.clip)
    network = load_network(described.network)
    from privzoo.architectures import graph
    from privzoo.model import SplitModel

    if model.embedding == config.DATAMIX:
        from privzoo import mixed

        return mixed.load(described, network, covers)
    arrays = weights.stored(model.weights) if model.weights else {}
    if model.code:
        arrays = weights.of_base(model) | arrays
    front, tail = embeddings.get(model.embedding).attach(*graph.split(network, model.cut), arrays, model)
    if head == config.SLIM:
        from privzoo.embeddings import slim

        own = config.given(model.slim, f"{model.name} has no slim head")
        front = slim.filled(described.network, model, own.channels, weights.stored(own.weights))
    if model.code:
        from privzoo.embeddings import coded

        book = coded.book_of(arrays, model)
        response = RandomizedResponse(book.k, model.code.epsilon if epsilon is None else epsilon)
        repeated = answers.permanent(permanent, response, book.name, name)
        return SplitModel(described, network, front, tail, response, book, repeated)
    return SplitModel(described, network, front, tail, noise)
