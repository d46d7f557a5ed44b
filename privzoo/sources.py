"""What users give as one picture or recording: its name for messages, and its bytes. What is in them others decode."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

from privzoo import checks
from privzoo.errors import InputError

BYTES = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Kind:
    """One kind of input, as errors speak of it."""

    article: str
    noun: str  # "image", "recording"
    error: type[InputError]
    most_bytes: int  # of an open file, whose size is unknown

    def unreadable(self, name: str, error: Exception) -> InputError:
        """The error for a file that is damaged, or that the system refuses to read."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = text.splitlines()[0].rstrip(".") if text else type(error).__name__
        return self.error(f"{name}: the {self.noun} cannot be read ({reason}); replace the file.")

    def regular_file(self, path: str | bytes, name: str) -> str | bytes:
        """The path, unless what is there is no file: reading a pipe would wait for whoever writes to it."""
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
            raise self.error(f"{name}: {self._absent(path)}") from None
        except OSError as error:
            raise self.unreadable(name, error) from None
        if stat.S_ISDIR(mode):
            raise self.error(f"{name}: this is a folder; give the {self.noun} files in it.")
        if not stat.S_ISREG(mode):
            raise self.error(f"{name}: this is a pipe or a device; save the {self.noun} to a file first.")
        return path

    def _absent(self, path: str | bytes) -> str:
        if checks.is_url(path):
            return f"this is an address, not a file; give {self.article} {self.noun} on this machine."
        return "there is no such file; check the path."

    def content(self, file: Any, name: str) -> bytes:
        """All bytes of an open file, from its beginning if it is seekable: it may have been read before."""
        try:
            if getattr(file, "seekable", lambda: False)():
                file.seek(0)
            content = file.read(self.most_bytes + 1)
        except Exception as error:  # Whatever the file's own code raises; of a closed file a ValueError.
            raise self.unreadable(name, error) from error
        if not isinstance(content, bytes):
            raise self.error(f'{name}: the open file gives {type(content).__name__}; open it in mode "rb".')
        if len(content) > self.most_bytes:
            raise self.error(
                f"{name}: the open file has more than {self.most_bytes:,} bytes; give a file of one {self.noun}."
            )
        return content


def name_of(source: Any) -> str | None:
    """The source's own name: a path, or the name of an open file."""
    for name in (source, getattr(source, "filename", None), getattr(source, "name", None)):
        if isinstance(name, str | os.PathLike) and (found := os.fsdecode(name)):
            return found
    return None
