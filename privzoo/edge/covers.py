"""The pool of covers on the device: photographs of other people, which fill groups of mixed faces."""

from __future__ import annotations

import os

from privzoo import checks, faces
from privzoo.errors import ConfigError
from privzoo.mechanisms.covers import Covers

RECORD = "used_covers.sqlite"  # name of the record in the pool's folder
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def pool(
    folder: str | os.PathLike[str],
    size: int,
    face: str = "detect",
    record: str | os.PathLike[str] | None = None,
) -> Covers:
    """Reads a folder of photographs as covers; those without a face are left out.

    Args:
        folder: with image files, secret, of many people, and like the faces that are asked about.
        size: side of the head's chips in pixels.
        face: "detect" finds the face, "given" means that each image already is a face chip.
        record: file in which used covers are remembered; None: `used_covers.sqlite` in the folder.

    Raises:
        ConfigError: there is no such folder, it has no image with a face, or the record cannot be used.
    """
    place = checks.path("covers", folder)
    try:
        paths = sorted(path for path in place.iterdir() if path.suffix.lower() in _ENDINGS)
    except OSError as error:
        raise ConfigError(f"The covers {place} cannot be read: {error.strerror or error}; give a folder.") from None
    if not paths:
        raise ConfigError(f"The folder {place} has no images to be covers; give one with photographs of faces.")
    chips, _, skipped = faces.chips(paths, size, face, bulk=True)
    if not len(chips):
        raise ConfigError(f"None of the {len(skipped)} images in {place} shows a face; give others as covers.")
    return Covers(chips, place / RECORD if record is None else record)
