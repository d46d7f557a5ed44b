"""The chip's square and its arithmetic: crop and resize, to the bit as `docs/face_chip.md` specifies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from privzoo.errors import ConfigError, ImageError
from privzoo.faces.images import decode

# A box this many times the photograph holds nothing but repeated border; it would only use up memory.
MAX_BOX_RATIO = 4
MAX_CHIP_SIZE = 4096


@dataclass(frozen=True)
class Box:
    """The square of one face chip in a photograph; it may pass the photograph's border.

    Args:
        x: left edge, whole pixels from the photograph's left border.
        y: upper edge, whole pixels from the photograph's upper border.
        size: side of the square, whole pixels, 1 or more.
        score: confidence of the detector; 0 where no detector was asked.
        angle: degrees, -180 to 180, by which the face is turned clockwise in the photograph; `crop` turns it upright.
    """

    x: int
    y: int
    size: int
    score: float = 0.0
    angle: float = 0.0


def crop(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Cut the square out of a photograph and resize it to a chip: the arithmetic of docs/face_chip.md.

    Pixels beyond the border repeat the nearest border pixel; Pillow's triangle filter (BILINEAR) then
    resizes, first along rows and then along columns, with rounding to 8 bits after each.

    Args:
        image: uint8 array (H,W,3), RGB.
        box: the square, in pixels; it must overlap the photograph.
        size: side of the chip in pixels.

    Returns:
        uint8 array (size,size,3), RGB.

    Raises:
        ImageError: the image is no uint8 array, or the box lies outside it or is over four times its size.
        ConfigError: the size is no whole number from 1 to 4096.
    """
    image = decode(image)
    check_size(size)
    height, width = image.shape[:2]
    x, y, side = (_whole(value, field) for field, value in (("x", box.x), ("y", box.y), ("size", box.size)))
    if side < 1 or x >= width or y >= height or x + side <= 0 or y + side <= 0:
        raise ImageError(f"{box} has no pixel in the image of {width}x{height} pixels; give a box inside it.")
    if side > MAX_BOX_RATIO * min(height, width):
        raise ImageError(f"{box} is far larger than the image of {width}x{height} pixels; give a smaller one.")
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        square = image[y : y + side, x : x + side]
    else:
        rows = np.clip(np.arange(y, y + side), 0, height - 1)
        columns = np.clip(np.arange(x, x + side), 0, width - 1)
        square = image[rows[:, None], columns[None, :]]
    if side == size:
        return square.copy()
    chip = Image.fromarray(np.ascontiguousarray(square)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(chip)


def resize(chip: np.ndarray, size: int) -> np.ndarray:
    """Resize a whole chip by the arithmetic of `crop`; of an image that is not square, its centre square.

    Args:
        chip: uint8 array (H,W,3), RGB.
        size: side of the result in pixels.

    Returns:
        uint8 array (size,size,3), RGB.

    Raises:
        ImageError: the chip is no uint8 RGB array.
        ConfigError: the size is no whole number from 1 to 4096.
    """
    chip = decode(chip)
    return crop(chip, centre(chip), size)


def centre(image: np.ndarray) -> Box:
    """Give the largest centred square of an image; an odd rest leaves the extra pixel right or below.

    Args:
        image: array (H,W,...).

    Returns:
        The square, with score 0.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side)


def check_size(size: int) -> None:
    """Raises ConfigError for a side of a chip that is no whole number of pixels from 1 to 4096."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= MAX_CHIP_SIZE:
        raise ConfigError(f"Chip size {size!r} cannot be; give a whole number from 1 to {MAX_CHIP_SIZE}.")


def _whole(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ImageError(f"Box {field}={value!r} is no whole number of pixels; round it.")
    return int(value)
