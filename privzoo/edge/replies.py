"""Replies of a REST server: read up to a limit, decoded, and interpreted."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from privzoo import texts

_GZIP = ("gzip", "x-gzip")


class UnreadableError(ValueError):
    """A body that is too large or wrongly encoded; the message is part of a sentence."""


class Body:
    """Collects an answer's body.

    Args:
        headers: of the answer.
        most: maximum bytes, both as received and decoded: a little compressed data may decode to a lot.
    """

    def __init__(self, headers: Mapping[str, str], most: int) -> None:
        self._encoding = headers.get("content-encoding", "").strip().lower()
        self._most, self._content = most, bytearray()

    def add(self, chunk: bytes) -> None:
        """Takes the next part, as received; raises UnreadableError if there is too much."""
        if len(self._content) + len(chunk) > self._most:
            raise UnreadableError(f"more than {self._most} bytes")
        self._content += chunk

    def content(self) -> bytes:
        """The whole body, decoded.

        Raises:
            UnreadableError: it is too large, damaged, or in an encoding that was not requested.
        """
        if self._encoding in ("", "identity"):
            return bytes(self._content)
        if self._encoding not in _GZIP:
            raise UnreadableError(f"a body encoded with {texts.said(self._encoding)!r}")
        decoder = zlib.decompressobj(wbits=31)
        try:
            content = decoder.decompress(bytes(self._content), self._most + 1)
        except zlib.error:
            raise UnreadableError("a body that claims to be gzip but is not") from None
        if len(content) > self._most:
            raise UnreadableError(f"more than {self._most} bytes")
        if not decoder.eof:
            raise UnreadableError("a truncated gzip body")
        return content


def error_text(content: bytes) -> str | None:
    """The sentence in an error body `{"error": ...}` of TF Serving's protocol, to be shown; None for any other body."""
    document = _json(content)
    text = document.get("error") if isinstance(document, dict) else None
    return texts.said(text) if isinstance(text, str) else None


def numbers(content: bytes) -> np.ndarray | None:
    """The numbers in a body `{"predictions": [[...], ...]}`, float32 (N, M); None for anything else."""
    document = _json(content)
    rows = document.get("predictions") if isinstance(document, dict) else None
    if not (
        isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    ):
        return None
    # Checked by type: NumPy accepts booleans and numeric text as numbers.
    if not all(type(value) in (int, float) for row in rows for value in row):
        return None
    with np.errstate(over="ignore"):  # infinite then, and refused as such
        return np.asarray(rows, np.float64).astype(np.float32)


def _json(content: bytes) -> Any:
    """A JSON document, or None if it is invalid, including endless nesting."""
    import orjson

    try:
        return orjson.loads(content)
    except ValueError:
        return None
