"""The layer that rounds a feature on the device, for every embedding whose config has a step."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="privzoo")
class Round(keras.layers.Layer):
    """Rounds to whole numbers."""

    def call(self, x):
        """Rounds a tensor of any shape."""
        return keras.ops.round(x)
