"""The simple embedding: the network is cut, and the cut's activation is the feature (Osia et al. 2017, section III)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import numpy as np

    from privzoo.config import ModelConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Head and tail as the cut left them."""
    return head, tail
