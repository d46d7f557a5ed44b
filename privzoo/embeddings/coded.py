"""The coded embedding's tail: class probabilities from a symbol and the budget that it was sent under.

The device sends a symbol by randomized response at a budget of its own choosing. With J the chance of a class and the
true symbol, as counted on training data, and p and q those of a true and of each other symbol, Bayes' rule says

    P(class | received r) is proportional to (p - q) J[class, r] + q P(class),   p = e^eps / (e^eps + k - 1)

so that one tail serves all budgets, and a symbol that was received at a small budget is weak evidence.
"""

from __future__ import annotations

import keras
import numpy as np

from privzoo.errors import ConfigError

SYMBOL, EPSILON = "symbol", "epsilon"  # names of the tail's inputs


@keras.saving.register_keras_serializable(package="privzoo")
class Posterior(keras.layers.Layer):
    """Bayes' rule for a randomized response.

    Args:
        classes: how many.
        symbols: k.
    """

    def __init__(self, classes: int, symbols: int, **options):
        super().__init__(**options)
        self.classes, self.symbols = classes, symbols
        self.joint = self.add_weight(shape=(symbols, classes), name="joint", trainable=False)

    def call(self, symbol, epsilon):
        """Chances of the classes, (N, classes), from symbols (N,) and budgets (N,).

        A symbol that the code does not have says nothing, nor does a budget of 0 or below: they give the prior.
        """
        prior = keras.ops.sum(self.joint, 0)
        # Both over e^eps: that neither overflows nor loses the lie at a large budget.
        lie = keras.ops.exp(-keras.ops.maximum(epsilon, 0.0))[:, None]
        true = keras.ops.matmul(keras.ops.one_hot(symbol, self.symbols, dtype=self.joint.dtype), self.joint)
        weight = (1 - lie) * true + lie * prior
        # With no lie and no such symbol there is no evidence at all.
        known = keras.ops.sum(weight, -1, keepdims=True)
        return keras.ops.where(known > 0, weight / keras.ops.where(known > 0, known, 1.0), prior)

    def get_config(self):
        """Numbers of classes and symbols."""
        return {**super().get_config(), "classes": self.classes, "symbols": self.symbols}


def tail(joint: np.ndarray) -> keras.Model:
    """Builds the tail.

    Args:
        joint: (classes, k), above 0: chance of a class and the true symbol.

    Returns:
        `symbol` int32 (N,) and `epsilon` float32 (N,) -> probabilities float32 (N, classes).

    Raises:
        ConfigError: a table that is none of chances.
    """
    table = np.asarray(joint, np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not (np.isfinite(table).all() and (table > 0).all()):
        raise ConfigError(f"The chances of class and symbol, of shape {table.shape}, cannot be; fit the code again.")
    symbol = keras.Input((), name=SYMBOL, dtype="int32")
    epsilon = keras.Input((), name=EPSILON, dtype="float32")
    posterior = Posterior(*table.shape, name="posterior")
    model = keras.Model({SYMBOL: symbol, EPSILON: epsilon}, posterior(symbol, epsilon), name="tail")
    posterior.joint.assign((table / table.sum()).T)
    return model
