"""TF Serving's REST protocol, as a client: features out, probabilities in."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from privzoo import texts
from privzoo.edge.access import Access, Target, check_finite, check_no_password, check_open
from privzoo.edge.replies import Body, UnreadableError, error_text, numbers
from privzoo.edge.retry import Patience, unavailable
from privzoo.errors import ConfigError, FeatureRefusedError, MismatchError, MissingExtraError, ServerError
from privzoo.mechanisms import mixing

# Below the 5 s after which common servers close an idle connection: closing first avoids the race.
KEEP_ALIVE_SECONDS = 4.0
_AWAY = (408, 429, 502, 503, 504)  # the server, or what is in front of it, cannot answer now


@dataclass(frozen=True)
class Reply:
    """The reply to one request."""

    outputs: np.ndarray  # float32 (N, classes)
    bytes_sent: int  # of the request's body
    milliseconds: float  # from the first byte sent to the last byte read, of the attempt that was answered


def encode(
    features: np.ndarray, signature: str, names: tuple[str, str] | None = None, encoding: str | None = None
) -> bytes:
    """Body of a predict request in row format; each float32 is written with the fewest digits that restore it.

    Args:
        features: float32 array (N, *shape), finite.
        signature: name of the signature to run.
        names: of the inputs for symbol and epsilon, for the features (N, 2) of a coded model.
        encoding: of mixtures, each of which then goes as a text of `mechanisms.mixing.pack`, in base64.

    Returns:
        JSON text.
    """
    import orjson

    if names:
        rows = [{names[0]: int(symbol), names[1]: epsilon} for symbol, epsilon in np.asarray(features, np.float32)]
        return orjson.dumps({"signature_name": signature, "instances": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    if encoding:
        packed = [{"b64": base64.b64encode(text).decode()} for text in mixing.pack(features, encoding)]
        return orjson.dumps({"signature_name": signature, "instances": packed})
    request = {"signature_name": signature, "instances": np.ascontiguousarray(features, np.float32)}
    return orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)


class Rest:
    """One model on one server; its connections are kept open between requests.

    Args:
        url: address of the REST interface, such as `http://cloud:8501`; a path in it is kept as a prefix.
        target: the model on the server.
        patience: how long to try.
        access: key, certificates and proxy.
        asynchronous: for `predict_async`; otherwise for `predict`.

    Raises:
        ConfigError: an invalid address or proxy, or certificates that cannot be read.
        MissingExtraError: httpx or orjson is not installed, or a SOCKS proxy lacks its package.
    """

    def __init__(
        self, url: str, target: Target, patience: Patience, access: Access, asynchronous: bool = False
    ) -> None:
        try:
            import httpx
            import orjson  # noqa: F401
        except ImportError:
            raise MissingExtraError("The client needs httpx and orjson; run: pip install httpx orjson") from None
        check_no_password(url)
        try:
            address = httpx.URL(url)
        except (httpx.InvalidURL, TypeError, ValueError):
            address = None
        if address is None or address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(
                f"The server's address {url!r} is invalid; give one such as http://cloud:8501 or grpc://cloud:8500."
            )
        access.check(url, address.host, address.scheme == "https")
        proxy = access.proxy_to(address.host)
        self.url, self.target, self.patience = str(url).rstrip("/"), target, patience
        place = f"/v1/models/{quote(target.model, safe='')}"
        self._predict = f"{self.url}{place}{'' if target.version is None else f'/versions/{target.version}'}:predict"
        self._errors = httpx.RequestError
        options: dict[str, Any] = {
            "limits": httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
            "verify": access.context() if address.scheme == "https" else True,
            "headers": {
                "content-type": "application/json",
                "accept-encoding": "identity",  # answers are short, and one that decodes to a lot is an attack
                **access.headers(),
            },
            "proxy": proxy,
            "trust_env": False,  # no proxy unless one was given
        }
        self._blocking: httpx.Client | None = None
        self._awaited: httpx.AsyncClient | None = None
        try:
            if asynchronous:
                self._awaited = httpx.AsyncClient(**options)
            else:
                self._blocking = httpx.Client(**options)
        except ImportError:
            raise MissingExtraError("A SOCKS proxy needs the package socksio; run: pip install socksio") from None
        self._closed = False

    def close(self) -> None:
        """Closes the connections."""
        self._closed = True
        if self._blocking is not None:
            self._blocking.close()

    async def close_async(self) -> None:
        """Closes asynchronous connections."""
        self._closed = True
        if self._awaited is not None:
            await self._awaited.aclose()

    def predict(self, features: np.ndarray) -> Reply:
        """Sends features and waits for their probabilities.

        Args:
            features: float32 array (N, *shape), N at least 1.

        Returns:
            The reply, with one row for each feature.

        Raises:
            ConfigError: the client is closed.
            FeatureError: a value that is not finite.
            ServerUnavailableError: there was no answer in time.
            MismatchError: the server has no such model, version or tail.
            FeatureRefusedError: the server refuses these features.
            ServerError: any other answer that is not a prediction.
        """
        body, http = self._body(features), self._blocking
        assert http is not None, "an asynchronous connection has predict_async"

        def ask(seconds: float) -> Reply:
            start = time.perf_counter()
            content: bytes | UnreadableError
            try:
                with http.stream("POST", self._predict, content=body, timeout=seconds) as response:
                    reading = Body(response.headers, self.target.most_bytes(len(features)))
                    for chunk in response.iter_raw():
                        reading.add(chunk)
                content = reading.content()
            except UnreadableError as error:
                content = error
            except self._errors as error:
                raise self._away(error, seconds) from error
            return self._reply(response, content, len(features), body, start)

        return self.patience.call(ask)

    async def predict_async(self, features: np.ndarray) -> Reply:
        """Like `predict`, for asynchronous connections."""
        body, http = self._body(features), self._awaited
        assert http is not None, "predict_async needs an asynchronous connection"

        async def ask(seconds: float) -> Reply:
            start = time.perf_counter()
            content: bytes | UnreadableError
            try:
                async with http.stream("POST", self._predict, content=body, timeout=seconds) as response:
                    reading = Body(response.headers, self.target.most_bytes(len(features)))
                    async for chunk in response.aiter_raw():
                        reading.add(chunk)
                content = reading.content()
            except UnreadableError as error:
                content = error
            except self._errors as error:
                raise self._away(error, seconds) from error
            return self._reply(response, content, len(features), body, start)

        return await self.patience.call_async(ask)

    def check_open(self) -> None:
        """Raises ConfigError if the connections are closed."""
        check_open(self._closed)

    def _body(self, features: np.ndarray) -> bytes:
        check_open(self._closed)
        check_finite(features)
        target = self.target
        names = (target.feature, target.budget) if target.budget else None
        return encode(features, target.signature, names, target.encoding)

    def _away(self, error: Exception, seconds: float) -> ServerError:
        reason = texts.said(str(error)) or "no reason given"
        advice = "check that it is running, and the address"
        if "certificate" in reason.lower():
            advice = "check its certificate, and the ca that this client trusts"
        return unavailable(
            f"The server at {self.url} did not answer within {seconds:g} s ({type(error).__name__}: {reason}); "
            f"{advice}."
        )

    def _reply(self, response: Any, content: bytes | UnreadableError, count: int, body: bytes, start: float) -> Reply:
        elapsed = (time.perf_counter() - start) * 1e3
        if response.status_code != 200:
            raise self._refusal(response, content)
        if isinstance(content, UnreadableError):
            raise self.target.unusable(str(content), count, self.url)
        return Reply(self.target.checked(numbers(content), count, self.url), len(body), elapsed)

    def _refusal(self, response: Any, content: bytes | UnreadableError) -> ServerError | MismatchError:
        status = response.status_code
        reason = None if isinstance(content, UnreadableError) else error_text(content)
        if status in _AWAY:
            return unavailable(
                f"The server at {self.url} cannot answer now ({status}: {reason}); try again later.",
                _seconds(response.headers.get("retry-after")),
            )
        if reason and status in (400, 404) and self.target.signature in reason:
            return self.target.mismatch(self.url)
        if reason and status == 404:
            return self.target.missing(self.url, reason)
        if reason is None:
            sentence = (
                f"The server at {self.url} answered {status} without a TF Serving error message; "
                "check that the address is that of its REST interface."
            )
            # Not TF Serving's own answer, but that of what is in front of it, for example when the server disappeared.
            return unavailable(sentence) if status >= 500 else ServerError(sentence)
        kind = FeatureRefusedError if status in (400, 413) else ServerError
        return kind(f"The server at {self.url} refused the request ({status}: {reason}).")


def _seconds(text: str | None) -> float | None:
    """Seconds of a Retry-After header; None for a date, or without the header."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None
