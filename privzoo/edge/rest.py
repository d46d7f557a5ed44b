"""TF Serving's REST protocol, as a client: features out, probabilities in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from privzoo.errors import (
    ConfigError,
    FeatureError,
    MismatchError,
    MissingExtraError,
    ServerError,
    ServerUnavailableError,
)

# Below the 5 s after which common servers close an idle connection: closing first avoids the race.
KEEP_ALIVE_SECONDS = 4.0
_AWAY = (429, 502, 503, 504)  # the server, or what stands before it, cannot answer now


@dataclass(frozen=True)
class Reply:
    """What came back for one request."""

    outputs: np.ndarray  # float32 (N, classes)
    bytes_sent: int  # of the request's body
    milliseconds: float  # from the first byte sent to the last byte read


def encode(features: np.ndarray, signature: str) -> bytes:
    """Body of a predict request in row format; each float32 is written with the fewest digits that give it back.

    Args:
        features: float32 array (N, *shape), finite.
        signature: name of the signature to run.

    Returns:
        JSON text.
    """
    import orjson

    request = {"signature_name": signature, "instances": np.ascontiguousarray(features, np.float32)}
    return orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)


class Rest:
    """One model on one server; its connection is kept open between requests.

    Args:
        url: address of the REST interface, as `http://cloud:8501`; a path in it is kept as a prefix.
        model: name of the model on the server.
        version: of the model on the server; None: the newest.
        signature: name of the signature to run.
        classes: count of probabilities that one feature gives.
        timeout: seconds for each of connecting, sending and reading.

    Raises:
        ConfigError: an address, name, version or timeout that cannot be.
        MissingExtraError: httpx or orjson is not installed.
    """

    def __init__(self, url: str, model: str, version: int | None, signature: str, classes: int, timeout: float) -> None:
        try:
            import httpx
            import orjson  # noqa: F401
        except ImportError:
            raise MissingExtraError("The client needs httpx and orjson; run: pip install httpx orjson") from None
        try:
            address = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            address = None
        if address is None or address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(f"The server's address {url!r} cannot be; give one as http://cloud:8501.")
        if not isinstance(model, str) or not model:
            raise ConfigError(f"model_name={model!r} cannot be; give the name under which the server has the model.")
        if version is not None and (type(version) is not int or version < 0):
            raise ConfigError(f"version={version!r} cannot be; give a whole number, or None for the newest.")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ConfigError(f"timeout={timeout!r} cannot be; give a number of seconds above 0.")
        self.url, self.signature, self.classes, self.timeout = str(url).rstrip("/"), signature, classes, timeout
        self.what = f"model {model!r}" + ("" if version is None else f" version {version}")
        place = f"/v1/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
        self._predict = f"{self.url}{place}:predict"
        self._errors = httpx.RequestError
        self._http = httpx.Client(timeout=timeout, limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS))

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def predict(self, features: np.ndarray) -> Reply:
        """Sends features, waits for their probabilities.

        Args:
            features: float32 array (N, *shape), N at least 1.

        Returns:
            The reply, with one row for each feature.

        Raises:
            FeatureError: a value that is not finite.
            ServerUnavailableError: no answer, in time or at all.
            MismatchError: the server has no such model, version or tail.
            ServerError: any other answer that is no prediction.
        """
        if not np.isfinite(features).all():
            raise FeatureError("A feature has values that are not finite; it was not sent.")
        body = encode(features, self.signature)
        start = time.perf_counter()
        try:
            response = self._http.post(self._predict, content=body, headers={"content-type": "application/json"})
        except self._errors as error:
            raise ServerUnavailableError(
                f"The server at {self.url} gave no answer within {self.timeout:g} s "
                f"({type(error).__name__}: {str(error) or 'no reason given'}); check that it runs and the address."
            ) from error
        elapsed = (time.perf_counter() - start) * 1e3
        if response.status_code != 200:
            raise self._refusal(response)
        return Reply(self._outputs(response, len(features)), len(body), elapsed)

    def _refusal(self, response: Any) -> ServerError | MismatchError:
        status, reason = response.status_code, _error_text(response)
        if status in _AWAY:
            return ServerUnavailableError(
                f"The server at {self.url} cannot answer now ({status}: {reason}); try later."
            )
        if reason and status in (400, 404) and self.signature in reason:
            return MismatchError(
                f"The {self.what} at {self.url} is not the tail of this head: it lacks the signature "
                f"{self.signature!r}; serve the tail that was exported with this head."
            )
        if reason and status == 404:
            return MismatchError(f"The server at {self.url} has no {self.what} ({reason}); check name and version.")
        if reason is None:
            return ServerError(
                f"The server at {self.url} answered {status} without an error message of TF Serving's protocol; "
                "check that the address is that of its REST interface."
            )
        return ServerError(f"The server at {self.url} refused the request ({status}: {reason}).")

    def _outputs(self, response: Any, count: int) -> np.ndarray:
        import orjson

        try:
            outputs = np.asarray(orjson.loads(response.content)["predictions"], np.float32)
        except (ValueError, KeyError, TypeError):
            outputs = None
        if outputs is None or outputs.shape != (count, self.classes) or not np.isfinite(outputs).all():
            raise ServerError(
                f"The server at {self.url} answered with something else than {count} x {self.classes} probabilities; "
                f"check that {self.what} is this head's tail."
            )
        return outputs


def _error_text(response: Any) -> str | None:
    """The sentence in an error body `{"error": ...}` of TF Serving's protocol; None for any other body."""
    try:
        text = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) else None
