"""The one-cycle learning rate, and the optimizer that follows it."""

from __future__ import annotations

import math
from typing import Any

import keras

from privzoo.config import TrainingConfig

CLASSIFIER = "fc8"


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

    def __call__(self, step: Any) -> Any:
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


class FastClassifierSGD(keras.optimizers.SGD):
    """SGD with a learning rate of its own for the classifier, as Osia et al. fine-tune.

    Args:
        multiplier: of the learning rate of `fc8`.
        options: of Keras's SGD.
    """

    def __init__(self, *args: Any, multiplier: float = 1.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.multiplier = multiplier

    def build(self, variables: list[keras.Variable]) -> None:
        """Records which variables are the classifier's: backends hide their names later."""
        self._is_classifier = [f"{CLASSIFIER}/" in v.path for v in variables]
        super().build(variables)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """One step of one variable."""
        if self._is_classifier[self._get_variable_index(variable)]:
            learning_rate = learning_rate * self.multiplier
        super().update_step(gradient, variable, learning_rate)


def optimizer(training: TrainingConfig, steps: int, classifier_multiplier: float = 1.0) -> keras.optimizers.Optimizer:
    """Nesterov SGD over one learning-rate cycle of `steps`."""
    made = FastClassifierSGD(
        OneCycle(training.peak_learning_rate, steps, training.warm_up),
        multiplier=classifier_multiplier,
        momentum=training.momentum,
        nesterov=True,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm,
        name="SGD",
    )
    made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return made
