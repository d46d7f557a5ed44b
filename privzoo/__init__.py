"""privzoo: a Keras model zoo for private split inference on faces.

`import privzoo` imports nothing heavy; TensorFlow comes with the first `load`.

Example:
    >>> import privzoo
    >>> privzoo.list_models("vgg16_gender_simple_conv5_3")
    ['vgg16_gender_simple_conv5_3']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from privzoo.card import Card
    from privzoo.model import SplitModel

from privzoo.version import __version__

__all__ = ["__version__", "list_models", "load", "show"]


def list_models(pattern: str = "*", planned: bool = False) -> list[str]:
    """Names of the zoo's models that match a shell pattern, sorted; with `planned` those that lack their weights."""
    from privzoo import zoo

    return zoo.list_models(pattern, planned)


def load(
    name: str,
    epsilon: float | None = None,
    delta: float | None = None,
    head: str = "full",
    permanent: str | os.PathLike[str] | None = None,
    covers: str | os.PathLike[str] | None = None,
) -> SplitModel:
    """Loads a model of the zoo with its full or slim head, its tail and its card; see `privzoo.zoo.load`."""
    from privzoo import zoo

    return zoo.load(name, epsilon, delta, head, permanent, covers)


def show(name: str, head: str = "full") -> Card:
    """Card of a model with its full or slim head, without loading the model or TensorFlow; see `privzoo.zoo.show`."""
    from privzoo import zoo

    return zoo.show(name, head)
