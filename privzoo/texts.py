"""Makes untrusted text, such as file names and a server's messages, safe to store and to show on one line."""

from __future__ import annotations

import re
from collections.abc import Callable

# Python's stand-ins for bytes of a file name that are invalid in the locale's encoding.
_BYTES = re.compile("[\udc80-\udcff]+")
LONGEST = 500  # characters of untrusted text in one message


def decoded(text: str) -> str:
    """A file name in which bytes that are invalid in the locale's encoding are read as UTF-8, if they are UTF-8."""
    return _replaced(text, lambda data: data.decode("utf-8", "surrogateescape"))


def storable(text: str) -> str:
    r"""A text that UTF-8 can encode: bytes that are not UTF-8 become `\xe9`, lone surrogates `\ud800`.

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
    r"""A text whose unprintable characters, such as line breaks and cursor movements, are escaped.

    Args:
        text: any text.
        most: number of characters to keep; None: all.

    Example:
        >>> print(one_line("red \x1b[31m"))
        red \x1b[31m
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def said(text: str) -> str:
    """A server's or library's message for use in an error message: on one line, printable, and not long."""
    return one_line(" ".join(text[: 4 * LONGEST].split()), LONGEST)


def _replaced(text: str, read: Callable[[bytes], str]) -> str:
    return _BYTES.sub(lambda run: read(run[0].encode("utf-8", "surrogateescape")), text)
