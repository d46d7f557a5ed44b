"""Writes the golden chips: `python tests/golden/chips/make.py`; needed again only if the arithmetic changes.

The photograph is a piece of the portrait of Eileen Collins (NASA, public domain) that scikit-image carries.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from privzoo.faces import Box, crop

HERE = Path(__file__).resolve().parent
PIECE = Box(130, 30, 190)
FACE = Box(46, 48, 93)
# name, box in the piece, side of the chip
CASES = (
    ("smaller", FACE, 48),
    ("much_smaller", Box(3, 5, 181), 32),
    ("nearly_the_same", FACE, 96),
    ("larger", FACE, 160),
    ("same_size", Box(40, 41, 64), 64),
    ("odd", Box(31, 17, 101), 67),
    ("over_left_and_top", Box(-40, -25, 120), 64),
    ("over_right_and_bottom", Box(120, 131, 97), 64),
    ("over_all_sides", Box(-30, -20, 250), 64),
    ("turned_a_little", Box(46, 48, 93, angle=12.5), 96),
    ("turned_left", Box(46, 48, 93, angle=-63.0), 48),
    ("turned_over", Box(31, 17, 101, angle=171.25), 67),
    ("turned_quarter", Box(40, 41, 64, angle=90.0), 64),
    ("turned_over_the_border", Box(-40, 60, 120, angle=140.0), 160),
)


def main() -> None:
    """Writes astronaut.png, one PNG a case, and cases.json."""
    import skimage.data

    piece = crop(skimage.data.astronaut(), PIECE, PIECE.size)
    cases = []
    _save(piece, "astronaut")
    for name, box, size in CASES:
        chip = crop(piece, box, size)
        _save(chip, name)
        where = {"x": box.x, "y": box.y, "size": box.size} | ({"angle": box.angle} if box.angle else {})
        cases.append({"file": f"{name}.png", "box": where, "size": size, "rgb_sha256": _hash(chip)})
    golden = {
        "source": "astronaut.png",
        "source_rgb_sha256": _hash(piece),
        "licence": "public domain (NASA; scikit-image's data.astronaut())",
        "cases": cases,
    }
    (HERE / "cases.json").write_text(json.dumps(golden, indent=2) + "\n")


def _save(image: np.ndarray, name: str) -> None:
    Image.fromarray(image).save(HERE / f"{name}.png", optimize=True)


def _hash(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
