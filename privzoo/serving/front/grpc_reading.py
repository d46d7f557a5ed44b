"""Reads the messages of gRPC calls: within the budget, for callers with a key, refusing others with a sentence.

grpc.aio itself reads a message before it can be refused, and answers INTERNAL, with a traceback, to one that is not a
protobuf of its type. Here each method is registered as one that takes a stream, which looks the same on the wire, so
that the server requests the message when there is room for it. Until then HTTP/2 holds back all but its first 64 KiB.
"""

from __future__ import annotations

import time
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from privzoo.serving import settings
from privzoo.serving.front.budget import GRPC_COPIES, SMALL, Held
from privzoo.serving.front.service import Service
from privzoo.serving.waiting import within
from privzoo.serving.wire.refusal import Refusal, bad_request

_OPEN = "/grpc.health.v1.Health/"  # probes have no key
_INFERENCE = ("Predict", "Classify", "Regress")


class Reading(grpc.aio.ServerInterceptor):
    """Reads the requests of every method, and calls the method with the readable ones only.

    Args:
        service: whose budget and keys hold.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._turns = service, service.budget.keep_for_reads()
        self._handlers: dict[str, Any] = {}  # method -> what answers it; of those methods that there are

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, with its reading of requests replaced."""
        found = self._handlers.get(details.method)
        if found is None:
            found = await continuation(details)
            if found is not None:
                found = self._handlers[details.method] = self._wrapped(found, details.method)
        return found

    def _wrapped(self, handler: Any, method: str) -> Any:
        async def unary(_: Any, context: Any) -> Any:
            with self._service.budget.take(0) as held:
                request = await self._request(handler, method, context, held)
                return await handler.unary_unary(request, context)

        async def stream(_: Any, context: Any) -> Any:  # Watch of the health service, which waits for long
            with self._service.budget.take(0) as held:
                request = await self._request(handler, method, context, held)
            return await handler.unary_stream(request, context)

        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(unary, None, handler.response_serializer)
        if handler.unary_stream is not None:
            return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)
        return handler

    async def _request(self, handler: Any, method: str, context: Any, held: Held) -> Any:
        """The request of a call, or the call's end."""
        start, name = time.perf_counter(), method.rpartition("/")[2]
        try:
            if self._service.keys is not None and not method.startswith(_OPEN):
                self._service.keys.check(sent_key(context))  # before anything from a stranger is read
            data = await self._message(context, held)
            if data is grpc.aio.EOF:
                raise bad_request(f"The call of {name} has no message; send one.")
            return await self._service.work(len(data), handler.request_deserializer, data)
        except DecodeError:
            refusal = bad_request(
                f"The message is not a request of {name} in protobuf's encoding; write it with TF Serving's protos."
            )
        except Refusal as error:
            refusal = error.with_traceback(None)  # which would keep the message until a garbage collection
        if name in _INFERENCE:
            self._service.record("", name, "GRPC", start, refusal.code)
        await refuse(context, refusal)

    async def _message(self, context: Any, held: Held) -> Any:
        try:
            async with self._turns.turn(settings.TURN_SECONDS):
                data = await _read(context)
                if data is not grpc.aio.EOF:
                    held.small = len(data) <= SMALL
                    held.resize(len(data) * GRPC_COPIES)
                return data
        except TimeoutError:
            raise Refusal(
                "RESOURCE_EXHAUSTED",
                f"The server is already reading {self._turns.count} messages, its limit; try again a little later.",
            ) from None


async def _read(context: Any) -> Any:
    try:
        async with within(settings.BODY_SECONDS):
            return await context.read()
    except TimeoutError:
        sentence = f"The message of the call did not arrive within {settings.BODY_SECONDS:g} s."
        raise Refusal("DEADLINE_EXCEEDED", sentence) from None


def sent_key(context: grpc.aio.ServicerContext) -> str | None:
    """What a call's metadata says of its key."""
    sent = dict(context.invocation_metadata() or ())
    header = sent.get("authorization") or sent.get("x-api-key")
    return header if isinstance(header, str) else None


async def refuse(context: grpc.aio.ServicerContext, refusal: Refusal) -> NoReturn:
    """Ends a call with the code and the sentence of a refusal."""
    await context.abort(getattr(grpc.StatusCode, refusal.code), refusal.sentence)
    raise AssertionError("abort() always raises")
