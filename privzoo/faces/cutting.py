"""From photographs to chips: the faces are found, then cut out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.answers import Skipped, require_some
from privzoo.errors import ConfigError, FaceNotFoundError, ImageError
from privzoo.faces.chip import Box, centre, check_size, crop
from privzoo.faces.detection import detect
from privzoo.faces.images import decode, sources

DETECT, GIVEN = "detect", "given"


@dataclass(frozen=True)
class Face:
    """Where one chip came from.

    Args:
        image: name of the photograph: its path, or "image 3" for the fourth of several arrays.
        box: the chip's square in it.
        found: how many faces the detector found in it; 1 if the chip was given.
        number: which of them this is, from 1: the largest first, doubtful ones last.
    """

    image: str
    box: Box
    found: int = 1
    number: int = 1

    @property
    def score(self) -> float | None:
        """Confidence of the detector, 0 to 1; None for a chip that was given."""
        return self.box.score or None  # no face is found with a score of 0

    @property
    def rotation(self) -> float | None:
        """Degrees by which the face is rotated clockwise in the photograph; None for a chip that was given."""
        return None if self.score is None else self.box.angle


def chips(
    images: Any, size: int, face: str = DETECT, bulk: bool = False, all_faces: bool = False
) -> tuple[np.ndarray, list[Face], list[Skipped]]:
    """Turn photographs into face chips: the first face of each photograph, or all faces.

    Args:
        images: one or many images in any form that `sources` reads.
        size: side of the chips in pixels.
        face: "detect" finds the face; "given" means that each image already is a chip (its centre square).
        bulk: skip images that cannot be read or show no face; otherwise the first such image raises.
        all_faces: also look for small faces, which takes ten times as long, and return a chip of each face.

    Returns:
        uint8 array (N,size,size,3) RGB; N `Face`s, grouped by photograph; what was skipped (nothing unless
        `bulk`).

    Raises:
        ImageError: an image cannot be read, or none was given (never when `bulk`).
        FaceNotFoundError: an image shows no face (never when `bulk`).
        ConfigError: an unknown value for `face`, all faces of given chips, or an invalid size.
        MissingExtraError: no detector's package is installed.
    """
    check_size(size)
    check_face(face, all_faces)
    done: list[np.ndarray] = []
    found: list[Face] = []
    skipped: list[Skipped] = []
    for name, source in sources(images):
        try:
            image = decode(source, name)
            boxes = detect(image, thorough=all_faces) if face == DETECT else [centre(image)]
            if not boxes:
                raise FaceNotFoundError(
                    f'{name}: no face was found; give a photograph of a face, or a face chip with face="given".'
                )
        except ImageError as error:
            if not bulk:
                raise
            reason = str(error).removeprefix(f"{name}: ")
            skipped.append(Skipped(name, reason, isinstance(error, FaceNotFoundError)))
            continue
        for number, box in enumerate(boxes if all_faces else boxes[:1], start=1):
            done.append(crop(image, box, size))
            found.append(Face(name, box, len(boxes), number))
    if not bulk:
        require_some(found, skipped)
    return (np.stack(done) if done else np.zeros((0, size, size, 3), np.uint8)), found, skipped


def check_face(face: str, all_faces: bool = False) -> None:
    """Raises ConfigError for an unknown value, or for all faces of given chips."""
    if not (isinstance(face, str) and face in (DETECT, GIVEN)):
        raise ConfigError(f'face={face!r} is unknown; use "detect" or "given".')
    if all_faces and face == GIVEN:
        raise ConfigError('all_faces=True finds the faces of photographs; leave out face="given" or all_faces.')
