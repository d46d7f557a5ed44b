"""uvicorn's HTTP with limits on connections, and on the time and size of a request's head.

Without them, clients that open connections and send nothing, or a byte now and then, would hold them forever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from privzoo.serving import settings

_REFUSED = (
    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
)


def limited(max_connections: int, header_seconds: float) -> type[asyncio.Protocol]:
    """The protocol's class, with limits.

    Args:
        max_connections: that are open at once; more are refused.
        header_seconds: from the start of a connection, or the first byte of a later request, to the end of the header.
    """

    class Limited(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        _timer: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                self._refuse("503 Service Unavailable", f"The server has {max_connections} connections, its limit.")
                return
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            waiting = self._waiting()
            super().data_received(data)
            if not self._waiting():
                self._disarm()
            elif waiting:
                self._head_bytes += len(data)
                if self._head_bytes > settings.MAX_HEADER_BYTES:
                    self._refuse(
                        "431 Request Header Fields Too Large",
                        f"The header of the request is larger than {settings.MAX_HEADER_BYTES} bytes.",
                    )
                else:
                    self._arm()

        def send_400_response(self, msg: str) -> None:
            self._refuse("400 Bad Request", msg)

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _waiting(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(header_seconds, self._late)

        def _disarm(self) -> None:
            self._head_bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            if self._waiting():
                self._refuse(
                    "408 Request Timeout", f"The header of the request did not arrive within {header_seconds:g} s."
                )

        def _refuse(self, status: str, sentence: str) -> None:
            self._disarm()
            if not self.transport.is_closing():
                body = f'{{"error":"{sentence}"}}'
                self.transport.write(_REFUSED.format(status=status, length=len(body), body=body).encode("ascii"))
                self.transport.close()

    return Limited
