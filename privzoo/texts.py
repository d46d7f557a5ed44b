"""Texts that others chose, as names of files or what a server says: made safe to keep, and to show on one line."""

from __future__ import annotations

import re
from collections.abc import Callable

# Python's stand-ins for bytes of a file's name that the locale does not know.
_BYTES = re.compile("[\udc80-\udcff]+")
LONGEST = 500  # characters of what others say in one of our sentences


def decoded(text: str) -> str:
    """A file's name with those bytes that the locale did not know read as UTF-8, where they are; else left."""
    return _replaced(text, lambda data: data.decode("utf-8", "surrogateescape"))


def storable(text: str) -> str:
    r"""A text that UTF-8 can hold: bytes that are none become `\xe9`, lone surrogates `\ud800`.

    Example:
        >>> print(storable("caf\udce9.jpg"))
        caf\xe9.jpg
    """
    return (
        _replaced(text, lambda data: data.decode("utf-8", "backslashreplace"))
        .encode("utf-8", "backslashreplace")
        .decode()
    )


def one_line(text: str, most: int | None = None) -> str:
    r"""A text in which nothing moves a cursor, breaks a line or is unprintable: such characters are escaped.

    Args:
        text: any.
        most: characters to keep; None: all.

    Example:
        >>> print(one_line("red \x1b[31m"))
        red \x1b[31m
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def said(text: str) -> str:
    """What a server or library said, for one of our sentences: on one line, of printable characters, and not long."""
    return one_line(" ".join(text[: 4 * LONGEST].split()), LONGEST)


def _replaced(text: str, read: Callable[[bytes], str]) -> str:
    return _BYTES.sub(lambda run: read(run[0].encode("utf-8", "surrogateescape")), text)
