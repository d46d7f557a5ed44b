"""The documented path: faces that the detector finds in whole photographs, instead of a data set's own chips."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from privzoo.errors import FaceNotFoundError

GIVEN, DETECTED = "", ", face detected"  # suffix of a variant's name
FOUND = "faces found"  # the metric
NO_ANSWER = -1  # instead of a class, where no face was found: always counts as wrong


def chips(images: Iterable[Callable[[], np.ndarray]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the largest face out of each photograph, as `predict(face="detect")` does.

    Args:
        images: each reads one photograph, uint8 RGB (H, W, 3).
        size: side of the chips in pixels.

    Returns:
        uint8 (N, size, size, 3), black where no face was found; and bool (N,), where one was.
    """
    from privzoo import faces

    cut, found = [], []
    for image in images:
        try:
            cut.append(faces.chips(image(), size, "detect")[0][0])
            found.append(True)
        except FaceNotFoundError:
            cut.append(np.zeros((size, size, 3), np.uint8))
            found.append(False)
    return np.stack(cut), np.array(found)


def with_misses(answers: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """The answers, with `NO_ANSWER` for photographs in which no face was found.

    Args:
        answers: int (draws, N).
        found: bool (N,); None: every face was given.
    """
    return answers if found is None else np.where(found, answers, NO_ANSWER)
