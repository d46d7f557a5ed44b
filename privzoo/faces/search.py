"""Where BlazeFace looks: the whole photograph at four rotations, then tiles for small faces; each face twice.

A face found in a first look is looked at again, upright and close up. The second look gives the landmarks for cutting
the chip; what it does not find is not a face.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from privzoo.faces.blazeface import SIDE, find
from privzoo.faces.views import View

TURNS = (0, 90, 180, 270)  # degrees: BlazeFace finds faces rotated by up to about 45
WIDE = 1.8  # sides of the photograph: a face that fills it is found with so much black around it
NEAR = 2.2  # sides of the first look's box that the second look sees
# Sides of the tiles for small faces, and the largest distance between them, as fractions of the photograph's longer
# side. A face is found if it is at least about a sixth of its tile: 60 pixels of 1,600.
TILES = ((0.5, 0.35), (0.2, 0.144))
MIN_TILE_SIDE = 96  # pixels of the photograph: smaller tiles are only enlarged
MIN_SIDE = 12  # pixels of the photograph: smaller boxes show too little of a face
# Chosen on UTKFace's training images, LFW frames and pictures without a face, none of which are measured on. A first
# look at the whole photograph, at it turned or at a tile has to reach the first three, a second look the fourth. One
# that is sure needs no more; otherwise the mean with four further looks (two sizes, each mirrored too) has to reach
# the last.
MIN_FIRST, MIN_TURNED, MIN_TILE, MIN_SECOND, SURE, MIN_MEAN = 0.5, 0.7, 0.6, 0.55, 0.8, 0.7
PLAIN = 0.85  # an upright face with this score needs no other views
MIN_MEAN_TURNED, UPRIGHT = 0.75, 45.0  # faces rotated by more degrees are rarer, and need a higher score
FURTHER = (2.6, 3.2)  # sides of further looks over the hypotenuse of `Landmarks.span`
MAX_TURN = 25.0  # degrees: a second look in which the face is rotated by more was not upright


@dataclass(frozen=True)
class Landmarks:
    """A face, in pixels of the photograph."""

    score: float  # 0..1, of the second look
    points: np.ndarray  # float64 (6, 2): right eye, left eye, nose, mouth, right ear, left ear, as the person's

    @property
    def span(self) -> float:
        """Hypotenuse of the distances between the eyes and from their middle to the mouth, pixels."""
        eyes = self.points[:2].mean(axis=0)
        return math.hypot(*(self.points[1] - self.points[0]), *(self.points[3] - eyes))

    @property
    def angle(self) -> float:
        """Degrees by which the line of the eyes is rotated clockwise, -180..180."""
        across, down = self.points[1] - self.points[0]
        return math.degrees(math.atan2(down, across))


def search(photograph: np.ndarray, thorough: bool = False) -> list[Landmarks]:
    """Finds faces.

    Args:
        photograph: uint8 RGB (H, W, 3).
        thorough: also look for small faces if large ones were found.

    Returns:
        The faces, in no order.
    """
    found: list[Landmarks] = []
    for looks in _stages(photograph):
        found = _distinct([*found, *_second_looks(photograph, looks)])
        if found and not thorough:
            break
    return found


def _stages(photograph: np.ndarray) -> Iterator[Iterable[tuple[View, float]]]:
    """First looks, the cheapest and most likely first, each with its minimum score."""
    height, width = photograph.shape[:2]
    x, y, side = width / 2, height / 2, max(height, width)
    for turns in (TURNS[:1], TURNS[1:]):
        for share in (WIDE, 1.0):
            yield [(View(x, y, share * side, turn), MIN_TURNED if turn else MIN_FIRST) for turn in turns]
    for turn in TURNS:
        for tile, step in TILES:
            if tile * side >= MIN_TILE_SIDE:  # otherwise the earlier looks saw everything
                yield ((view, MIN_TILE) for view in _tiles(width, height, tile * side, step * side, turn))


def _tiles(width: int, height: int, side: float, step: float, turn: int) -> Iterator[View]:
    for y in _centres(height, side, step):
        for x in _centres(width, side, step):
            yield View(x, y, side, turn)


def _centres(length: int, side: float, step: float) -> list[float]:
    if length <= side:
        return [length / 2]
    return np.linspace(side / 2, length - side / 2, math.ceil((length - side) / step) + 1).tolist()


def _second_looks(photograph: np.ndarray, looks: Iterable[tuple[View, float]]) -> list[Landmarks]:
    first: list[tuple[float, np.ndarray, float, float]] = []  # score, centre, side, angle
    for view, least in looks:
        for row in find(view.picture(photograph, SIDE)):
            side = float(row[3] - row[1]) * view.side
            if row[0] < least or side < MIN_SIDE:
                continue
            face = Landmarks(float(row[0]), view.to_photograph(row[5:].reshape(-1, 2)))
            (centre,) = view.to_photograph(row[1:5].reshape(2, 2).mean(axis=0, keepdims=True))
            first.append((face.score, centre, side, face.angle))
    found: list[Landmarks] = []
    seen: list[tuple[np.ndarray, float]] = []
    for _, centre, side, angle in sorted(first, key=lambda one: -one[0]):
        # The same face at another rotation, with a lower score and worse landmarks.
        if any(np.abs(centre - other).max() < 0.4 * max(side, size) for other, size in seen):
            continue
        near = _second_look(photograph, centre, side, angle)
        if near is None:
            continue
        seen.append((centre, side))
        found.append(near)
    return found


def _second_look(photograph: np.ndarray, centre: np.ndarray, side: float, angle: float) -> Landmarks | None:
    """A face close up and upright, if it is one: at its best rotation, since first looks can be wrong about it."""
    looks = []
    for turn in TURNS:
        face = _look(photograph, View(centre[0], centre[1], NEAR * side, angle + turn))
        if face is not None and abs(_difference(face.angle, angle + turn)) <= MAX_TURN:
            if face.score >= PLAIN and abs(face.angle) <= UPRIGHT:
                return face
            looks.append(face)
    face = max(looks, key=lambda one: one.score, default=None)
    if face is None or face.score < MIN_SECOND:
        return None
    upright = abs(face.angle) <= UPRIGHT
    if face.score < SURE or not upright:
        face = Landmarks(_mean_score(photograph, face), face.points)
    return face if face.score >= (MIN_MEAN if upright else MIN_MEAN_TURNED) else None


def _look(photograph: np.ndarray, view: View, mirrored: bool = False) -> Landmarks | None:
    """The face in the middle of a view, if there is one."""
    picture = view.picture(photograph, SIDE)
    for row in find(np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture):
        if np.abs(row[1:5].reshape(2, 2).mean(axis=0) - 0.5).max() < 0.25:
            return Landmarks(float(row[0]), view.to_photograph(row[5:].reshape(-1, 2)))
    return None


def _mean_score(photograph: np.ndarray, face: Landmarks) -> float:
    eyes = face.points[:2].mean(axis=0)
    middle = eyes + 0.4 * (face.points[3] - eyes)
    views = [View(middle[0], middle[1], share * face.span, face.angle) for share in FURTHER]
    looks = [_look(photograph, view, mirrored) for view in views for mirrored in (False, True)]
    return (face.score + sum(look.score if look else 0.0 for look in looks)) / (1 + len(looks))


def _difference(one: float, other: float) -> float:
    """Of two angles in degrees, -180 to 180."""
    return (one - other + 180) % 360 - 180


def _distinct(faces: list[Landmarks]) -> list[Landmarks]:
    """The best of the detections of each face by several looks."""
    kept: list[Landmarks] = []
    for face in sorted(faces, key=lambda one: -one.score):
        reach = np.ptp(face.points, axis=0).max()
        if all(np.abs(face.points.mean(axis=0) - one.points.mean(axis=0)).max() > 0.5 * reach for one in kept):
            kept.append(face)
    return kept
