"""How a network's output is read: as one class of several, or as attributes, each of which is present or not.

One class: logits become probabilities by softmax, which add up to 1; the answer is the most likely class. Attributes:
each logit becomes a probability by the logistic function, whatever the others are; those above 0.5 are present.

This is the one place that knows the difference; networks, devices, mixing, figures and tables ask it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

Output = Literal["class", "attributes"]
CLASS: Literal["class"] = "class"
ATTRIBUTES: Literal["attributes"] = "attributes"
KEY = "output"  # entry of a manifest; without it, the answer is one class
PRESENT = 0.5  # above this probability an attribute counts as present
NONE = ""  # label of an answer without any attribute present


def of_manifest(manifest: Any, source: str) -> Output:
    """The kind of output that a manifest names.

    Args:
        manifest: of a head or tail.
        source: what errors call the file it came from.

    Raises:
        ConfigError: a kind that this version does not know.
    """
    found = manifest.get(KEY, CLASS)
    if found not in (CLASS, ATTRIBUTES):
        raise ConfigError(f"The head in {source} has an unknown kind of output, {found!r}; update privzoo.")
    return found


def probabilities(logits: np.ndarray, output: Output) -> np.ndarray:
    """Softmax, or the logistic function of each: float64 logits (N, classes) -> float32 probabilities."""
    import numpy as np

    logits = np.asarray(logits, np.float64)
    if output == ATTRIBUTES:
        return (0.5 + 0.5 * np.tanh(0.5 * logits)).astype(np.float32)  # cannot overflow
    powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def decided(probabilities: Any, output: Output) -> np.ndarray:
    """Answers that are compared with the truth.

    Args:
        probabilities: (N, classes).
        output: the kind.

    Returns:
        int (N,), the most likely class; or of attributes int (N, classes), 1 where one is present.

    Example:
        >>> decided([[0.9, 0.2, 0.6]], ATTRIBUTES).tolist()
        [[1, 0, 1]]
    """
    import numpy as np

    values = np.asarray(probabilities)
    return (values > PRESENT).astype(int) if output == ATTRIBUTES else values.argmax(1)


def label(row: Any, names: Sequence[str], output: Output) -> str:
    """The answer in words.

    Args:
        row: probabilities (classes,).
        names: of the classes or attributes.
        output: the kind.

    Returns:
        The most likely class; or the attributes that are present, in the order of their names, joined by ", ": empty if
        none is.

    Example:
        >>> label([0.9, 0.2, 0.6], ("Smiling", "Bald", "Young"), ATTRIBUTES)
        'Smiling, Young'
    """
    if output == ATTRIBUTES:
        return ", ".join(name for name, value in zip(names, row, strict=True) if value > PRESENT)
    return names[max(range(len(names)), key=lambda k: row[k])]


def ranked(answer: Mapping[str, float]) -> list[tuple[str, float]]:
    """Names and probabilities, the most likely first."""
    return sorted(answer.items(), key=lambda pair: -pair[1])
