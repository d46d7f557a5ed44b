"""Batches the inputs of requests, as TF Serving's `--enable_batching` does.

Unlike TF Serving, a batch that TensorFlow refuses is run again request by request, so that one client's bad
input fails only its own request; and inputs of different shapes wait in separate queues instead of being refused.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from privzoo.errors import ConfigError
from privzoo.serving.models.saved_model import SavedModel
from privzoo.serving.waiting import ended
from privzoo.serving.wire import textproto
from privzoo.serving.wire.refusal import Refusal, bad_request
from privzoo.serving.wire.tensors import Signature

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class BatchingParameters:
    """TF Serving's parameters of the same names, with its defaults."""

    max_batch_size: int = 1000  # rows in one run
    batch_timeout_micros: int = 0  # how long a batch waits for more rows although a thread is free
    max_enqueued_batches: int = 10  # waiting for a thread; more are refused
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()  # rows per run; smaller batches are padded


def read_parameters(path: str | os.PathLike[str] | None) -> BatchingParameters:
    """Reads the file of `--batching_parameters_file`; None gives the defaults.

    Raises:
        ConfigError: a file that cannot be read, or invalid parameters.
    """
    if path is None:
        return BatchingParameters()
    message = textproto.read("BatchingParameters", path, "batching_parameters_file")
    given = {}
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        if message.HasField(name):
            given[name] = getattr(message, name).value
            if given[name] < (name == "max_batch_size" or name == "num_batch_threads"):
                raise ConfigError(f"{path} has {name} {given[name]}, which is invalid; give a larger number.")
    parameters = BatchingParameters(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
    sizes = parameters.allowed_batch_sizes
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != parameters.max_batch_size):
        raise ConfigError(
            f"{path} has allowed_batch_sizes {list(sizes)}; they must increase and end with max_batch_size, "
            f"{parameters.max_batch_size}."
        )
    for name in ("pad_variable_length_inputs", "enable_large_batch_splitting", "max_execution_batch_size"):
        value = getattr(message, name)
        if value if isinstance(value, bool) else message.HasField(name):
            raise ConfigError(f"{path} sets {name}, which this server does not support; remove it.")
    return parameters


@dataclass
class _Task:
    inputs: Arrays
    rows: int
    done: asyncio.Future[dict[str, np.ndarray]]
    running: asyncio.Future[Any] | None = None  # the batch that it is in, once that has begun


@dataclass
class _Batch:
    model: SavedModel
    signature: Signature
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0
    ripe: bool = False  # its time is up, or it is full


class Batcher:
    """Collects requests of one event loop into batches, and runs those on threads of its own.

    Args:
        parameters: sizes and times.
    """

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self._threads = ThreadPoolExecutor(parameters.num_batch_threads, thread_name_prefix="privzoo-batch")
        self._free = parameters.num_batch_threads
        self._open: dict[Any, _Batch] = {}  # the open batch of each kind
        self._waiting: deque[tuple[Any, _Batch]] = deque()  # every batch without a thread, the oldest first

    def close(self) -> None:
        """Waits for the batches that run."""
        self._threads.shutdown(wait=True)

    async def run(self, model: SavedModel, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs a request's inputs in a batch.

        Args:
            model: loaded.
            signature: one of its signatures.
            inputs: an array for each of its inputs, all of one first dimension.

        Returns:
            Output name -> array, the rows of this request.

        Raises:
            Refusal: inputs or outputs without a common first dimension, too many rows, or too many batches wait.
        """
        rows = self._rows(inputs)
        kind = (id(model), signature.name, *((n, a.dtype.str, a.shape[1:]) for n, a in sorted(inputs.items())))
        task = _Task(inputs, rows, asyncio.get_running_loop().create_future())
        batch = self._open.get(kind)
        if batch is None or batch.rows + rows > self.parameters.max_batch_size:
            batch = self._new(kind, model, signature)
        batch.tasks.append(task)
        batch.rows += rows
        if batch.rows >= self.parameters.max_batch_size:
            self._ripen(kind, batch)
        else:
            self._start()
        try:
            return await task.done
        except asyncio.CancelledError:
            if task.running is not None:  # the thread uses the model and the inputs until its end
                await ended(task.running)
            raise

    def _rows(self, inputs: Arrays) -> int:
        if not all(array.ndim for array in inputs.values()):
            raise bad_request("Batching Run() input tensors must have at least one dimension.")
        sizes: set[int] = {array.shape[0] for array in inputs.values()}
        if len(sizes) != 1:
            raise bad_request("Batching Run() input tensors must have equal 0th-dimension size.")
        (rows,) = sizes
        if rows > self.parameters.max_batch_size:
            raise bad_request(
                f"Task size {rows} is larger than maximum input batch size {self.parameters.max_batch_size}"
            )
        return rows

    def _new(self, kind: Any, model: SavedModel, signature: Signature) -> _Batch:
        if kind in self._open:
            self._ripen(kind, self._open[kind])
        if len(self._waiting) >= self.parameters.max_enqueued_batches + self._free:
            raise Refusal(
                "UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full; ask again later."
            )
        batch = self._open[kind] = _Batch(model, signature)
        self._waiting.append((kind, batch))
        delay = self.parameters.batch_timeout_micros / 1e6
        if delay:
            asyncio.get_running_loop().call_later(delay, self._ripen, kind, batch)
        else:
            batch.ripe = True
        return batch

    def _ripen(self, kind: Any, batch: _Batch) -> None:
        batch.ripe = True
        if batch.rows >= self.parameters.max_batch_size and self._open.get(kind) is batch:
            del self._open[kind]
        self._start()

    def _start(self) -> None:
        """Gives free threads to ripe batches; until then a batch accepts more rows."""
        while self._free:
            ready = next(((kind, batch) for kind, batch in self._waiting if batch.ripe and batch.tasks), None)
            if ready is None:
                return
            kind, batch = ready
            self._waiting.remove(ready)
            if self._open.get(kind) is batch:
                del self._open[kind]
            tasks = [task for task in batch.tasks if not task.done.done()]  # a lost client has cancelled its
            if not tasks:
                continue
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch, tasks)
            for task in tasks:
                task.running = running
            running.add_done_callback(functools.partial(self._finish, tasks=tasks))

    def _finish(self, future: asyncio.Future[list[Any]], tasks: list[_Task]) -> None:
        self._free += 1
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        results = [error] * len(tasks) if error is not None else future.result()
        for task, result in zip(tasks, results, strict=True):
            if task.done.done():
                continue
            if isinstance(result, BaseException):
                task.done.set_exception(result)
            else:
                task.done.set_result(result)
        self._start()

    def _run(self, batch: _Batch, tasks: list[_Task]) -> list[Any]:
        if len(tasks) == 1 and not self.parameters.allowed_batch_sizes:
            return [_alone(batch, tasks[0])]
        try:
            return self._together(batch, tasks)
        except Refusal as refusal:
            return [refusal] if len(tasks) == 1 else [_alone(batch, task) for task in tasks]

    def _together(self, batch: _Batch, tasks: list[_Task]) -> list[dict[str, np.ndarray]]:
        rows = sum(task.rows for task in tasks)
        size = next((size for size in self.parameters.allowed_batch_sizes if size >= rows), rows)
        inputs = {}
        for name in tasks[0].inputs:
            parts = [task.inputs[name] for task in tasks]
            if 0 < rows < size:
                first = next(part for part in parts if len(part))[:1]
                parts += [first] * (size - rows)
            inputs[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        outputs = batch.model.run(batch.signature, inputs)
        for array in outputs.values():
            if array.ndim < 1 or (len(array) != size and rows):
                raise Refusal(
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        ends = np.cumsum([task.rows for task in tasks])
        return [
            {name: array[end - task.rows : end] for name, array in outputs.items()}
            for task, end in zip(tasks, ends, strict=True)
        ]


def _alone(batch: _Batch, task: _Task) -> dict[str, np.ndarray] | Refusal:
    try:
        return batch.model.run(batch.signature, task.inputs)
    except Refusal as refusal:
        return refusal
