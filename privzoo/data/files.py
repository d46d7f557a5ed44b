"""Read the files of a data set from a folder or straight from a zip, through one interface."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from privzoo import checks
from privzoo.errors import DataError, ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".gif", ".tif", ".tiff")

#: What reading a file from a damaged, truncated or encrypted zip may raise.
READ_ERRORS = (KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def is_image(name: str) -> bool:
    """Whether a file name ends like an image file's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file is hidden or in a hidden folder, such as those that macOS and file managers leave behind."""
    # It may look like images, and must not be counted as damaged ones.
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1].startswith("Thumbs.db") or any(part.startswith(".") for part in parts)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip("'") or type(error).__name__


class Folder:
    """The files below one folder.

    Args:
        path: the folder; every name is relative to it, with forward slashes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        """Return the folder's path, for messages."""
        return str(self.path)

    def names(self, hidden: bool = False) -> list[str]:
        """Return every file's name, sorted; hidden ones too if wanted."""
        found = []
        for folder, _, files in os.walk(self.path, followlinks=True):
            inside = Path(folder).relative_to(self.path).as_posix()
            found += [file if inside == "." else f"{inside}/{file}" for file in files]
        return sorted(name for name in found if hidden or not is_hidden(name))

    def read(self, name: str) -> bytes:
        """Return one file's bytes; raises ImageError when it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise ImageError(f"{self.path / name} cannot be read ({_reason(error)}): copy it again.") from error

    def open(self, name: str) -> IO[bytes]:
        """Open a large table for reading; raises DataError when it is not there."""
        try:
            return open(self.path / name, "rb")
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read ({_reason(error)}): copy it again.") from error


class Zip:
    """The files of a zip, below one folder in it; the zip is opened once in every process that reads it.

    Args:
        path: the zip file.
        prefix: the folder in the zip that names are relative to, "" or ending in a slash.
    """

    def __init__(self, path: str | Path, prefix: str = "") -> None:
        self.path, self.prefix = Path(path), prefix
        self._owner, self._lock = 0, threading.Lock()
        self._zip: zipfile.ZipFile | None = None

    def __str__(self) -> str:
        """Return the path of the zip and of the folder in it, for messages."""
        return f"{self.path}/{self.prefix}".rstrip("/")

    def __getstate__(self) -> dict:
        """Leave the open file out, so that a sample can go to another process."""
        return {"path": self.path, "prefix": self.prefix}

    def __setstate__(self, state: dict) -> None:
        """Start again with a closed file."""
        Zip.__init__(self, **state)

    def _open(self) -> zipfile.ZipFile:
        with self._lock:
            # A forked child shares the parent's file position: it has to open the zip for itself.
            if self._zip is None or self._owner != os.getpid():
                try:
                    self._zip, self._owner = zipfile.ZipFile(self.path), os.getpid()
                except (OSError, zipfile.BadZipFile) as error:
                    raise DataError(
                        f"{self.path} is not a readable zip ({_reason(error)}): give a folder or a zip."
                    ) from error
            return self._zip

    def names(self, hidden: bool = False) -> list[str]:
        """Return every file's name below the prefix, sorted; hidden ones too if wanted."""
        names = (name for name in self._open().namelist() if not name.endswith("/") and (hidden or not is_hidden(name)))
        return sorted(name[len(self.prefix) :] for name in names if name.startswith(self.prefix))

    def read(self, name: str) -> bytes:
        """Return one file's bytes; raises ImageError when they cannot be read or are damaged."""
        try:
            return self._open().read(self.prefix + name)
        except READ_ERRORS as error:
            raise ImageError(f"{self}/{name} cannot be read ({_reason(error)}); download the zip again.") from error

    def open(self, name: str) -> IO[bytes]:
        """Open a large table for reading; raises DataError when it is not there."""
        try:
            return self._open().open(self.prefix + name)
        except READ_ERRORS as error:
            raise DataError(f"{self}/{name} cannot be read ({_reason(error)}); download the zip again.") from error

    def below(self, folders: Sequence[str]) -> Zip:
        """Return the same zip seen from the outermost folder with one of these names, or from its top."""
        wanted = {folder.lower() for folder in folders}
        prefixes = set()
        for name in self.names():
            parts = name.split("/")[:-1]
            depth = next((i for i, part in enumerate(parts, 1) if part.lower() in wanted), None)
            if depth:
                prefixes.add("/".join(parts[:depth]) + "/")
        if not prefixes:
            return self
        return Zip(self.path, self.prefix + min(prefixes, key=lambda prefix: (prefix.count("/"), prefix)))


Files = Folder | Zip


def read_list(files: Files, name: str) -> bytes:
    """Return the bytes of a list that a data set cannot do without; raises DataError when it is damaged."""
    try:
        return files.read(name)
    except ImageError as error:
        raise DataError(str(error)) from error


def open_files(root: str | Path, folders: Sequence[str]) -> Files:
    """Find a data set at `root`: its official folder, its zip, or a folder that holds either.

    Args:
        root: a folder or a zip.
        folders: names that the data set's official folder may have; its zip is called like one of them.

    Returns:
        The files, named relative to the official folder. A root that holds neither the folder nor the zip is
        taken to be the official folder itself.

    Raises:
        DataError: it does not exist, or is a file but not a zip.
    """
    root = checks.local_path(root).expanduser()
    if not root.exists():
        raise DataError(f"{root} does not exist: give the folder {folders[0]}, its zip, or the folder that holds one.")
    if root.is_file():
        return Zip(root).below(folders)
    wanted = [folder.lower() for folder in folders]
    try:
        children = sorted(root.iterdir())
    except OSError as error:
        raise DataError(f"{root} cannot be read ({_reason(error)}): check its permissions.") from error
    for child in children:
        if child.name.lower() in wanted and child.is_dir():
            return Folder(child)
    for child in children:
        if child.suffix.lower() == ".zip" and child.stem.lower() in wanted:
            return Zip(child).below(folders)
    return Folder(root)
