"""SQLite files that a device keeps: distinguished by their application_id, and readable only by their owner."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError

_BESIDE = ("", "-wal", "-shm", "-journal")  # the names of SQLite's files beside a database end so


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    name: str  # what sentences call it, such as "queue"
    application: int  # its application_id
    version: int  # the newest that this release knows, its user_version
    # Table -> columns of earlier releases' files, which had no application_id; empty: there were none.
    tables: Mapping[str, tuple[str, ...]]

    def version_of(self, base: sqlite3.Connection, path: Path) -> int:
        """Version of a file, 0 for an empty one; it is only read.

        Raises:
            ConfigError: the file is another program's, or of a later release.
        """
        application, version = (
            base.execute(f"PRAGMA {key}").fetchone()[0] for key in ("application_id", "user_version")
        )
        names = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
        if application == self.application:
            if 1 <= version <= self.version:
                return version
            raise ConfigError(
                f"The {self.name} {path} is of another version of privzoo ({version}); update privzoo to use it, or "
                "choose another file."
            )
        if application == 0 and not names and version == 0:
            return 0
        if application == 0 and names and set(names) <= set(self.tables) and 0 <= version <= self.version:
            columns = {name: [row[1] for row in base.execute(f"PRAGMA table_info({name})")] for name in names}
            if all(list(self.tables[name]) == found for name, found in columns.items()):
                return max(version, 1)
        raise ConfigError(f"{path} is not a {self.name} of privzoo; choose another file.")


def create(path: Path) -> None:
    """Makes an empty file, readable only by its owner, where there is none.

    Raises:
        OSError: it cannot be made, or what is there is no plain file.
        ValueError: the path is invalid.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not stat.S_ISREG(path.stat().st_mode):  # SQLite would wait at a pipe
        raise OSError("it is not a regular file")


def connect(path: Path, timeout: float, **options: Any) -> sqlite3.Connection:
    """Opens a file that is there; one that is not is not made.

    Args:
        path: of the file.
        timeout: seconds to wait for others that hold it.
        options: of `sqlite3.connect`.
    """
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout, isolation_level=None, **options)


def make_private(path: Path) -> None:
    """Removes group and other permissions from an existing file of ours, and from SQLite's files next to it.

    Raises:
        OSError: they cannot be removed, for example from another user's file.
    """
    if os.name == "nt":  # its permissions are not a mode
        return
    for suffix in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            file = path.with_name(path.name + suffix)
            if (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
                file.chmod(mode & 0o700)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that a path leads to; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
