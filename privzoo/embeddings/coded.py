"""The coded embedding's tail: class probabilities from a symbol and the budget that it was sent under.

The device sends a symbol by randomized response at a budget that it chooses. With J the probability of a class and the
true symbol, as counted on training data, and p and q those of a true and of each other symbol, Bayes' rule says

    P(class | received r) is proportional to (p - q) J[class, r] + q P(class),   p = e^eps / (e^eps + k - 1)

so that one tail serves all budgets, and a symbol received at a small budget is weak evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from privzoo.config import given
from privzoo.embeddings import reduced
from privzoo.errors import ConfigError, WeightsError
from privzoo.mechanisms.codebook import Codebook

if TYPE_CHECKING:
    from privzoo.config import ModelConfig

# Names of a code's arrays. None ends in "/kernel": weights files would quantize it, and move the regions.
REGIONS, OFFSETS, SYMBOLS, JOINT = "code/regions", "code/offsets", "code/symbols", "code/joint"
SYMBOL, EPSILON = "symbol", "epsilon"  # names of the tail's inputs


def attach(
    head: keras.Model, tail: keras.Model, arrays: Mapping[str, np.ndarray], model: ModelConfig
) -> tuple[keras.Model, keras.Model]:
    """Appends the base model's reduction to the head, and replaces the tail by Bayes' rule.

    Args:
        head: `image` -> activation (N, h, w, c), as the cut left it.
        tail: activation -> probabilities; a code has no use for it.
        arrays: those of `reduced.attach`, of the base model, with those of `arrays_of`.
        model: with a code.

    Returns:
        head: `image` -> the reduced feature (N, dimensions), whose symbol `book_of` gives, and the tail of `tail_of`.

    Raises:
        ConfigError: the model's config has no code, or arrays do not fit it.
        WeightsError: arrays are missing, as before the code was fitted.
    """
    check(arrays, tail.output_shape[-1], model)
    front, _ = reduced.attach(head, tail, arrays, model)
    return front, tail_of(arrays[JOINT])


def check(arrays: Mapping[str, np.ndarray], classes: int, model: ModelConfig) -> None:
    """Refuses arrays that are not those of a model's code.

    Raises:
        ConfigError: the model's config has no code, or arrays do not fit it.
        WeightsError: arrays are missing.
    """
    if model.code is None:
        raise ConfigError(f"{model.name} is a coded embedding whose config has no code; give it a base and an epsilon.")
    book_of(arrays, model)
    if np.shape(arrays[JOINT]) != (classes, model.code.symbols):
        raise ConfigError(f"{JOINT} of {model.name} has the shape {np.shape(arrays[JOINT])}; fit the code again.")


def arrays_of(book: Codebook, joint: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a weights file; as float32, which preserves a book of `rounded` exactly."""
    return {
        REGIONS: np.asarray(book.kernel, np.float32),
        OFFSETS: np.asarray(book.bias, np.float32),
        SYMBOLS: np.asarray(book.symbols, np.float32),
        JOINT: np.asarray(joint, np.float32),
    }


def book_of(arrays: Mapping[str, np.ndarray], model: ModelConfig) -> Codebook:
    """Codebook of a model's arrays.

    Raises:
        WeightsError: it has none yet.
        ConfigError: the arrays are not a codebook, or have another number of symbols than the config says.
    """
    for key in (REGIONS, OFFSETS, SYMBOLS, JOINT):
        if key not in arrays:
            raise WeightsError(f"The model {model.name} has no released {key} yet; fit it with tools/fit.py.")
    kernel = tuple(tuple(map(float, row)) for row in arrays[REGIONS])
    book = Codebook(kernel, tuple(map(float, arrays[OFFSETS])), tuple(map(int, arrays[SYMBOLS])))
    code = given(model.code, f"{model.name} has no code")
    if (len(kernel), book.k) != (model.dimensions, code.symbols):
        raise ConfigError(
            f"The codebook of {model.name} has {book.k} symbols of {len(kernel)} numbers, not {code.symbols} of "
            f"{model.dimensions}; fit it again."
        )
    return book


@keras.saving.register_keras_serializable(package="privzoo")
class Posterior(keras.layers.Layer):
    """Bayes' rule for a randomized response.

    Args:
        classes: how many.
        symbols: k.
    """

    def __init__(self, classes: int, symbols: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.symbols = classes, symbols
        self.joint = self.add_weight(shape=(symbols, classes), name="joint", trainable=False)

    def call(self, symbol: Any, epsilon: Any) -> Any:
        """Probabilities of the classes, (N, classes), from symbols (N,) and budgets (N,).

        An unknown symbol, or a budget of 0 or below, carries no information: these give the prior.
        """
        prior = keras.ops.sum(self.joint, 0)
        # Both divided by e^eps, which neither overflows nor loses the lie at a large budget.
        lie = keras.ops.exp(-keras.ops.maximum(epsilon, 0.0))[:, None]
        true = keras.ops.matmul(keras.ops.one_hot(symbol, self.symbols, dtype=self.joint.dtype), self.joint)
        weight = (1 - lie) * true + lie * prior
        # With no lie and no such symbol there is no evidence at all.
        known = keras.ops.sum(weight, -1, keepdims=True)
        return keras.ops.where(known > 0, weight / keras.ops.where(known > 0, known, 1.0), prior)

    def get_config(self) -> dict[str, Any]:
        """Numbers of classes and symbols."""
        return {**super().get_config(), "classes": self.classes, "symbols": self.symbols}


def tail_of(joint: np.ndarray) -> keras.Model:
    """Builds the tail.

    Args:
        joint: (classes, k), above 0: probability of a class and the true symbol.

    Returns:
        `symbol` int32 (N,) and `epsilon` float32 (N,) -> probabilities float32 (N, classes).

    Raises:
        ConfigError: a table that is not one of probabilities.
    """
    table = np.asarray(joint, np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not (np.isfinite(table).all() and (table > 0).all()):
        raise ConfigError(f"The joint probabilities, of shape {table.shape}, are invalid; fit the code again.")
    symbol = keras.Input((), name=SYMBOL, dtype="int32")
    epsilon = keras.Input((), name=EPSILON, dtype="float32")
    posterior = Posterior(*table.shape, name="posterior")
    model = keras.Model({SYMBOL: symbol, EPSILON: epsilon}, posterior(symbol, epsilon), name="tail")
    posterior.joint.assign((table / table.sum()).T)
    return model
