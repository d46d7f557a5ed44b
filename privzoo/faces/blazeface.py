"""BlazeFace (Bazarevsky et al. 2019) on LiteRT: faces with six landmarks in a square image.

The network is MediaPipe's short-range model, unchanged (`models/README.md`). Each anchor of two fixed grids gets
a score and sixteen numbers: centre and size of a box, and six landmarks, in pixels of its input from the anchor.
"""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from privzoo import litert
from privzoo.errors import WeightsError

LANDMARKS = 6  # right eye, left eye, tip of the nose, mouth, right and left ear, from the person's own view
OVERLAP = 0.3  # intersection over union above which two boxes are one face
MIN_SCORE = 0.5  # MediaPipe's own


FILE = Path(__file__).with_name("models") / "blazeface_short_range.tflite"
SHA256 = "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633"
SIDE = 128  # pixels of its square input
GRIDS = ((16, 2), (8, 6))  # cells in a row, anchors in a cell


def available() -> bool:
    """Whether the network's file is installed."""
    return FILE.exists()


def find(picture: np.ndarray) -> np.ndarray:
    """Finds the faces of a square picture.

    Args:
        picture: uint8 RGB (128, 128, 3).

    Returns:
        float64 array (N, 17), the best score first: score 0..1; x, y of the box's upper left and lower right corner;
        x, y of the six landmarks. All as fractions of the image's side; they may lie outside it.

    Raises:
        WeightsError: the network's file is missing or damaged.
        MissingExtraError: no TFLite interpreter is installed.
    """
    interpreter, lock = _open(os.getpid())
    with lock:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None] / np.float32(127.5) - 1)
        interpreter.invoke()
        numbers, scores = sorted(
            (interpreter.get_tensor(tensor["index"])[0] for tensor in interpreter.get_output_details()),
            key=lambda tensor: -tensor.shape[-1],
        )
    likely = np.flatnonzero(scores[:, 0] > 0)  # the logit of MIN_SCORE
    return merge(decode(numbers[likely], scores[likely, 0], likely))


@cache
def anchors() -> np.ndarray:
    """Centres of the anchors, float64 (N, 2) of x, y as fractions of the side."""
    rows = []
    for cells, many in GRIDS:
        places = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(places, places, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), many, axis=0))
    return np.concatenate(rows)


def decode(numbers: np.ndarray, logits: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Converts the network's output for some anchors into rows as in `find`, in no order.

    Args:
        numbers: float array (N, 16), pixels from the anchors.
        logits: float array (N,).
        which: int array (N,), the anchors' numbers.
    """
    points = numbers.astype(np.float64).reshape(-1, 2 + LANDMARKS, 2) / SIDE
    at = anchors()[which]
    centre, half = points[:, 0] + at, points[:, 1] / 2
    landmarks = points[:, 2:] + at[:, None]
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
    rows = np.column_stack([scores, centre - half, centre + half, landmarks.reshape(-1, 2 * LANDMARKS)])
    return rows[(half > 0).all(axis=1)]


def merge(rows: np.ndarray) -> np.ndarray:
    """Averages the rows that overlap, weighted by score, the best first: one row per face, with its best score."""
    rest, found = rows[np.argsort(-rows[:, 0], kind="stable")], []
    while len(rest):
        same = _overlap(rest[0], rest) > OVERLAP
        same[0] = True
        mean = np.average(rest[same], axis=0, weights=rest[same, 0])
        mean[0] = rest[0, 0]
        found.append(mean)
        rest = rest[~same]
    return np.array(found).reshape(-1, 5 + 2 * LANDMARKS)


def _overlap(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(one[1:3], others[:, 1:3]), np.minimum(one[3:5], others[:, 3:5])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 3:5] - others[:, 1:3], axis=1)
    return common / (np.prod(one[3:5] - one[1:3]) + areas - common)


@cache
def _open(process: int) -> tuple[Any, threading.Lock]:
    """The interpreter, one for each process: after a fork the parent's must not be used."""
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"The face detector {FILE} cannot be read ({error.strerror or error}); install privzoo again."
        ) from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise WeightsError(f"The face detector {FILE} is damaged; install privzoo again.")
    return litert.interpreter(str(FILE), 1), threading.Lock()
