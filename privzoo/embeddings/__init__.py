"""What happens at the cut: one module per embedding, each with `attach(head, tail, arrays, model)`."""

from __future__ import annotations

import importlib
from types import ModuleType

from privzoo.errors import UnknownNameError

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
