"""Reads the bodies of REST requests: within the limits of size, time and memory, decoded if compressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.requests import ClientDisconnect, Request

from privzoo.serving import settings
from privzoo.serving.front.budget import REST_COPIES, SMALL, Held
from privzoo.serving.waiting import within
from privzoo.serving.wire.refusal import Refusal, bad_request

# Bodies up to so many times the limit are read to their end and discarded: a client that is still writing when the
# connection closes sees a reset, not the refusal.
DISCARD = 4
PIECE = 256 * 1024  # bytes that are decoded at once
GZIP = ("gzip", "x-gzip")
# Of one gzip body. Decoding costs time that its decoded size does not show: each member has tables of its own, and data
# can be written with more bytes than they decode to. No compressor does either: pigz and bgzip write members of 64 KiB
# or more, and what cannot be compressed grows by a thousandth.
MEMBERS = 4096
WASTE = 256 * 1024  # bytes by which it may be larger than what it decodes to


class BodyError(Exception):
    """A refused body, for a reason that TF Serving has no code for.

    Args:
        status: of HTTP.
        sentence: why.
        headers: of the answer.
        unread: the rest of the body must still be read, so that the client sees the answer.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None, unread: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers, self.unread = status, sentence, headers or {}, unread


async def read(request: Request, limit: int, held: Held) -> bytearray:
    """Reads a request's body.

    Args:
        request: whose body has not been read.
        limit: maximum decoded bytes.
        held: the request's part of the budget; grows with the body, before its bytes are kept.

    Returns:
        The body, decoded.

    Raises:
        BodyError: it is too large, too slow, or in an unsupported encoding.
        Refusal: it is not what its encoding says, or the budget has no room for it.
        ClientDisconnect: the client has gone.
    """
    # Headers of one name are one list (RFC 9110, section 5.3): gzip twice is not gzip.
    named = [text.strip().lower() for text in request.headers.getlist("content-encoding")]
    encoding = ", ".join(text for text in named if text)
    if encoding not in ("", "identity", *GZIP):
        raise BodyError(
            415,
            f"The body is encoded with {encoding[:80]!r}, but this server accepts only gzip; send gzip, or none.",
            {"accept-encoding": "gzip"},
            unread=True,
        )
    too_large = BodyError(
        413, f"The body of the request is larger than the server's limit of {limit} bytes; send fewer features."
    )
    text = request.headers.get("content-length", "")
    announced = int(text[:20]) if text.isascii() and text.isdigit() else 0
    if announced > DISCARD * limit:
        raise too_large
    body, size = bytearray(), 0
    keep = announced <= limit
    if keep:
        _grow(held, announced)
    decoder = _Gzip() if encoding in GZIP else None
    try:
        async with within(settings.BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DISCARD * limit:
                    raise too_large
                if not keep:
                    continue
                async for piece in _pieces(decoder, chunk):
                    keep = len(body) + len(piece) <= limit
                    if not keep:
                        body.clear()
                        held.release()
                        break
                    _grow(held, max(announced, len(body) + len(piece)))
                    body += piece
        if not keep:
            raise too_large
        if decoder is not None:
            decoder.end()
    except TimeoutError:
        raise BodyError(408, f"The body of the request did not arrive within {settings.BODY_SECONDS:g} s.") from None
    except (BodyError, Refusal):
        body.clear()  # the error references it, and it is no longer counted
        raise
    return body


async def discard(request: Request, limit: int) -> bool:
    """Reads the rest of a refused request's body; False if it is too long for that.

    Args:
        request: the refused one.
        limit: bytes to read at most.
    """
    size = 0
    try:
        async with within(settings.BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    return False
    except (TimeoutError, ClientDisconnect, RuntimeError):  # the last: its end has been read before
        pass
    return True


def _grow(held: Held, size: int) -> None:
    """Reserves the memory for a body of so many bytes; large bodies may not use the part for small ones."""
    held.small = size <= SMALL
    if size * REST_COPIES > held.size:
        held.resize(size * REST_COPIES)


async def _pieces(decoder: _Gzip | None, chunk: bytes) -> AsyncIterator[bytes]:
    """A chunk, unchanged or decoded, in pieces between which other requests get their turn."""
    if decoder is None:
        yield chunk
        return
    for piece in decoder.decode(chunk):
        yield piece
        await asyncio.sleep(0)


class _Gzip:
    """Decodes gzip piece by piece: a small body may decode to a huge one, or take long for next to nothing."""

    def __init__(self) -> None:
        self._stream, self._begun, self._members, self._waste = zlib.decompressobj(wbits=31), False, 1, 0

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded chunk, in pieces."""
        more = bool(chunk)
        while more:
            if self._stream.eof:  # another member follows, as gzip allows
                self._stream, self._members = zlib.decompressobj(wbits=31), self._members + 1
            self._begun = True
            try:
                piece = self._stream.decompress(chunk, PIECE)
            except zlib.error:
                raise bad_request("The body claims to be gzip but is not; send what its header says.") from None
            rest = self._stream.unconsumed_tail or self._stream.unused_data
            self._waste += len(chunk) - len(rest) - len(piece)
            if self._members > MEMBERS or self._waste > WASTE:
                raise bad_request(
                    f"The gzip body has more than {MEMBERS} parts, or is much larger than what it decodes to; compress "
                    "it in one part, or send it without compression."
                )
            chunk = rest
            # After a full piece some output may be left, although all input has been consumed.
            more = bool(chunk) or (len(piece) == PIECE and not self._stream.eof)
            if piece:
                yield piece

    def end(self) -> None:
        """Refuses a body that ends too early."""
        if self._begun and not self._stream.eof:
            raise bad_request("The gzip body is truncated; send all of it.")
