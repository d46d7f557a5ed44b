"""Refuses messages that are no protobuf of their kind in a sentence; grpc.aio itself answers INTERNAL, with a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError


class Tolerance(grpc.aio.ServerInterceptor):
    """Reads the requests of every method, and calls the method with those that can be read only."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}  # method -> what answers it; of those methods that there are

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, with its reading of requests replaced."""
        found = self._handlers.get(details.method)
        if found is None:
            found = await continuation(details)
            if found is not None:
                found = self._handlers[details.method] = _wrapped(found, details.method.rpartition("/")[2])
        return found


def _wrapped(handler: Any, method: str) -> Any:
    def read(data: bytes) -> Any:
        try:
            return handler.request_deserializer(data)
        except DecodeError:
            return None

    async def refuse(context: Any) -> None:
        sentence = f"The message is no request of {method} in protobuf's encoding; write it with TF Serving's protos."
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence)

    if handler.unary_unary is not None:
        answer: Callable[..., Any] = handler.unary_unary

        async def unary(request: Any, context: Any) -> Any:
            return await (refuse(context) if request is None else answer(request, context))

        return grpc.unary_unary_rpc_method_handler(unary, read, handler.response_serializer)
    if handler.unary_stream is not None:  # Watch of the health service

        async def stream(request: Any, context: Any) -> Any:
            if request is None:
                await refuse(context)
            return await handler.unary_stream(request, context)

        return grpc.unary_stream_rpc_method_handler(stream, read, handler.response_serializer)
    return handler
