"""The noisy reduced embeddings, among them the advanced one: a reduced feature to which the device adds noise.

Osia et al. 2017, section III.C. Head and tail are the reduced embedding's. The noise is not a layer:
`privzoo.mechanisms.gaussian` draws it on the device from the operating system's secure source.
`privzoo.training.reduction` scales the components so that one standard deviation and one clipping radius suit all, and
fits the tail's reconstruction (the linear estimate of least mean squared error) and its classifier to what arrives with
the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from privzoo.embeddings import reduced
from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from privzoo.config import ModelConfig


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """As `reduced.attach`; the head's output still lacks the noise.

    Raises:
        ConfigError: the model's config has no noise: without it, the feature is not what the name promises.
        WeightsError: arrays are missing, as before the embedding was fitted.
    """
    if model.noise is None:
        raise ConfigError(f"{model.name} is a noisy embedding whose config has no noise; give it sigma and clip.")
    return reduced.attach(head, tail, arrays, model)
