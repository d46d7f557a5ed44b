"""From photographs to chips: the faces are found, then cut out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.errors import ConfigError, FaceNotFoundError, ImageError
from privzoo.faces.chip import Box, centre, check_size, crop
from privzoo.faces.detection import detect
from privzoo.faces.images import decode, sources


@dataclass(frozen=True)
class Face:
    """Where one chip came from.

    Args:
        image: name of the photograph: its path, or "image 3" for the fourth of several arrays.
        box: the chip's square in it.
        found: how many faces the detector saw in it; the chip shows the first of them.
    """

    image: str
    box: Box
    found: int = 1


def chips(
    images: Any, size: int, face: str = "detect", bulk: bool = False
) -> tuple[np.ndarray, list[Face], Counter[str]]:
    """Turn photographs into face chips, one of each photograph: its first face.

    Args:
        images: one or many images in any form that `as_images` reads.
        size: side of the chips in pixels.
        face: "detect" finds the face; "given" takes each image as a chip already (its centre square).
        bulk: skip what cannot be read or shows no face, and count why; otherwise such an image raises.

    Returns:
        uint8 array (N,size,size,3) RGB; N `Face`s; counts of skipped images by reason (empty unless `bulk`).

    Raises:
        ImageError: an image cannot be read, or none was given (never when `bulk`).
        FaceNotFoundError: an image shows no face (never when `bulk`).
        ConfigError: an unknown value for `face`, or a size that cannot be.
        MissingExtraError: `face="detect"` without scikit-image.
    """
    check_size(size)
    if face not in ("detect", "given"):
        raise ConfigError(f'face={face!r} is unknown; use "detect" or "given".')
    done: list[np.ndarray] = []
    faces: list[Face] = []
    skipped: Counter[str] = Counter()
    for name, source in sources(images):
        try:
            image = decode(source, name)
            boxes = detect(image) if face == "detect" else [centre(image)]
            if not boxes:
                raise FaceNotFoundError(
                    f'{name}: no face was found; give a frontal face, or a face chip with face="given".'
                )
        except ImageError as error:
            if not bulk:
                raise
            skipped["no face found" if isinstance(error, FaceNotFoundError) else "unreadable image"] += 1
            continue
        done.append(crop(image, boxes[0], size))
        faces.append(Face(name, boxes[0], len(boxes)))
    if not done and not bulk:
        raise ImageError("No image was given: the list is empty.")
    return (np.stack(done) if done else np.zeros((0, size, size, 3), np.uint8)), faces, skipped
