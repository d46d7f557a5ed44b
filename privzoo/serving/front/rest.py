"""TF Serving's REST interface: predict, classify, regress, model status and metadata, figures."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from privzoo.serving.front import bodies, metrics, openapi
from privzoo.serving.front.bodies import BodyError
from privzoo.serving.front.service import Service, unexpected
from privzoo.serving.models.folders import MAX_VERSION
from privzoo.serving.taking import taking
from privzoo.serving.wire import classify, predict_json
from privzoo.serving.wire.refusal import Refusal, bad_request

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_POST = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", _FLAGS)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<verb>/metadata)?", _FLAGS)


@taking(Service)
def create_app(service: Service) -> Starlette:
    """Builds the server's application.

    Args:
        service: the arguments of `privzoo.serving.front.service.Service`: the loaded models, and how they are served.

    Returns:
        The application; its OpenAPI page is at `/openapi.json`.

    Example:
        >>> app = create_app(Models(load_versions("gender", "served/gender")))  # doctest: +SKIP
    """
    return app_for(service)


def app_for(service: Service, own: bool = True) -> Starlette:
    """The application for a service.

    Args:
        service: that runs the requests.
        own: close the service with the application; not if gRPC uses it too.
    """
    rest = Rest(service)

    @contextlib.asynccontextmanager
    async def drain(app: Starlette) -> AsyncIterator[None]:
        yield
        if own:
            service.close()

    async def elsewhere(request: Request, error: Exception) -> Response:
        return await rest.handle(request)

    # What the router would refuse in its own format (404, 405) gets TF Serving's.
    app = Starlette(lifespan=drain, exception_handlers={HTTPException: elsewhere})
    app.router.redirect_slashes = False
    app.add_route(openapi.PATH, _description)
    app.add_middleware(_Direct, rest=rest)
    return app


async def _description(_: Request) -> Response:
    return _json(openapi.document())


class _Direct:
    """Routes TF Serving's paths around the router, which would only add time.

    Args:
        app: for everything else, such as the OpenAPI description.
        rest: answers.
    """

    def __init__(self, app: ASGIApp, rest: Rest) -> None:
        self.app, self.rest = app, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        response = await self.rest.handle(Request(scope, receive))
        await response(scope, receive, send)


class Rest:
    """Answers HTTP requests."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def handle(self, request: Request) -> Response:
        """Answers any request, with `{"error": sentence}` if it is refused."""
        try:
            with self.service.admit():
                return await self._answer(request)
        except Refusal as refusal:
            return _refused(refusal, await bodies.discard(request, self.service.max_body_bytes))
        except BodyError as error:
            keep = error.unread and await bodies.discard(request, self.service.max_body_bytes)
            return _error(error.status, error.sentence, error.headers | ({} if keep else {"connection": "close"}))
        except ClientDisconnect:
            return _error(499, "The client closed the connection before its request was complete.")
        except Exception as error:
            return _refused(unexpected(error))

    async def _answer(self, request: Request) -> Response:
        path = request.scope.get("raw_path", request.scope["path"].encode()).decode("ascii", errors="replace")
        if self.service.keys is not None:
            headers = request.headers
            self.service.keys.check(headers.get("authorization") or headers.get("x-api-key"))
        figures = self.service.metrics
        if figures is not None and path == figures.path and request.method == "GET":
            return Response(figures.text(), media_type=metrics.CONTENT_TYPE)
        pattern = {"POST": _POST, "GET": _GET}.get(request.method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            if not path.lower().startswith("/v1/"):
                return _error(404, f"There is nothing at {path[:200]}; models are at /v1/models/NAME.")
            raise bad_request(f"Malformed request: {request.method} {path[:200]}")
        if match["name"] is None:
            raise bad_request("Missing model name in request.")
        wanted = unquote(match["name"]), _version(match["version"]), _label(match["label"])
        if request.method == "GET":
            models = self.service.models
            return _json((models.metadata if match["verb"] else models.status)(*wanted))
        return await self._inference(match["verb"].lower(), wanted, request)

    async def _inference(self, verb: str, wanted: tuple[str, int | None, str | None], request: Request) -> Response:
        start, code = time.perf_counter(), "INTERNAL"
        try:
            with self.service.budget.take(0) as held:
                body = await bodies.read(request, self.service.max_body_bytes, held)
                predicts = verb == "predict"
                content = await (self._predict(wanted, body) if predicts else self._examples(verb, wanted, body))
            code = "OK"
            return _response(200, content)
        except Refusal as refusal:
            code = refusal.code
            raise
        except (BodyError, ClientDisconnect):
            code = "CANCELLED"
            raise
        finally:
            self.service.record(wanted[0], verb.capitalize(), "REST", start, code)

    async def _predict(self, wanted: tuple[str, int | None, str | None], body: bytearray) -> bytes:
        document = await self.service.work(len(body), predict_json.parse, body)
        name = predict_json.signature_name(document)  # TF Serving checks the body before it looks for the model
        with self.service.models.lease(*wanted) as servable:
            signature = servable.signature(name)
            inputs, row = await self.service.work(len(body), predict_json.inputs, document, signature)
            outputs = await self.service.run(servable, signature, inputs, "Predict")
        return await self.service.work(_bytes(outputs), predict_json.answer, outputs, row)

    async def _examples(self, verb: str, wanted: tuple[str, int | None, str | None], body: bytearray) -> bytes:
        document = await self.service.work(len(body), predict_json.parse, body)
        name = predict_json.signature_name(document)
        examples = await self.service.work(len(body), classify.examples_of_json, document)
        with self.service.models.lease(*wanted) as servable:
            signature = classify.signature_for(servable, name, verb)
            outputs = await self.service.run(servable, signature, classify.as_inputs(examples), verb.capitalize())
        read = classify.classifications if verb == "classify" else classify.regressions
        return classify.json_of(read(outputs, len(examples)))


def _bytes(outputs: dict[str, Any]) -> int:
    return sum(array.nbytes for array in outputs.values())


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    version = int(digits[:40])
    if len(digits) > 40 or version > MAX_VERSION:
        raise bad_request(f"Failed to convert version: {digits[:40]} to numeric.")
    return version


def _label(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _response(status: int, content: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


def _json(document: Any) -> Response:
    return _response(200, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _refused(refusal: Refusal, keep: bool = True) -> Response:
    headers = {"UNAUTHENTICATED": {"www-authenticate": "Bearer"}, "RESOURCE_EXHAUSTED": {"retry-after": "1"}}
    close = {} if keep else {"connection": "close"}
    return _error(refusal.status, refusal.sentence, headers.get(refusal.code, {}) | close)


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    printable = sentence.encode("utf-8", errors="replace").decode("utf-8")
    return _response(status, orjson.dumps({"error": printable}), headers)
