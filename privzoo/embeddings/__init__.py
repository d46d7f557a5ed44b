"""What happens at the cut: one module per embedding, each with `attach(head, tail, arrays, model)`."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from privzoo.errors import ConfigError, UnknownNameError
from privzoo.outputs import ATTRIBUTES

if TYPE_CHECKING:
    from privzoo.config import ModelConfig, NetworkConfig

# Embedding -> its module; if two share one, their networks differ.
EMBEDDINGS = {
    "simple": "simple",
    "reduced_simple": "reduced",
    "noisy_reduced_simple": "noisy",
    "siamese": "siamese",
    "reduced_siamese": "reduced",
    "advanced": "noisy",
    "coded": "coded",
    "label": "label",
    "datamix": "datamix",
    "obfuscated": "obfuscated",
}


def get(name: str) -> ModuleType:
    """Module of an embedding.

    Raises:
        UnknownNameError: no such embedding.
    """
    if name not in EMBEDDINGS:
        raise UnknownNameError(f"There is no embedding {name!r}; there are {', '.join(EMBEDDINGS)}.")
    return importlib.import_module(f"privzoo.embeddings.{EMBEDDINGS[name]}")


def check(model: ModelConfig, network: NetworkConfig) -> None:
    """Refuses an embedding that its network's output does not allow.

    Raises:
        ConfigError: it is made for one class for each face, and the network tells attributes.
    """
    one_class = model.dimensions is not None or model.code is not None or "siamese" in model.embedding
    if network.output == ATTRIBUTES and one_class:
        raise ConfigError(
            f"{model.name} cannot be made: the embedding {model.embedding} needs one class for each face, and "
            f"{network.name} tells {len(network.classes)} attributes; use simple or datamix."
        )
