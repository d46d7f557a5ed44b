"""Waiting without losing anything: for threads that cannot be stopped, for a turn, and with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def on_thread(threads: Executor, function: Callable[..., T], *args: Any) -> T:
    """Runs a function on a thread, and does not return before it has ended, even if the caller is cancelled.

    What the function uses (a model, memory) belongs to it until its end: a cancelled caller that went on would free
    it while the thread is using it. A function that has not started is not started for a cancelled caller.

    Args:
        threads: that run it.
        function: to run.
        args: its arguments.
    """
    begun = threads.submit(function, *args)
    future = asyncio.wrap_future(begun)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not begun.cancel():
            await ended(future)
        raise


async def ended(future: asyncio.Future[Any]) -> None:
    """Waits for a future's end, whatever it is, and however often the caller is cancelled in the meantime."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # retrieved, so that asyncio does not complain


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout, which Python 3.10 lacks.

    Args:
        seconds: time limit of the block.

    Raises:
        TimeoutError: the time is up.
    """
    task, late = asyncio.current_task(), False
    assert task is not None, "only a task can be stopped"

    def stop() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, stop)
    try:
        yield
    except asyncio.CancelledError:
        if late:
            getattr(task, "uncancel", int)()  # Python 3.11 counts
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


class Turns:
    """Admits so many at once; the others wait in order. Belongs to one event loop.

    Args:
        count: maximum number inside.
    """

    def __init__(self, count: int) -> None:
        self.count = self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        """How many are inside."""
        return self.count - self._free

    @contextlib.asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Waits for a turn, which lasts as long as the block.

        Args:
            seconds: to wait at most.

        Raises:
            TimeoutError: none came.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(seconds)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, seconds: float) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with within(seconds):
                await mine
        except BaseException:
            if mine.done() and not mine.cancelled():  # it was granted at the same moment, and now goes to the next
                self._pass_on()
            else:
                mine.cancel()
                with contextlib.suppress(ValueError):
                    self._waiting.remove(mine)
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self._free += 1
