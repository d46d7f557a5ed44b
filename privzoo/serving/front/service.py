"""Common to REST and gRPC: models, threads, limits, metrics; answers requests, independent of the protocol."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from privzoo.serving import settings
from privzoo.serving.front.budget import Budget, default_limit
from privzoo.serving.front.metrics import Metrics
from privzoo.serving.keys import Keys
from privzoo.serving.models.batching import Batcher, BatchingParameters
from privzoo.serving.models.registry import Models
from privzoo.serving.models.servable import Servable
from privzoo.serving.waiting import on_thread
from privzoo.serving.wire.refusal import Refusal
from privzoo.serving.wire.tensors import Signature

_log = logging.getLogger(__name__)
T = TypeVar("T")
# Work on so few bytes takes less time than handing it to a thread.
INLINE_BYTES = 4096


class Service:
    """Runs requests on the models of a server; all but `close` belongs to one event loop.

    Args:
        models: the server's models.
        threads: that run requests; None: four for each processor, as TF Serving.
        max_body_bytes: largest body of a request.
        max_concurrent_requests: that are answered at once; more are refused.
        max_rows: features in one request.
        batching: how to batch requests; None: not at all.
        keys: of the allowed clients; None: anyone.
        metrics: where they are collected; None: nowhere.
        max_bytes_in_flight: memory for the requests in flight; None: half of this process's.

    Raises:
        ConfigError: a budget that is too small for one body.
    """

    def __init__(
        self,
        models: Models,
        threads: int | None = None,
        max_body_bytes: int = settings.MAX_BODY_BYTES,
        max_concurrent_requests: int = settings.MAX_CONCURRENT_REQUESTS,
        max_rows: int = settings.MAX_ROWS,
        batching: BatchingParameters | None = None,
        keys: Keys | None = None,
        metrics: Metrics | None = None,
        max_bytes_in_flight: int | None = None,
    ) -> None:
        self.budget = Budget(max_bytes_in_flight or default_limit(max_body_bytes), max_body_bytes)
        self.models, self.max_body_bytes, self.keys, self.metrics = models, max_body_bytes, keys, metrics
        self.max_concurrent_requests, self.max_rows = max_concurrent_requests, max_rows
        self.running = 0
        self._threads = ThreadPoolExecutor(threads or settings.default_threads(), thread_name_prefix="privzoo-run")
        self._batcher = Batcher(batching) if batching is not None else None

    def close(self) -> None:
        """Waits for the requests that still run."""
        self._threads.shutdown(wait=True)
        if self._batcher is not None:
            self._batcher.close()

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a request while the block runs.

        Raises:
            Refusal: the server is already answering as many as it may.
        """
        if self.running >= self.max_concurrent_requests:
            raise Refusal(
                "RESOURCE_EXHAUSTED",
                f"The server is already answering {self.running} requests, its limit; try again a little later.",
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def work(self, size: int, function: Callable[..., T], *args: Any) -> T:
        """Runs a function on a thread, unless its input is so small that handing it over takes longer.

        Args:
            size: bytes that it processes.
            function: to run.
            args: its arguments.
        """
        if size <= INLINE_BYTES:
            return function(*args)
        return await on_thread(self._threads, function, *args)

    async def run(
        self, servable: Servable, signature: Signature, inputs: Mapping[str, np.ndarray], api: str
    ) -> dict[str, np.ndarray]:
        """Runs a signature, batched with other requests if batching is on.

        Args:
            servable: a leased version.
            signature: one of its signatures.
            inputs: an array for each of its inputs.
            api: "Predict", "Classify" or "Regress", for the figures.

        Returns:
            Output name -> array.

        Raises:
            Refusal: the inputs cannot be run.
        """
        servable.check(inputs, self.max_rows)
        start = time.perf_counter()
        if self._batcher is not None:
            outputs = await self._batcher.run(servable.model, signature, inputs)
        else:
            outputs = await on_thread(self._threads, servable.model.run, signature, inputs)
        if self.metrics is not None:
            self.metrics.ran(servable.name, api, time.perf_counter() - start)
        servable.check_answer(outputs)
        return outputs

    def record(self, model: str, api: str, entrypoint: str, start: float, code: str) -> None:
        """Notes an answered request in the figures.

        Args:
            model: name that the request gave.
            api: "Predict", "Classify", ...
            entrypoint: "REST" or "GRPC".
            start: `time.perf_counter()` when it came.
            code: "OK", or the canonical code with which it was refused.
        """
        if self.metrics is not None:
            # A name that no model has is the client's own text: left out, so that nobody fills the memory with names.
            known = model if self.models.available(model) else ""
            self.metrics.answered(known, api, entrypoint, time.perf_counter() - start, code)


def unexpected(error: Exception) -> Refusal:
    """The refusal for a bug in the server; the log gets its type and location.

    Its message may hold values of a feature, and is neither logged nor sent.
    """
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s while answering a request\n%s", type(error).__name__, places)
    return Refusal("INTERNAL", "The server failed on this request; see its log.")
