"""Refuses Keras models after a fork: TensorFlow's threads do not exist in the child, and the first call would hang."""

from __future__ import annotations

import os

from privzoo.errors import ForkError

_loaded_in: int | None = None  # number of the process that loaded the first model


def remember() -> None:
    """Notes that this process has loaded a model."""
    global _loaded_in
    check()
    _loaded_in = os.getpid()


def check() -> None:
    """Asks before each use of a model whether this process may use it.

    Raises:
        ForkError: it was forked from one that had loaded a model.
    """
    if _loaded_in not in (None, os.getpid()):
        raise ForkError(
            "Models were loaded before this process was forked, and TensorFlow would hang in it; start processes by "
            'multiprocessing.get_context("spawn"), or load models in the child alone.'
        )
