"""Batching: requests run together, get their own rows, and fail alone."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_helpers import predict, refusal, running

from privzoo.errors import ConfigError
from privzoo.serving.models.batching import Batcher, BatchingParameters, read_parameters
from privzoo.serving.wire.refusal import Refusal, bad_request
from privzoo.serving.wire.tensors import Signature, TensorSpec

pytestmark = pytest.mark.server

SIGNATURE = Signature("s", {"x": TensorSpec("x:0", "float", None)}, {"y": TensorSpec("y:0", "float", None)})


class Doubles:
    """A model that notes how many rows it ran, and refuses negative numbers."""

    def __init__(self):
        self.rows = []

    def run(self, signature, inputs):
        self.rows.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise bad_request("negative")
        return {"y": inputs["x"] * 2}


def ask(parameters, inputs, model=None):
    """Runs inputs at once; gives the model and the answers or refusals."""
    model = model or Doubles()

    async def main():
        batcher = Batcher(parameters)
        calls = [batcher.run(model, SIGNATURE, {"x": np.asarray(x, np.float32)}) for x in inputs]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        batcher.close()
        return answers

    return model, asyncio.run(main())


def test_requests_run_together_and_get_their_own_rows():
    parameters = BatchingParameters(max_batch_size=8, batch_timeout_micros=20_000)
    model, answers = ask(parameters, [[1], [2, 3], [], [4]])
    assert [a["y"].tolist() for a in answers] == [[2], [4, 6], [], [8]]
    assert model.rows == [4]


def test_a_full_batch_does_not_wait():
    parameters = BatchingParameters(max_batch_size=2, batch_timeout_micros=600_000_000)
    model, answers = ask(parameters, [[1], [2], [3, 4]])
    assert [a["y"].tolist() for a in answers] == [[2], [4], [6, 8]] and model.rows == [2, 2]


def test_one_bad_request_fails_alone():
    parameters = BatchingParameters(max_batch_size=8, batch_timeout_micros=20_000)
    model, answers = ask(parameters, [[1], [-1], [3]])
    assert answers[0]["y"].tolist() == [2] and answers[2]["y"].tolist() == [6]
    assert isinstance(answers[1], Refusal) and answers[1].sentence == "negative"


def test_allowed_sizes_are_filled_up():
    parameters = BatchingParameters(max_batch_size=8, batch_timeout_micros=20_000, allowed_batch_sizes=(4, 8))
    model, answers = ask(parameters, [[1], [2]])
    assert [a["y"].tolist() for a in answers] == [[2], [4]] and model.rows == [4]


def test_other_shapes_wait_elsewhere():
    parameters = BatchingParameters(max_batch_size=8, batch_timeout_micros=20_000)
    _, answers = ask(parameters, [[1], [[1, 2]], [3]])
    assert [a["y"].tolist() for a in answers] == [[2], [[2, 4]], [6]]


def test_what_cannot_be_in_a_batch():
    _, answers = ask(BatchingParameters(max_batch_size=2), [1, [1, 2, 3]])
    assert "at least one dimension" in answers[0].sentence
    assert answers[1].sentence == "Task size 3 is larger than maximum input batch size 2"


def test_too_many_waiting_batches_are_refused():
    class Slow(Doubles):
        def run(self, signature, inputs):
            import time

            time.sleep(0.2)
            return super().run(signature, inputs)

    parameters = BatchingParameters(max_batch_size=1, max_enqueued_batches=2, num_batch_threads=1)
    _, answers = ask(parameters, [[i] for i in range(6)], Slow())
    refused = [a for a in answers if isinstance(a, Refusal)]
    assert len(refused) == 3 and {r.code for r in refused} == {"UNAVAILABLE"}
    assert [a["y"].tolist() for a in answers if not isinstance(a, Refusal)] == [[0], [2], [4]]


def test_who_goes_away_is_left_out():
    async def main():
        batcher, model = Batcher(BatchingParameters(max_batch_size=8, batch_timeout_micros=50_000)), Doubles()
        tasks = [asyncio.create_task(batcher.run(model, SIGNATURE, {"x": np.ones(1, np.float32)})) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        assert model.rows == [2] and isinstance(answers[1], asyncio.CancelledError)

    asyncio.run(main())


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.integers(5, 9),
    st.sampled_from([0, 100]),
    st.integers(1, 3),
)
def test_nothing_is_lost_or_mixed_up(sizes, largest, micros, threads):
    parameters = BatchingParameters(largest, micros, 100, threads)
    inputs = [np.arange(size) + 10 * i for i, size in enumerate(sizes)]
    model, answers = ask(parameters, inputs)
    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], x * 2)
    assert max(model.rows) <= largest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size 0"),
        ("num_batch_threads { value: 0 }", "num_batch_threads 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros -1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "end with max_batch_size, 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", "must increase"),
        ("pad_variable_length_inputs: true", "sets pad_variable_length_inputs"),
        ("max_batch_size: 8", "not a BatchingParameters"),
    ],
)
def test_parameters_that_cannot_be(tmp_path, text, words):
    (tmp_path / "batching").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_parameters(tmp_path / "batching")


def test_parameters_in_full(tmp_path):
    (tmp_path / "batching").write_text(
        "max_batch_size { value: 64 } batch_timeout_micros { value: 1000 } max_enqueued_batches { value: 7 } "
        'num_batch_threads { value: 2 } thread_pool_name { value: "x" } allowed_batch_sizes: [8, 64]'
    )
    assert read_parameters(tmp_path / "batching") == BatchingParameters(64, 1000, 7, 2, (8, 64))
    assert read_parameters(None).max_batch_size == 1000


def test_over_the_socket(models):
    httpx = pytest.importorskip("httpx")
    parameters = BatchingParameters(max_batch_size=16, batch_timeout_micros=2000)
    with running(models, batching=parameters) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        with ThreadPoolExecutor(8) as pool:
            bodies = [json.dumps({"instances": [i] * (i % 3 + 1)}).encode() for i in range(60)]
            answers = list(pool.map(lambda body: predict(http, "half", body).json(), bodies))
        assert answers == [{"predictions": [i / 2 + 10] * (i % 3 + 1)} for i in range(60)]
        assert "at least one dimension" in refusal(predict(http, "scalar", {"inputs": 4}))
