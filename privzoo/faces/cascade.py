"""Frontal faces in a grey picture: scikit-image's LBP cascade on an image pyramid, overlapping windows merged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from privzoo.errors import MissingExtraError
from privzoo.faces.chip import Box

WINDOW = 24  # Side in pixels of the window that the cascade was trained on.
# About 0.2 s on one core; the smallest face found is then 5% of a photograph's longer side.
WORK_PIXELS = 160_000
SMALL_SIDE = 128  # Photographs with a shorter side below it are enlarged to it, by four at most.
MAX_ENLARGEMENT = 4.0
PYRAMID_STEP = 1.1
BORDER = 6  # Pixels of the window: how far it may extend beyond the photograph's border, for cut-off faces.
SIMILAR = 0.2  # Of the smaller window's side: how far apart the edges of two windows on one face may lie.
# Measured by `tools/calibrate_faces.py --data_dir ../shared/data` on 500 of UTKFace's training chips and 500 LFW
# frames, 2026-11-21. The side of UTKFace's chip over that of the detector's window, and how far the chip's centre
# lies below the window's, in sides of the window:
GROW = 0.97
SHIFT = 0.09
# The lowest score of a face; and a score that none of 52 of scikit-image's pictures without a face reached.
MIN_SCORE = 6
SURE_SCORE = 10


def windows(image: np.ndarray) -> np.ndarray:
    """Find square windows with a frontal face, one per face.

    The cascade scales its features by truncation, which costs accuracy, and merges in an order that depends on
    threads. So it is only run at its own size, on each level of a pyramid, for single windows, merged here.

    Args:
        image: uint8 array (H,W,3), RGB.

    Returns:
        float64 array (N,4) of x, y, side in pixels and score, best score first; windows may pass the border. The
        score is the number of single windows that were merged, those of coarsely searched levels counted twice.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    cascade = _cascade()
    height, width = image.shape[:2]
    shorter = min(height, width)
    scale = min((WORK_PIXELS / (height * width)) ** 0.5, max(1.0, min(MAX_ENLARGEMENT, SMALL_SIDE / shorter)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = Image.fromarray(np.ascontiguousarray(image)).convert("L")
    grey = grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)

    found = [np.zeros((0, 4))]
    factor = 1.0
    while min(size) / factor >= WINDOW - BORDER:
        # Twice the step on the finest levels, which hold most of the windows: a quarter of the time.
        found.append(_level(cascade, grey, factor, step=2 if factor < 2 else 1))
        factor *= PYRAMID_STEP
    merged = _merge(np.concatenate(found))
    merged[:, :3] /= scale
    return merged


def detect(image: np.ndarray) -> list[Box]:
    """As `privzoo.faces.detect`, by the cascade.

    Args:
        image: uint8 array (H,W,3), RGB.

    Returns:
        The squares, the largest face first, doubtful ones last.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    found = [frame(window) for window in windows(image) if window[3] >= MIN_SCORE]
    return sorted(found, key=lambda box: (box.score < share(SURE_SCORE), -box.size))


def share(count: float) -> float:
    """A count of windows in BlazeFace's range: 0.7 for the lowest that counts, 0.75 for a sure face, always below 1."""
    return 1 - 0.3 / (1 + max(0.0, count - MIN_SCORE) / (SURE_SCORE - MIN_SCORE) * 0.2)


def frame(window: Sequence[float]) -> Box:
    """Turn a window of `windows` into the chip's square.

    Args:
        window: x, y, side in pixels and score.

    Returns:
        The square, framed as UTKFace's chips are.
    """
    x, y, side, score = (float(value) for value in window)
    size = max(1, round(GROW * side))
    left, top = x + side / 2 - size / 2, y + (0.5 + SHIFT) * side - size / 2
    return Box(round(left), round(top), size, share(score))


@cache
def _cascade() -> Any:
    try:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade
    except ImportError:
        raise MissingExtraError(
            'Finding faces needs scikit-image; run "pip install privzoo[detect]", or pass face="given" for chips.'
        ) from None
    return Cascade(lbp_frontal_face_cascade_filename())


def _level(cascade: Any, picture: Image.Image, factor: float, step: int) -> np.ndarray:
    """Search one level of the pyramid; rows of x, y, side in the picture's pixels and weight."""
    width, height = (round(side / factor) for side in picture.size)
    level = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    # The cascade never visits the last row and column, and sums in float32, which loses less around zero.
    level = np.pad(level - 128, (BORDER, BORDER + 1), mode="edge")
    found = cascade.detect_multi_scale(
        img=level,
        scale_factor=2.0,
        step_ratio=step,
        min_size=(WINDOW, WINDOW),
        max_size=(WINDOW + 1, WINDOW + 1),
        min_neighbor_number=1,
        intersection_score_threshold=2.0,  # No two windows overlap by more than 1, so that none are merged.
    )
    across, down = picture.width / width, picture.height / height
    rows = [((hit["c"] - BORDER) * across, (hit["r"] - BORDER) * down, WINDOW * across, step) for hit in found]
    return np.array(rows, np.float64).reshape(-1, 4)


def _merge(hits: np.ndarray) -> np.ndarray:
    """Average windows that are close together, then drop those whose centre a better one holds, or the reverse."""
    edges = np.column_stack([hits[:, :2], hits[:, :2] + hits[:, 2:3]])
    group = np.full(len(hits), -1)
    for first in range(len(hits)):
        waiting = [first] if group[first] < 0 else []
        while waiting:
            one = waiting.pop()
            group[one] = first
            reach = SIMILAR * np.minimum(hits[:, 2], hits[one, 2])
            near = (np.abs(edges - edges[one]).max(axis=1) <= reach) & (group < 0)
            group[near] = first
            waiting.extend(np.flatnonzero(near))
    means = []
    for number in np.unique(group):
        members = hits[group == number]
        means.append([*np.average(members[:, :3], axis=0, weights=members[:, 3]), members[:, 3].sum()])
    kept: list[list[float]] = []
    for mean in sorted(means, key=lambda row: -row[3]):
        if not any(_holds(mean, other) or _holds(other, mean) for other in kept):
            kept.append(mean)
    return np.array(kept, np.float64).reshape(-1, 4)


def _holds(one: list[float], other: list[float]) -> bool:
    """Whether the first window holds the second one's centre."""
    x, y = other[0] + other[2] / 2, other[1] + other[2] / 2
    return one[0] <= x <= one[0] + one[2] and one[1] <= y <= one[1] + one[2]
