"""Photographs in, face chips out: decode, detect, crop and resize, the same in training and on the device.

A *face chip* is a square cut from a photograph in which the face, from forehead to chin, fills most of the
image, framed as in UTKFace. `docs/face_chip.md` specifies the arithmetic for other languages.
"""

from privzoo.answers import Answers, Skipped, require_some
from privzoo.faces.chip import MAX_CHIP_SIZE, Box, centre, crop, resize
from privzoo.faces.cutting import Face, check_face, chips
from privzoo.faces.detection import detect, detector
from privzoo.faces.images import decode

__all__ = [
    "MAX_CHIP_SIZE",
    "Answers",
    "Box",
    "Face",
    "Skipped",
    "centre",
    "check_face",
    "chips",
    "crop",
    "decode",
    "detect",
    "detector",
    "require_some",
    "resize",
]
