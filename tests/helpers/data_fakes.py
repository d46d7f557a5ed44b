"""Tiny fake data sets for the tests of the loaders: images, and files laid out as a folder or a zip."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

#: Every way in which a data set may lie before the user: what `place` makes.
FORMS = ("folder", "parent", "zip", "zip in parent", "bare zip")


def picture(width: int, height: int | None = None, seed: int = 0) -> np.ndarray:
    """Return a smooth picture, uint8 (height, width, 3), which JPEG keeps well; another for every seed."""
    y, x = np.mgrid[: height or width, :width].astype(np.float64)
    return np.stack([127 + 120 * np.sin((x + k * y) / 30 + seed + k) for k in range(3)], axis=2).astype(np.uint8)


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    """Return the image as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def jpeg(width: int, height: int | None = None, seed: int = 0) -> bytes:
    """Return `picture` as a JPEG file."""
    return encoded(picture(width, height, seed))


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    """Write the files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(files: dict[str, bytes], path: Path) -> Path:
    """Write the files into a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def place(files: dict[str, bytes], tmp_path: Path, form: str, folder: str) -> Path:
    """Lay out files, named relative to the official folder, in one of FORMS and return what a user would give."""
    named = {f"{folder}/{name}": content for name, content in files.items()}
    if form in ("folder", "parent"):
        write_folder(named, tmp_path)
        return tmp_path / folder if form == "folder" else tmp_path
    if form == "bare zip":
        return write_zip(files, tmp_path / "download (1).zip")
    write_zip(named, tmp_path / f"{folder.lower()}.zip")
    return tmp_path / f"{folder.lower()}.zip" if form == "zip" else tmp_path
