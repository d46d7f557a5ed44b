"""From a photograph to the squares of its faces: BlazeFace, or the cascade if BlazeFace's file is not installed."""

from __future__ import annotations

import math

import numpy as np

from privzoo.faces import blazeface, cascade
from privzoo.faces.chip import MAX_BOX_RATIO, Box
from privzoo.faces.images import decode
from privzoo.faces.search import SURE_SCORE, Landmarks, search

BLAZEFACE, CASCADE = "blazeface", "cascade"
# Where the landmarks are in a face chip, measured by `tools/calibrate_faces.py --data_dir DIR` on UTKFace's training
# chips: the side of a chip over `Landmarks.span`, and how far its centre lies below the point at 3/10 of the way from
# the eyes to the mouth, in sides of the chip.
GROW = 1.748
DOWN = 0.075
TOWARDS_MOUTH = 0.3
# Degrees: nine in ten of UTKFace's upright faces seem rotated by less than half of it, 99 in 100 by less than it.
LEVEL = 10.0


def detector() -> str:
    """Which detector is in use: "blazeface", or "cascade" (scikit-image's) if BlazeFace's file is missing."""
    return BLAZEFACE if blazeface.available() else CASCADE


def detect(image: np.ndarray, thorough: bool = False) -> list[Box]:
    """Finds the faces in a photograph and returns squares that frame them like UTKFace's chips.

    Args:
        image: uint8 array (H,W,3), RGB.
        thorough: also look for small faces if large ones were found, which takes ten times as long.

    Returns:
        The chips' squares, the largest face first, doubtful ones last; empty if no face is seen. With BlazeFace the
        score is a probability, 0.7 to 1, and faces rotated by 10 degrees or more have an angle; with the cascade,
        which finds upright faces only, the score is a count of windows, scaled to the same range.

    Raises:
        ImageError: the image is not a uint8 RGB array.
        WeightsError: BlazeFace's file is damaged.
        MissingExtraError: no TFLite interpreter is installed; for the cascade, scikit-image is not.
    """
    image = decode(image)
    if detector() == CASCADE:
        return cascade.detect(image)
    found = [box for face in search(image, thorough) if _usable(box := frame(face), image)]
    return sorted(found, key=lambda box: (box.score < SURE_SCORE, -box.size))


def frame(face: Landmarks) -> Box:
    """The square of the chip around a face's landmarks; `docs/face_chip.md` has the same arithmetic.

    Args:
        face: eyes and mouth, pixels of the photograph.
    """
    eyes, mouth = face.points[:2].mean(axis=0), face.points[3]
    size = max(1, round(GROW * face.span))
    angle = face.angle if abs(face.angle) >= LEVEL else 0.0
    turn = math.radians(angle)
    x, y = eyes + TOWARDS_MOUTH * (mouth - eyes) + DOWN * size * np.array([-math.sin(turn), math.cos(turn)])
    return Box(round(x - size / 2), round(y - size / 2), size, face.score, angle)


def _usable(box: Box, image: np.ndarray) -> bool:
    """Whether `crop` accepts it."""
    height, width = image.shape[:2]
    inside = box.x < width and box.y < height and box.x + box.size > 0 and box.y + box.size > 0
    return inside and box.size <= MAX_BOX_RATIO * min(height, width)
