"""TF Serving's gRPC protocol, as a client: features out as raw float32, probabilities in."""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np

from privzoo import texts
from privzoo.edge import grpc_messages
from privzoo.edge.access import Access, Target, check_finite, check_no_password, check_open
from privzoo.edge.rest import Reply
from privzoo.edge.retry import Patience, unavailable
from privzoo.errors import ConfigError, FeatureRefusedError, MismatchError, MissingExtraError, ServerError

SCHEMES = ("grpc", "grpcs")
PROXY_SCHEMES = ("http",)  # all that gRPC's library supports
_MOST_FEATURES = 4096  # per request; an answer to this many must fit
_AWAY = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED")
# The library's errors for an answer beyond our limit, before and after decompression.
_TOO_LARGE = ("CLIENT: Received message larger than max", "Decompressed message larger than max")
_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # the server's limit decides
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 0),  # one place decides when to retry
]
# The library reads three sets of variables from the environment: a proxy for names (grpc_proxy, http_proxy, ...), one
# for addresses (GRPC_ADDRESS_HTTP_PROXY), and exceptions that overrule even a proxy that was asked for (no_proxy, ...).
# These options switch off the first, which the third is part of, and take the place of the second: it is for no
# address, and would be a port on which nothing can listen.
NO_PROXY: list[tuple[str, Any]] = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.address_http_proxy", "127.0.0.1:0"),
    ("grpc.address_http_proxy_enabled_addresses", ""),
]


class Grpc:
    """One model on one server, over one connection that is kept open.

    Args:
        url: `grpc://cloud:8500`, or `grpcs://` with TLS.
        target: the model on the server.
        patience: how long to try; `timeout` limits a whole attempt.
        access: key, certificates and proxy.
        asynchronous: for `predict_async`; otherwise for `predict`.

    Raises:
        ConfigError: an invalid address or proxy, or certificates that cannot be read.
        MissingExtraError: grpcio or protobuf is not installed.
    """

    def __init__(
        self, url: str, target: Target, patience: Patience, access: Access, asynchronous: bool = False
    ) -> None:
        try:
            import google.protobuf  # noqa: F401
            import grpc
            import grpc.aio
        except ImportError:
            raise MissingExtraError(
                "The client needs grpcio and protobuf for gRPC; run: pip install 'privzoo[grpc]'"
            ) from None
        check_no_password(url)
        try:
            address = urlsplit(url)
            host, port = address.hostname, address.port or 8500
        except ValueError:
            address, host, port = None, None, 0
        if (
            address is None
            or address.scheme not in SCHEMES
            or not host
            or not url.isprintable()
            or address.path.strip("/")
            or address.query
        ):
            raise ConfigError(f"The server's address {url!r} is invalid; give one such as grpc://cloud:8500.")
        secure = address.scheme == "grpcs"
        access.check(url, host, secure)
        proxy = access.proxy_to(host, PROXY_SCHEMES)
        place = _place(host, port)
        limit = ("grpc.max_receive_message_length", target.most_bytes(_MOST_FEATURES))
        options: list[tuple[str, Any]] = [*_OPTIONS, *NO_PROXY, limit]
        if proxy is not None:
            options += _tunnel(proxy, place, host)
        self.url, self.target, self.patience = url.rstrip("/"), target, patience
        self._metadata = tuple(access.headers().items())
        self._error = grpc.RpcError
        library = grpc.aio if asynchronous else grpc
        if secure:
            credentials = grpc.ssl_channel_credentials(*access.pem())
            self._channel: Any = library.secure_channel(_first_hop(proxy) or place, credentials, options=options)
        else:
            self._channel = library.insecure_channel(place, options=options)
        self._call = self._channel.unary_unary(grpc_messages.PREDICT)  # bytes in, bytes out
        self._closed = False

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        self._channel.close()

    async def close_async(self) -> None:
        """Closes an asynchronous connection."""
        self._closed = True
        await self._channel.close()

    def predict(self, features: np.ndarray) -> Reply:
        """Sends features and waits for their probabilities, like `privzoo.edge.rest.Rest.predict`."""
        body = self._body(features)

        def ask(seconds: float) -> Reply:
            start = time.perf_counter()
            try:
                data = self._call(body, timeout=seconds, metadata=self._metadata)
            except self._error as error:
                raise self._refusal(error, seconds, len(features)) from error
            return self._reply(data, len(features), body, start)

        return self.patience.call(ask)

    async def predict_async(self, features: np.ndarray) -> Reply:
        """Like `predict`, for an asynchronous connection."""
        body = self._body(features)

        async def ask(seconds: float) -> Reply:
            start = time.perf_counter()
            try:
                data = await self._call(body, timeout=seconds, metadata=self._metadata)
            except self._error as error:
                raise self._refusal(error, seconds, len(features)) from error
            return self._reply(data, len(features), body, start)

        return await self.patience.call_async(ask)

    def check_open(self) -> None:
        """Raises ConfigError if the connection is closed."""
        check_open(self._closed)

    def _body(self, features: np.ndarray) -> bytes:
        check_open(self._closed)
        check_finite(features)
        target = self.target
        return grpc_messages.encode(
            features, target.model, target.version, target.signature, target.feature, target.budget, target.encoding
        )

    def _reply(self, data: bytes, count: int, body: bytes, start: float) -> Reply:
        elapsed = (time.perf_counter() - start) * 1e3
        try:
            outputs = grpc_messages.decode(data).get(self.target.output)
        except ValueError:
            outputs = None
        return Reply(self.target.checked(outputs, count, self.url), len(body), elapsed)

    def _refusal(self, error: Any, seconds: float, count: int) -> ServerError | MismatchError:
        code, reason = error.code().name, texts.said(error.details() or "no reason given")
        if code == "RESOURCE_EXHAUSTED" and any(words in reason for words in _TOO_LARGE):
            return self.target.unusable(f"more than {self.target.most_bytes(_MOST_FEATURES)} bytes", count, self.url)
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in reason:
            return FeatureRefusedError(
                f"The server at {self.url} refused the request ({code}: {reason}); send fewer at once."
            )
        if code in _AWAY:
            return unavailable(
                f"The server at {self.url} did not answer within {seconds:g} s ({code}: {reason}); "
                "check that it is running, its address and its certificate."
            )
        if code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND") and self.target.signature in reason:
            return self.target.mismatch(self.url)
        if code == "NOT_FOUND":
            return self.target.missing(self.url, reason)
        kind = FeatureRefusedError if code == "INVALID_ARGUMENT" else ServerError
        return kind(f"The server at {self.url} refused the request ({code}: {reason}).")


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first_hop(proxy: str | None) -> str | None:
    """Where a channel connects to, if through a proxy."""
    if proxy is None:
        return None
    address = urlsplit(proxy)
    return _place(address.hostname or "", address.port or 80)


def _tunnel(proxy: str, place: str, host: str) -> list[tuple[str, Any]]:
    """Options of a channel to a proxy, in which TLS goes through to the server.

    The library's own option for a proxy asks the environment for exceptions; these are what it sets when there are
    none.

    Args:
        proxy: its address, maybe with a user's name and password.
        place: host and port of the server.
        host: of the server, whose certificate is expected.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.http_connect_server", place),
        ("grpc.default_authority", place),
        ("grpc.ssl_target_name_override", host),
    ]
    user, at, _ = urlsplit(proxy).netloc.rpartition("@")
    if at:
        coded = base64.b64encode(unquote_to_bytes(user)).decode("ascii")
        options.append(("grpc.http_connect_headers", f"Proxy-Authorization:Basic {coded}"))
    return options
