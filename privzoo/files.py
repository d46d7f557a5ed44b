"""Atomic file writes, even with concurrent writers or when the process is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from privzoo import checks
from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

PART = ".part"  # how the name of a file that is still being written ends


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """Gives a temporary name to write to, which becomes the path at the end, or is removed if anything is raised.

    The temporary file lies in the path's folder, which is created if missing, and has the process's number and
    a random part in its name: two writers never share one, the later of them wins, and a reader sees the old file or
    one new one. What was written is on the disk before the name is. A file that was there before keeps its
    permissions, and one that a symbolic link leads to is replaced where it lies.

    Args:
        path: the file to be written.
        suffix: that the temporary name must end in, for writers that insist on one, such as ".npz"; such names begin
            with a dot as well.

    Raises:
        ConfigError: the path is a URL.

    Example:
        >>> with replacing("figures.npz") as temporary:  # doctest: +SKIP
        ...     temporary.write_bytes(b"...")
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else checks.local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f"{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{unique}{PART}{suffix}")
    try:
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        _to_disk(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # not every system lets a folder be opened
            _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically; creates its folder if missing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically; creates its folder if missing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as an npy file atomically; creates its folder if missing."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def write_arrays(file: BinaryIO | Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> None:
    """Writes named arrays as an npz file, to an open file or to a path as it stands; see `replacing` for whole files.

    Args:
        file: where to.
        arrays: of any names.
        compressed: as `numpy.savez_compressed` does.
    """
    import numpy as np

    save = np.savez_compressed if compressed else np.savez
    save(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes any name for its flag `allow_pickle`


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def data_folder(name: str, holds: str) -> Path:
    """A folder of data: inside the package in a wheel, next to it in a checkout or an editable install.

    Args:
        name: of the folder.
        holds: what it holds if it is the right one.

    Raises:
        ConfigError: it is in neither place.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / name, package.parent / name):
        if (folder / holds).exists():
            return folder
    raise ConfigError(f"{name} is missing from {package} and from the folder next to it; install privzoo again.")
