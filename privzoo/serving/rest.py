"""TF Serving's REST interface on FastAPI: predict, model status and metadata."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import orjson
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from privzoo.serving import predict_json
from privzoo.serving.models import Models
from privzoo.serving.refusal import Refusal, bad_request
from privzoo.serving.settings import MAX_BODY_BYTES, default_threads

_log = logging.getLogger(__name__)
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_POST = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", _FLAGS)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<verb>/metadata)?", _FLAGS)
_MAX_VERSION = 2**63 - 1
# Bodies up to so many times the limit are read to their end, and thrown away: a client that still writes when the
# connection closes sees a reset, not the refusal.
DISCARD = 4


class TooLarge(Exception):
    """A body over the limit; TF Serving has no code for it."""


def create_app(models: Models, threads: int | None = None, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """Builds the server's application.

    Args:
        models: loaded models.
        threads: that run requests; None: four for each processor, as TF Serving.
        max_body_bytes: largest body of a request.

    Returns:
        The application; its OpenAPI page is at `/openapi.json`.

    Example:
        >>> app = create_app(Models(load_versions("gender", "served/gender")))  # doctest: +SKIP
    """
    rest = Rest(models, threads or default_threads(), max_body_bytes)

    @contextlib.asynccontextmanager
    async def drain(app: FastAPI) -> AsyncIterator[None]:
        yield
        rest.close()

    async def elsewhere(request: Request, error: Exception) -> Response:
        return await rest.handle(request)

    app = FastAPI(
        title="privzoo",
        description="TF Serving's REST protocol.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=drain,
    )
    for method, path, summary, extra in _pages():
        app.add_api_route(
            path, rest.handle, methods=[method], summary=summary, openapi_extra=extra, response_model=None
        )
    # What FastAPI's router would refuse in its own form (404, 405), and paths in capitals, take the same way.
    app.add_exception_handler(HTTPException, elsewhere)
    return app


class Rest:
    """Answers requests; TensorFlow and JSON run on threads, so that the status answers meanwhile."""

    def __init__(self, models: Models, threads: int, max_body_bytes: int) -> None:
        self.models, self.max_body_bytes = models, max_body_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="privzoo-predict")

    def close(self) -> None:
        """Waits for the requests that still run."""
        self._threads.shutdown(wait=True)

    async def handle(self, request: Request) -> Response:
        """Answers any request, with `{"error": sentence}` where it is refused."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return _error(refusal.status, refusal.sentence)
        except TooLarge:
            limit = f"The body of the request is larger than the server's limit of {self.max_body_bytes} bytes"
            return _error(413, f"{limit}; send fewer features at once.", {"connection": "close"})
        except ClientDisconnect:
            return _error(499, "The client closed the connection before its request was complete.")
        except Exception as error:
            # The message of an error may hold values of a feature; its kind and place may not.
            places = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s while answering a request\n%s", type(error).__name__, places)
            return _error(500, "The server failed on this request; its log says where.")

    async def _answer(self, request: Request) -> Response:
        path = request.scope.get("raw_path", request.scope["path"].encode()).decode("ascii", errors="replace")
        pattern = {"POST": _POST, "GET": _GET}.get(request.method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            if not path.lower().startswith("/v1/"):
                return _error(404, f"There is nothing at {path[:200]}; models are at /v1/models/NAME.")
            raise bad_request(f"Malformed request: {request.method} {path[:200]}")
        if match["name"] is None:
            raise bad_request("Missing model name in request.")
        name, version = unquote(match["name"]), _version(match["version"])
        if match["label"] is not None:
            raise bad_request(f"Unrecognized servable version label: {unquote(match['label'])}")
        if request.method == "GET":
            return _json((self.models.metadata if match["verb"] else self.models.status)(name, version))
        if match["verb"].lower() != "predict":
            raise Refusal("UNIMPLEMENTED", f"This server does not {match['verb'].lower()}; ask it to predict.")
        body = await self._body(request)
        loop = asyncio.get_running_loop()
        return _response(200, await loop.run_in_executor(self._threads, self._predict, name, version, body))

    def _predict(self, name: str, version: int | None, body: bytes) -> bytes:
        document = predict_json.parse(body)
        predict_json.signature_name(document)  # TF Serving complains of the body before it looks for the model
        return self.models.find(name, version).predict(document)

    async def _body(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > DISCARD * self.max_body_bytes:
            raise TooLarge
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self.max_body_bytes:
                chunks.append(chunk)
            elif size > DISCARD * self.max_body_bytes:
                raise TooLarge
        if size > self.max_body_bytes:
            raise TooLarge
        return b"".join(chunks)


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    version = int(digits[:40])
    if len(digits) > 40 or version > _MAX_VERSION:
        raise bad_request(f"Failed to convert version: {digits[:40]} to numeric.")
    return version


def _response(status: int, content: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


def _json(document: Any) -> Response:
    return _response(200, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    printable = sentence.encode("utf-8", errors="replace").decode("utf-8")
    return _response(status, orjson.dumps({"error": printable}), headers)


def _pages() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Method, path, summary and OpenAPI entry of what the server answers."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    tensor = {"description": "Numbers, booleans, strings or {'b64': ...}, in nested lists."}
    request = {
        "type": "object",
        "properties": {"signature_name": {"type": "string"}, "instances": tensor, "inputs": tensor},
    }
    sentence = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    refused = {"description": "Refused", "content": {"application/json": {"schema": sentence}}}
    answers = {str(status): refused for status in (400, 404)}
    body = {"required": True, "content": {"application/json": {"schema": request}}}
    pages = []
    for place, parameters in (("", [name]), ("/versions/{version}", [name, version])):
        base = {"parameters": parameters, "responses": answers}
        more = {str(status): refused for status in (413, 501)}
        predict = base | {"requestBody": body, "responses": answers | more}
        pages += [
            ("POST", f"/v1/models/{{name}}{place}:predict", "Predict", predict),
            ("GET", f"/v1/models/{{name}}{place}", "Model status", base),
            ("GET", f"/v1/models/{{name}}{place}/metadata", "Model metadata", base),
        ]
    return pages
