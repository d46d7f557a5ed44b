"""The chip's square and its arithmetic: crop and resize, bit for bit as specified in `docs/face_chip.md`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from privzoo import checks
from privzoo.errors import ImageError
from privzoo.faces.images import decode

# A box this many times the photograph holds nothing but repeated border; it would only use up memory.
MAX_BOX_RATIO = 4
MAX_CHIP_SIZE = 4096


@dataclass(frozen=True)
class Box:
    """The square of one face chip in a photograph; it may extend beyond the photograph's border.

    Args:
        x: left edge, whole pixels from the photograph's left border.
        y: upper edge, whole pixels from the photograph's upper border.
        size: side of the square, whole pixels, 1 or more.
        score: confidence of the detector; 0 if no detector was used.
        angle: degrees, -180 to 180, by which the face is rotated clockwise in the photograph; `crop` turns it upright.
    """

    x: int
    y: int
    size: int
    score: float = 0.0
    angle: float = 0.0


def crop(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Cut the square out of a photograph and resize it to a chip: the arithmetic of docs/face_chip.md.

    Pixels beyond the border repeat the nearest border pixel; Pillow's triangle filter (BILINEAR) then
    resizes, first along rows and then along columns, with rounding to 8 bits after each. A rotated face is
    turned upright: the box's square is cut as if it were rotated by the box's angle about its centre.

    Args:
        image: uint8 array (H,W,3), RGB.
        box: the square, in pixels; it must overlap the photograph.
        size: side of the chip in pixels.

    Returns:
        uint8 array (size,size,3), RGB.

    Raises:
        ImageError: the image is not a uint8 array, or the box lies outside it or is over four times its size.
        ConfigError: the size is not a whole number from 1 to 4096.
    """
    image = decode(image)
    check_size(size)
    height, width = image.shape[:2]
    x, y, side = (_whole(value, field) for field, value in (("x", box.x), ("y", box.y), ("size", box.size)))
    if side < 1 or x >= width or y >= height or x + side <= 0 or y + side <= 0:
        raise ImageError(f"{box} has no pixel in the image of {width}x{height} pixels; give a box inside it.")
    if side > MAX_BOX_RATIO * min(height, width):
        raise ImageError(f"{box} is far larger than the image of {width}x{height} pixels; give a smaller one.")
    if box.angle == 0:
        return _resized(_square(image, x, y, side), size)
    return _turned(image, x, y, side, size, box.angle)


def _square(image: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """The pixels of a square; beyond the border those of the border are repeated."""
    height, width = image.shape[:2]
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return image[y : y + side, x : x + side]
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    return image[rows[:, None], columns[None, :]]


def _resized(square: np.ndarray, size: int) -> np.ndarray:
    if square.shape[0] == size:
        return square.copy()
    chip = Image.fromarray(np.ascontiguousarray(square)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(chip)


def _turned(image: np.ndarray, x: int, y: int, side: int, size: int, angle: float) -> np.ndarray:
    """A turned square: the upright one around it at the chip's resolution, then sampled along turned lines.

    All in integers, so that every language gives the same pixels: angles to 2^-16, places to 2^-17 of a pixel,
    weights of the four pixels around a place to 2^-8.
    """
    if not math.isfinite(angle):
        raise ImageError(f"Box angle={angle!r} is not an angle; give degrees.")
    cosine, sine = (round(65536 * f(math.radians(angle))) for f in (math.cos, math.sin))
    border = max(0, -(-side * (abs(cosine) + abs(sine) - 65536) // 131072))  # rounded up
    around = side + 2 * border
    middle = max(2, (2 * around * size + side) // (2 * side))  # pixels of the upright square: rounded half up
    upright = _resized(_square(image, x - border, y - border, around), middle).astype(np.int64)
    steps = 2 * np.arange(size, dtype=np.int64) + 1 - size  # half pixels from the chip's centre
    start = (middle - 1) * 65536
    across = start + steps[None, :] * cosine - steps[:, None] * sine
    down = start + steps[None, :] * sine + steps[:, None] * cosine
    column, row = across >> 17, down >> 17
    right, below = ((across >> 9) & 255)[..., None], ((down >> 9) & 255)[..., None]

    def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return upright[np.clip(rows, 0, middle - 1), np.clip(columns, 0, middle - 1)]

    upper = at(row, column) * (256 - right) + at(row, column + 1) * right
    lower = at(row + 1, column) * (256 - right) + at(row + 1, column + 1) * right
    return ((upper * (256 - below) + lower * below + 32768) >> 16).astype(np.uint8)


def resize(chip: np.ndarray, size: int) -> np.ndarray:
    """Resize a whole chip by the arithmetic of `crop`; for an image that is not square, its centre square.

    Args:
        chip: uint8 array (H,W,3), RGB.
        size: side of the result in pixels.

    Returns:
        uint8 array (size,size,3), RGB.

    Raises:
        ImageError: the chip is not a uint8 RGB array.
        ConfigError: the size is not a whole number from 1 to 4096.
    """
    chip = decode(chip)
    return crop(chip, centre(chip), size)


def centre(image: np.ndarray) -> Box:
    """Give the largest centred square of an image; an odd remainder leaves the extra pixel at the right or bottom.

    Args:
        image: array (H,W,...).

    Returns:
        The square, with score 0.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side)


def check_size(size: int) -> None:
    """Raises ConfigError for a side of a chip that is not a whole number of pixels from 1 to 4096."""
    checks.count("size", size, least=1, most=MAX_CHIP_SIZE, unit="pixels")


def _whole(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ImageError(f"Box {field}={value!r} is not a whole number of pixels; round it.")
    return int(value)
