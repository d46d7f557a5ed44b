"""Packs: a data set's training and validation parts in one small file, for a machine that has nothing else of it.

Images are resized and compressed (WebP), grey ones in grey; labels are kept as they are. A pack is for training alone:
what is published is measured on the data set itself.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.data import Dataset, arrays
from privzoo.errors import DataError
from privzoo.files import replacing, write_arrays

PARTS = ("train", "validation")
QUALITY = 85  # of WebP, 0 to 100
LARGEST = 45_000_000  # bytes; what a lent machine takes beside the code
THREADS = 8

Part = tuple[np.ndarray, dict[str, np.ndarray]]  # chips, uint8 (N, side, side, 3), and labels, each (N, ...)


def path_of(folder: Path, dataset: str) -> Path:
    """Where a data set's pack lies."""
    return folder / f"{dataset}.pack.npz"


def write(parts: tuple[Dataset, Dataset], path: Path, side: int, quality: int = QUALITY) -> int:
    """Writes a pack, in whole or not at all.

    Args:
        parts: of training and of validation.
        path: the file.
        side: of the images in pixels.
        quality: of WebP, 0 to 100.

    Returns:
        Its size in bytes.

    Raises:
        DataError: no image can be read, or the pack is over `LARGEST` bytes.
    """
    packed: dict[str, np.ndarray] = {"side": np.array(side)}
    for part, data in zip(PARTS, parts, strict=True):
        chips, labels = arrays(data, side)
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(lambda chip: _encoded(chip, quality), chips))
        packed[f"{part}/images"] = np.frombuffer(b"".join(images), np.uint8)
        packed[f"{part}/ends"] = np.cumsum([len(image) for image in images])
        packed |= {f"{part}/label/{name}": values for name, values in labels.items()}
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            write_arrays(file, packed)
        size = temporary.stat().st_size
        if size > LARGEST:
            raise DataError(f"The pack has {size:,} bytes, over {LARGEST:,}; give a smaller side or a lower quality.")
    return size


def read(path: Path) -> dict[str, Part]:
    """Reads a pack into memory.

    Returns:
        "train" and "validation" -> chips and labels.

    Raises:
        DataError: the file is missing, damaged, or no pack.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            packed = {key: file[key] for key in file.files}
        return {part: _part(packed, part) for part in PARTS}
    except Exception as error:  # a damaged file may fail in numpy, in the zip or in Pillow
        raise DataError(f"The pack {path} cannot be read ({error}); write it again with --pack.") from None


def _part(packed: dict[str, np.ndarray], part: str) -> Part:
    images, ends = packed[f"{part}/images"], packed[f"{part}/ends"]
    side, starts = int(packed["side"]), [0, *ends[:-1]]
    chips = np.empty((len(ends), side, side, 3), np.uint8)

    def decode(index: int) -> None:
        from PIL import Image

        data = io.BytesIO(images[starts[index] : ends[index]].tobytes())
        chips[index] = np.asarray(Image.open(data).convert("RGB"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(decode, range(len(ends))))
    prefix = f"{part}/label/"
    return chips, {key.removeprefix(prefix): value for key, value in packed.items() if key.startswith(prefix)}


def _encoded(chip: np.ndarray, quality: int) -> bytes:
    from PIL import Image

    image: Any = Image.fromarray(chip)
    if (chip == chip[..., :1]).all():
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()
