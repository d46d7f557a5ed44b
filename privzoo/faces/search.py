"""Where BlazeFace looks: the whole photograph at four rotations, then tiles for small faces; each face at least twice.

A face found in a first look is looked at again, upright and close up, until a look shows it where the one before said.
That look gives the landmarks for cutting the chip; what cannot be found again is not a face.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from privzoo.faces.blazeface import SIDE, find
from privzoo.faces.views import View

TURNS = (0, 90, 180, 270)  # degrees: BlazeFace finds faces rotated by up to about 45
WIDE = 1.8  # sides of the photograph: a face that fills it is found with so much black around it
NEAR = 2.2  # sides of the last look's box that a second look sees
# Sides of the tiles for small faces, and the largest distance between them, as fractions of the photograph's longer
# side. A face is found if it is at least about a sixth of its tile: 60 pixels of 1,600.
TILES = ((0.5, 0.35), (0.2, 0.144))
MIN_TILE_SIDE = 96  # pixels of the photograph: smaller tiles are only enlarged
MIN_SIDE = 12  # pixels of the photograph: smaller boxes show too little of a face
# Chosen on UTKFace's training images, LFW frames and pictures without a face, none of which are measured on. A first
# look at the whole photograph, at it turned or at a tile has to reach the first three, the last of the second looks the
# fourth. One that is sure needs no more; otherwise the mean with four further looks (two sizes, each mirrored too) has
# to reach the last.
MIN_FIRST, MIN_TURNED, MIN_TILE, MIN_SECOND, SURE, MIN_MEAN = 0.5, 0.7, 0.6, 0.55, 0.8, 0.7
PLAIN = 0.85  # an upright face with this score needs no other views
SURE_SCORE = 0.75  # no tested picture without a face reached it: a face below it does not end the search
MIN_MEAN_TURNED, UPRIGHT = 0.75, 45.0  # faces rotated by more degrees are rarer, and need a higher score
FURTHER = (2.6, 3.2)  # sides of further looks over the hypotenuse of `Landmarks.span`
MAX_TURN = 25.0  # degrees: a second look in which the face is rotated by more was not upright
# A face of few pixels in its first look is found in about its place, but at any size and angle; a look at that tells
# little more. So looks are repeated from where the last one saw the face, until it is upright and as large as expected.
STEADY_TURN, STEADY_SCALE, STEADY_SHIFT = 10.0, 1.35, 0.3  # degrees, ratio of the boxes' sides, sides of the box
MAX_LOOKS = 5  # a face that is not steady by then is none


@dataclass(frozen=True)
class Landmarks:
    """A face, in pixels of the photograph."""

    score: float  # 0..1
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


@dataclass(frozen=True)
class _Seen:
    """A face in one look, in pixels of the photograph."""

    face: Landmarks  # with the score of that look
    centre: np.ndarray  # float64 (2,) of its box
    side: float  # of its box


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
        if not thorough and any(face.score >= SURE_SCORE for face in found):
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
    first = [
        seen
        for view, least in looks
        for row in find(view.picture(photograph, SIDE))
        if row[0] >= least and (seen := _seen(view, row)).side >= MIN_SIDE
    ]
    found: list[_Seen] = []
    for seen in sorted(first, key=lambda one: -one.face.score):
        # The same face at another rotation, with a lower score and worse landmarks.
        if any(_distance(seen, other) < 0.4 * max(seen.side, other.side) for other in found):
            continue
        near = _steady(photograph, seen)
        if near is not None and (face := _sure(photograph, near.face)) is not None:
            found.append(replace(near, face=face))
    return [one.face for one in found]


def _steady(photograph: np.ndarray, seen: _Seen) -> _Seen | None:
    """A face as the last of several looks shows it, close up and upright; None if they do not agree on one."""
    for _ in range(MAX_LOOKS):
        last, turned = seen, _upright(photograph, seen)
        if turned is None or turned[0].side < MIN_SIDE:
            return None
        seen, angle = turned
        if (
            abs(_difference(seen.face.angle, angle)) <= STEADY_TURN
            and max(seen.side, last.side) <= STEADY_SCALE * min(seen.side, last.side)
            and _distance(seen, last) <= STEADY_SHIFT * last.side
        ):
            return seen
    return None


def _upright(photograph: np.ndarray, seen: _Seen) -> tuple[_Seen, float] | None:
    """A face close up at its best rotation, since looks can be wrong about it; and the angle of that view."""
    looks = []
    for turn in TURNS:
        view = View(seen.centre[0], seen.centre[1], NEAR * seen.side, seen.face.angle + turn)
        near = _look(photograph, view)
        if near is not None and abs(_difference(near.face.angle, view.angle)) <= MAX_TURN:
            if near.face.score >= PLAIN and abs(near.face.angle) <= UPRIGHT:
                return near, view.angle
            looks.append((near, view.angle))
    return max(looks, key=lambda one: one[0].face.score, default=None)


def _sure(photograph: np.ndarray, face: Landmarks) -> Landmarks | None:
    """A face with the mean score of several looks if one cannot be sure of it; None if it is likely to be none."""
    if face.score < MIN_SECOND:
        return None
    upright = abs(face.angle) <= UPRIGHT
    if face.score < SURE or not upright:
        face = Landmarks(_mean_score(photograph, face), face.points)
    return face if face.score >= (MIN_MEAN if upright else MIN_MEAN_TURNED) else None


def _look(photograph: np.ndarray, view: View, mirrored: bool = False) -> _Seen | None:
    """The face in the middle of a view, if there is one."""
    picture = view.picture(photograph, SIDE)
    for row in find(np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture):
        if np.abs(row[1:5].reshape(2, 2).mean(axis=0) - 0.5).max() < 0.25:
            return _seen(view, row)
    return None


def _seen(view: View, row: np.ndarray) -> _Seen:
    (centre,) = view.to_photograph(row[1:5].reshape(2, 2).mean(axis=0, keepdims=True))
    face = Landmarks(float(row[0]), view.to_photograph(row[5:].reshape(-1, 2)))
    return _Seen(face, centre, float(row[3] - row[1]) * view.side)


def _distance(one: _Seen, other: _Seen) -> float:
    """Between the boxes' centres along the farther axis, pixels of the photograph."""
    return float(np.abs(one.centre - other.centre).max())


def _mean_score(photograph: np.ndarray, face: Landmarks) -> float:
    eyes = face.points[:2].mean(axis=0)
    middle = eyes + 0.4 * (face.points[3] - eyes)
    views = [View(middle[0], middle[1], share * face.span, face.angle) for share in FURTHER]
    looks = [_look(photograph, view, mirrored) for view in views for mirrored in (False, True)]
    return (face.score + sum(look.face.score if look else 0.0 for look in looks)) / (1 + len(looks))


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
