"""The one-cycle learning rate."""

from __future__ import annotations

import math

import keras


@keras.saving.register_keras_serializable(package="privzoo")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from a 25th of the peak to the peak, then falls to zero by a cosine (Smith and Topin 2018).

    Args:
        peak: highest learning rate.
        steps: optimizer steps in the whole run.
        warm_up: share of the steps until the peak.
    """

    def __init__(self, peak: float, steps: int, warm_up: float):
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step):
        """Learning rate at an optimizer step."""
        step = keras.ops.cast(step, "float32")
        rising_steps = max(1.0, self.warm_up * self.steps)
        rising = self.peak * (0.04 + 0.96 * step / rising_steps)
        progress = keras.ops.clip((step - rising_steps) / max(1.0, self.steps - rising_steps), 0.0, 1.0)
        falling = 0.5 * self.peak * (1.0 + keras.ops.cos(math.pi * progress))
        return keras.ops.where(step < rising_steps, rising, falling)

    def get_config(self) -> dict:
        """Constructor arguments, for Keras."""
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}
