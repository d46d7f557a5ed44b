"""Square views of a photograph, rotated and scaled for a detector: cheap even for large photographs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

SAMPLES = 2  # pixels of the photograph read for each pixel of a view, along each axis, at least


@dataclass(frozen=True)
class View:
    """A square of the photograph, seen as if it stood upright.

    Args:
        x, y: its centre, pixels of the photograph.
        side: of the square, pixels of the photograph; it may pass the border, beyond which everything is black.
        angle: degrees by which it is rotated clockwise in the photograph.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def picture(self, photograph: np.ndarray, size: int) -> np.ndarray:
        """What is seen, uint8 RGB (size, size, 3), of a uint8 RGB photograph (H, W, 3)."""
        height, width = photograph.shape[:2]
        turn = math.radians(self.angle)
        reach = self.side / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
        left, right = max(0, math.floor(self.x - reach)), min(width, math.ceil(self.x + reach))
        top, bottom = max(0, math.floor(self.y - reach)), min(height, math.ceil(self.y + reach))
        if left >= right or top >= bottom:
            return np.zeros((size, size, 3), np.uint8)
        scale = size / self.side  # pixels of the view for one of the photograph
        step = max(1, int(1 / (scale * SAMPLES)))
        part = Image.fromarray(np.ascontiguousarray(photograph[top:bottom:step, left:right:step]))
        across, down = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        part = part.resize((across, down), Image.Resampling.BILINEAR)
        if self.angle % 90 == 0:  # no pixel has to be interpolated: three times as fast
            seen = Image.new("RGB", (size, size))
            corner = size / 2 - (self.x - left) * scale, size / 2 - (self.y - top) * scale
            seen.paste(part, (round(corner[0]), round(corner[1])))
            return np.rot90(np.asarray(seen), round(self.angle / 90) % 4)
        # From the view's pixels to the part's, whose scale is the view's up to rounding.
        wide, high = across / (right - left), down / (bottom - top)
        cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
        middle = size / 2
        numbers = (
            *(cosine * wide, -sine * wide, (self.x - left) * wide - middle * wide * (cosine - sine)),
            *(sine * high, cosine * high, (self.y - top) * high - middle * high * (sine + cosine)),
        )
        return np.asarray(part.transform((size, size), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR))

    def to_photograph(self, points: np.ndarray) -> np.ndarray:
        """Points of the view, shares of its side (N, 2), in pixels of the photograph."""
        turn = math.radians(self.angle)
        across, down = (np.asarray(points, np.float64) - 0.5).T * self.side
        return np.stack(
            [
                self.x + across * math.cos(turn) - down * math.sin(turn),
                self.y + across * math.sin(turn) + down * math.cos(turn),
            ],
            axis=1,
        )
