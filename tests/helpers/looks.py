"""Photographs with a small face somewhere, and what the search sees in them: for the page's and the phone's search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from privzoo.faces import Box, search
from privzoo.faces.detection import detect

# Where the astronaut's face is in the photograph of 512 x 512 pixels: centre and width, pixels.
CENTRE, WIDTH = np.array([225.0, 115.0]), 95
# For `placed`. In each but the first and last, the first look at the whole photograph shows the face at a wrong angle,
# and a second one there still does; in the fourth, upright first looks show a doubtful face on the suit.
SEARCHED: tuple[dict[str, Any], ...] = (
    {"size": (600, 512), "at": (40, 0), "face": 95},
    {"size": (1600, 1200), "at": (444, 312), "face": 143, "grey": 247},
    {"size": (1600, 1200), "at": (683, 60), "face": 65, "grey": 76},
    {"size": (1600, 1200), "at": (201, 19), "face": 115, "turn": 180, "grey": 38},
    {"size": (1600, 1200), "at": (796, 370), "face": 75, "turn": 180, "grey": 131},
    {"size": (1600, 1200), "at": (789, 660), "face": 76, "turn": 180, "grey": 118},
    {"size": (900, 700), "at": (100, 80), "face": 110, "turn": 90},
)


def placed(
    astronaut: np.ndarray, size: tuple[int, int], at: tuple[int, int], face: int, turn: int = 0, grey: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """The astronaut somewhere on a plain background.

    Args:
        astronaut: the photograph, uint8 (512, 512, 3).
        size: width and height of the result, pixels.
        at: left and upper edge of the pasted photograph.
        face: width of the face, pixels.
        turn: degrees clockwise, a multiple of 90.
        grey: of the background.

    Returns:
        uint8 RGB (height, width, 3), and the centre of the face in it (x, y).
    """
    scale = face / WIDTH
    side = round(512 * scale)
    portrait = Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS).rotate(-turn)
    picture = Image.new("RGB", size, (grey,) * 3)
    picture.paste(portrait, at)
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn % 360]
    x, y = CENTRE * scale - side / 2
    return np.asarray(picture), np.array([x * cosine - y * sine, x * sine + y * cosine]) + side / 2 + at


@dataclass(frozen=True)
class Looks:
    """A search: where it looked, what it saw, what it found."""

    views: list[tuple[float, float, float, float]]  # x, y, side, angle
    rows: list[list[list[float]]]  # for each view the rows of `blazeface.find`
    boxes: list[Box]


def recorded(photograph: np.ndarray, monkeypatch) -> Looks:
    """What `detect` does with a photograph."""
    views, rows = [], []
    picture, find = search.View.picture, search.find

    def see(view, *args):
        views.append((view.x, view.y, view.side, view.angle))
        return picture(view, *args)

    def note(seen):
        found = find(seen)
        rows.append(found.tolist())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(search.View, "picture", see)
        patch.setattr(search, "find", note)
        boxes = detect(photograph)
    return Looks(views, rows, boxes)
