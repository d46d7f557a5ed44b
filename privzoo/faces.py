"""Photographs in, face chips out: decode, detect, crop and resize, in training as on the device.

A *face chip* is a square cut from a photograph in which the face, from forehead to chin, fills most of the
picture, framed as in UTKFace. `docs/face_chip.md` specifies the arithmetic for other languages.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from privzoo.errors import ConfigError, FaceNotFoundError, ImageError

# Pillow's own default: beyond it a small file may be a decompression bomb, which expands to gigabytes.
MAX_PIXELS = 89_478_485
# A box this many times the photograph holds nothing but repeated border; it would only use up memory.
MAX_BOX_RATIO = 4
MAX_CHIP_SIZE = 4096
# Measured by `tools/calibrate_faces.py --data_dir ../shared/data` on 500 of UTKFace's training chips and 500 LFW
# frames, 2026-11-21. The side of UTKFace's chip over that of the detector's window, and how far the chip's centre
# lies below the window's, in sides of the window:
GROW = 0.97
SHIFT = 0.09
# The least score of a face; and one that no picture without a face reached, 52 of scikit-image's searched.
MIN_SCORE = 6
SURE_SCORE = 10


@dataclass(frozen=True)
class Box:
    """The square of one face chip in a photograph; it may pass the photograph's border.

    Args:
        x: left edge, whole pixels from the photograph's left border.
        y: upper edge, whole pixels from the photograph's upper border.
        size: side of the square, whole pixels, 1 or more.
        score: confidence of the detector (count of windows that agree); 0 where no detector was asked.
    """

    x: int
    y: int
    size: int
    score: float = 0.0


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


def decode(source: Any, name: str | None = None) -> np.ndarray:
    """Read one image as upright 8-bit RGB.

    EXIF orientation is applied, transparency is laid over white, grey is repeated in three channels, of
    16 bits the upper 8 are kept, of several frames the first; colour profiles are ignored.

    Args:
        source: path, bytes of an image file, PIL image, or uint8 array (H,W) or (H,W,1) grey, (H,W,3) RGB,
            (H,W,4) RGBA.
        name: what errors call the image; by default its path, or "image".

    Returns:
        uint8 array (H,W,3), RGB.

    Raises:
        ImageError: the source is no image, is damaged, is too large, or has the wrong shape or type.

    Example:
        >>> decode(np.zeros((4, 6), np.uint8)).shape
        (4, 6, 3)
    """
    name = name or _name(source) or "image"
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, Image.Image):
        return _from_pillow(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        file: Any = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        file = os.fspath(source)
        if not os.path.exists(file):
            raise ImageError(f"{name}: there is no such file; check the path.")
        if os.path.isdir(file):
            raise ImageError(f"{name}: this is a folder; give the image files in it.")
    else:
        kind = type(source).__name__
        raise ImageError(f"{name}: received {kind}; give a path, image file bytes, PIL image or uint8 array.")
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: no image format that is known here; give a JPEG, PNG or WebP file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except Exception as error:  # On damaged files Pillow raises OSError, SyntaxError, struct.error and more.
        raise _unreadable(name, error) from error
    with image:
        return _from_pillow(image, name)


def as_images(images: Any) -> list[tuple[str, np.ndarray]]:
    """Bring one or many images, in any form that `decode` reads, to a list of names and RGB arrays.

    Args:
        images: one source as for `decode`, an iterable of them, or a uint8 array (N,H,W,3).

    Returns:
        List of (name, uint8 array (H,W,3)), in the order given; empty for an empty list.

    Raises:
        ImageError: one of the images cannot be read; the sentence names it.
    """
    return [(name, decode(source, name)) for name, source in _sources(images)]


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
    _check_size(size)
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
    _check_size(size)
    if face not in ("detect", "given"):
        raise ConfigError(f'face={face!r} is unknown; use "detect" or "given".')
    done: list[np.ndarray] = []
    faces: list[Face] = []
    skipped: Counter[str] = Counter()
    for name, source in _sources(images):
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


def detect(image: np.ndarray) -> list[Box]:
    """Find the faces of a photograph and give the squares that frame them as UTKFace's chips do.

    Args:
        image: uint8 array (H,W,3), RGB.

    Returns:
        The chips' squares, the largest face first, doubtful ones (score under 10) last; empty if no face is seen.

    Raises:
        ImageError: the image is no uint8 RGB array.
        MissingExtraError: scikit-image is not installed.
    """
    from privzoo.detector import windows

    found = [frame(window) for window in windows(decode(image)) if window[3] >= MIN_SCORE]
    return sorted(found, key=lambda box: (box.score < SURE_SCORE, -box.size))


def frame(window: Sequence[float]) -> Box:
    """Turn a window of `privzoo.detector.windows` into the chip's square.

    Args:
        window: x, y, side in pixels and score.

    Returns:
        The square, framed as UTKFace's chips are.
    """
    x, y, side, score = (float(value) for value in window)
    size = max(1, round(GROW * side))
    left, top = x + side / 2 - size / 2, y + (0.5 + SHIFT) * side - size / 2
    return Box(round(left), round(top), size, score)


def _sources(images: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, source) of one or many sources, still undecoded."""
    if isinstance(images, np.ndarray):
        many: Iterable[Any] = images if images.ndim == 4 else [images]
    elif isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | dict):
        many = [images]
    elif hasattr(images, "read") or not isinstance(images, Iterable):
        many = [images]
    else:
        many = images
    for index, source in enumerate(many):
        yield _name(source) or f"image {index}", source


def _name(source: Any) -> str | None:
    if isinstance(source, str | os.PathLike):
        return str(source)
    return getattr(source, "filename", None) or None


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: the array is {array.dtype}; give uint8 with values 0 to 255.")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{name}: the array has shape {array.shape}; give (H,W), (H,W,3) or (H,W,4).")
    if 0 in array.shape:
        raise ImageError(f"{name}: the array has shape {array.shape} and so no pixels; give an image.")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        return _from_pillow(Image.fromarray(np.ascontiguousarray(array), "RGBA"), name)
    return array


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    if not image.width or not image.height:
        raise ImageError(f"{name}: the image has {image.width}x{image.height} pixels; give an image.")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    try:
        sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
        image.load()
        image = ImageOps.exif_transpose(image)
        if sixteen:
            return _from_array((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8), name)
        if image.mode not in ("I", "F"):
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.array(image.convert("RGB"))
    except Exception as error:  # As above: a damaged file may show itself only when its pixels are decoded.
        raise _unreadable(name, error) from error
    raise ImageError(f"{name}: pixels of mode {image.mode} have no fixed range; save it with 8 bits.")


def _unreadable(name: str, error: Exception) -> ImageError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return ImageError(f"{name}: the image cannot be read ({reason}); replace the file.")


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name}: the image has more than {MAX_PIXELS:,} pixels; make it smaller.")


def _check_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= MAX_CHIP_SIZE:
        raise ConfigError(f"Chip size {size!r} cannot be; give a whole number from 1 to {MAX_CHIP_SIZE}.")


def _whole(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ImageError(f"Box {field}={value!r} is no whole number of pixels; round it.")
    return int(value)
