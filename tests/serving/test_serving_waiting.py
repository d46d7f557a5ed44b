"""Waiting: a cancelled caller outlasts its thread, and no turn is lost."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.serving.models.batching import Batcher, BatchingParameters
from privzoo.serving.waiting import Turns, on_thread, within
from privzoo.serving.wire.tensors import Signature, TensorSpec

pytestmark = pytest.mark.server

SIGNATURE = Signature("s", {"x": TensorSpec("x:0", "float", None)}, {"y": TensorSpec("y:0", "float", None)})


async def cancelled_while(begun, go_on, task):
    """Cancels a task whose thread runs, more than once; says whether it waited for the thread."""
    while not begun.is_set():
        await asyncio.sleep(0.005)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.02)
    waited = not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    return waited


def test_who_is_cancelled_waits_for_the_thread():
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go_on.wait(30)
        ended.append(1)

    async def main():
        with ThreadPoolExecutor(1) as threads:
            running = asyncio.create_task(on_thread(threads, work))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(on_thread(threads, ended.append, 2))
            await asyncio.sleep(0.01)
            waiting.cancel()  # it has not begun, and does not begin
            await asyncio.sleep(0.01)
            assert waiting.cancelled()
            assert await cancelled_while(begun, go_on, running)
            assert ended == [1]
            assert await on_thread(threads, divmod, 7, 3) == (2, 1)
            with pytest.raises(ZeroDivisionError):
                await on_thread(threads, divmod, 1, 0)

    asyncio.run(main())


def test_who_is_cancelled_waits_for_the_batch():
    begun, go_on = threading.Event(), threading.Event()

    class Model:
        def run(self, signature, inputs):
            begun.set()
            go_on.wait(30)
            return {"y": inputs["x"]}

    async def main():
        batcher = Batcher(BatchingParameters(max_batch_size=2))
        calls = [asyncio.create_task(batcher.run(Model(), SIGNATURE, {"x": np.ones(1)})) for _ in range(1)]
        assert await cancelled_while(begun, go_on, calls[0])
        batcher.close()

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=12),
)
def test_no_turn_is_lost(count, callers):
    """Callers that come, stay, lose patience and are cancelled, at the same moments as turns end."""

    async def one(turns, stay, patience, most):
        async with turns.turn(patience / 1000):
            most.append(turns.taken)
            await asyncio.sleep(stay / 1000)

    async def main():
        turns, most = Turns(count), [0]
        tasks = [asyncio.create_task(one(turns, stay, patience, most)) for stay, patience, _ in callers]
        for task, (*_, cancel) in zip(tasks, callers, strict=True):
            if cancel:
                await asyncio.sleep(0.001)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert max(most) <= count and turns.taken == 0

    asyncio.run(main())


def test_a_turn_passes_in_order_and_is_waited_for_so_long_only():
    async def main():
        turns, seen = Turns(1), []

        async def one(name):
            async with turns.turn(10):
                seen.append(name)
                await asyncio.sleep(0.005)

        async with turns.turn(1):
            waiting = [asyncio.create_task(one(name)) for name in "abc"]
            await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                async with turns.turn(0.01):
                    raise AssertionError
        await asyncio.gather(*waiting)
        assert seen == list("abc")
        with pytest.raises(TimeoutError):
            async with within(0.01):
                await asyncio.sleep(10)

    asyncio.run(main())
