"""Checks of numbers and paths that users give: converted, or rejected in one sentence."""

from __future__ import annotations

import math
import os
import re
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # a scheme of one letter is a drive of Windows


def number(
    name: str, value: Any, above: float | None = None, below: float | None = None, unit: str | None = None
) -> float:
    """Checks a finite number; Python's and NumPy's number types are accepted.

    Args:
        name: name of the argument, for the message.
        value: what was given.
        above: lower limit, exclusive; None: none.
        below: upper limit, exclusive; None: none.
        unit: unit of the number, such as "seconds", for the message.

    Raises:
        ConfigError: it is not a number (booleans and text are not), NaN, infinite or out of bounds.

    Example:
        >>> number("epsilon", 4, above=0)
        4.0
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:  # an integer too large for a float
            found = math.inf
        if math.isfinite(found) and (above is None or found > above) and (below is None or found < below):
            return found
    bounds = [f"{word} {limit:g}" for word, limit in (("above", above), ("below", below)) if limit is not None]
    kind = "a finite number" + (f" of {unit}" if unit else "")
    raise _refusal(name, value, " ".join([kind, " and ".join(bounds)]).rstrip())


def count(name: str, value: Any, least: int, most: int | None = None, unit: str | None = None) -> int:
    """Checks a whole number; Python's and NumPy's integer types are accepted.

    Args:
        name: name of the argument, for the message.
        value: what was given.
        least: smallest accepted value.
        most: largest accepted value; None: no limit.
        unit: what it counts, such as "CPU threads", for the message.

    Raises:
        ConfigError: it is not a whole number (booleans, text and 3.0 are not), or out of bounds.

    Example:
        >>> count("threads", 2, least=1)
        2
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    kind = "a whole number" + (f" of {unit}" if unit else "")
    raise _refusal(name, value, f"{kind}, {least} or more" if most is None else f"{kind} from {least} to {most}")


def path(name: str, value: Any) -> Path:
    """The path of a file: text, bytes or a path object.

    Args:
        name: name of the argument, for the message.
        value: what was given.

    Raises:
        ConfigError: it is not a path; numbers, which Python would take for open files, are not paths.

    Example:
        >>> path("ledger", b"ledger.sqlite").name
        'ledger.sqlite'
    """
    try:
        text = os.fsdecode(value)
        os.fsencode(text)  # no file name contains a lone surrogate
    except (TypeError, UnicodeError):
        text = ""
    if text and "\0" not in text:
        return local_path(text)
    raise _refusal(name, value, "the path of a file")


def is_url(value: str | bytes | os.PathLike[str]) -> bool:
    """Whether a path is a URL."""
    return _URL.fullmatch(os.fsdecode(value)) is not None


def local_path(value: str | os.PathLike[str]) -> Path:
    """The path of a file or folder, which must be on this machine.

    Python would take a URL for a relative path, and write to a folder named `gs:`.

    Raises:
        ConfigError: a URL, such as gs://, s3:// or file://.

    Example:
        >>> local_path("served").name
        'served'
    """
    text = os.fspath(value)
    if isinstance(text, str) and (found := _URL.fullmatch(text)):
        scheme, rest = found.groups()
        advice = f"give /{rest}" if scheme.lower() == "file" else "give a path on this machine"
        raise ConfigError(f"The path {text} is not supported: privzoo reads and writes no {scheme}:// paths; {advice}.")
    return Path(text)


def _refusal(name: str, value: Any, wanted: str) -> ConfigError:
    try:
        shown = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits by default
        shown = "a number with thousands of digits"
    shown = shown if len(shown) <= 100 else f"{shown[:97]}..."
    return ConfigError(f"{name}={shown} is not valid; give {wanted}.")
