"""One image in any form that users have, as upright 8-bit RGB."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from privzoo import checks
from privzoo.errors import ImageError

# Pillow's own default: beyond it a small file may be a decompression bomb that expands to gigabytes.
MAX_PIXELS = 89_478_485
MAX_STREAM_BYTES = 4 * MAX_PIXELS  # of an open file, whose size is unknown: all pixels uncompressed


def decode(source: Any, name: str | None = None) -> np.ndarray:
    """Read one image as upright 8-bit RGB.

    EXIF orientation is applied, transparency is put on white, grey is repeated in three channels, the upper 8
    of 16 bits are kept, and the first of several frames; colour profiles are ignored.

    Args:
        source: path, open file (bytes), bytes of an image file, PIL image, or uint8 array (H,W) or (H,W,1) grey,
            (H,W,3) RGB, (H,W,4) RGBA.
        name: of the image in errors; by default its path, or "image".

    Returns:
        uint8 array (H,W,3), RGB.

    Raises:
        ImageError: the source is not an image, is damaged, is too large, or has the wrong shape or type.

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
        file = _regular_file(os.fspath(source), name)
    elif hasattr(source, "read"):
        file = io.BytesIO(_content(source, name))
    else:
        kind = type(source).__name__
        raise ImageError(
            f"{name}: received {kind}; give a path, an open file, bytes of an image file, a PIL image or a uint8 array."
        )
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: unknown image format; give a JPEG, PNG or WebP file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except Exception as error:  # On damaged files Pillow raises OSError, SyntaxError, struct.error and more.
        raise _unreadable(name, error) from error
    with image:
        return _from_pillow(image, name)


def sources(images: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, source) of one or many sources, still undecoded.

    Args:
        images: one source as for `decode`; several in any iterable, such as a list, a generator, or a table column; a
            uint8 array (N,H,W,3); or an array (N,) of paths.
    """
    single = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, dict)
    if not isinstance(images, (np.ndarray, *single)) and hasattr(images, "__array__"):
        images = np.asarray(images)  # tensors, and columns of tables
    if isinstance(images, np.ndarray):
        if images.dtype.kind in "OU" and images.ndim < 2:
            many: Iterable[Any] = images.reshape(-1).tolist()
        else:
            many = images if images.ndim == 4 else [images]
    elif isinstance(images, single) or hasattr(images, "read") or not isinstance(images, Iterable):
        many = [images]
    else:
        many = images
    for index, source in enumerate(many):
        yield _name(source) or f"image {index}", source


def _name(source: Any) -> str | None:
    """The source's own name: a path, or the name of an open file."""
    for name in (source, getattr(source, "filename", None), getattr(source, "name", None)):
        if isinstance(name, str | os.PathLike) and (found := os.fsdecode(name)):
            return found
    return None


def _regular_file(path: str | bytes, name: str) -> str | bytes:
    """The path, unless what is there is no file: reading a pipe would wait for whoever writes to it."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        raise ImageError(f"{name}: {_absent(path)}") from None
    except OSError as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        raise ImageError(f"{name}: this is a folder; give the image files in it.")
    if not stat.S_ISREG(mode):
        raise ImageError(f"{name}: this is a pipe or a device; save the image to a file first.")
    return path


def _absent(path: str | bytes) -> str:
    if checks.is_url(path):
        return "this is an address, not a file; give an image on this machine."
    return "there is no such file; check the path."


def _content(file: Any, name: str) -> bytes:
    """All bytes of an open file, from its beginning if it is seekable: it may have been read before."""
    try:
        if getattr(file, "seekable", lambda: False)():
            file.seek(0)
        content = file.read(MAX_STREAM_BYTES + 1)
    except Exception as error:  # Whatever the file's own code raises; of a closed file a ValueError.
        raise _unreadable(name, error) from error
    if not isinstance(content, bytes):
        raise ImageError(f'{name}: the open file gives {type(content).__name__}; open it in mode "rb".')
    if len(content) > MAX_STREAM_BYTES:
        raise ImageError(f"{name}: the open file has more than {MAX_STREAM_BYTES:,} bytes; give an image file.")
    return content


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
    except Exception as error:  # As above: damage may only show when the pixels are decoded.
        raise _unreadable(name, error) from error
    raise ImageError(f"{name}: pixels of mode {image.mode} have no fixed range; save it with 8 bits.")


def _unreadable(name: str, error: Exception) -> ImageError:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    reason = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    return ImageError(f"{name}: the image cannot be read ({reason}); replace the file.")


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name}: the image has more than {MAX_PIXELS:,} pixels; make it smaller.")
