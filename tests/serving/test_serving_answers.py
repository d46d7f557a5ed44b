"""A tail's answer that is not a number is an error, as a request that is none; whoever asks beside it gets theirs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving_helpers import predict, refusal, running
from serving_models import FEATURE

from privzoo.serving.models.batching import BatchingParameters

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
grpc = pytest.importorskip("grpc")

GOOD, HUGE = np.ones((1, *FEATURE), np.float32), np.full((1, *FEATURE), 1e38, np.float32)


def over_grpc(channel, features):
    from serving_helpers import arrays, request_of
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return arrays(stub.Predict(request_of("tail", features=features), timeout=60))["probabilities"]


@pytest.mark.parametrize("batching", [None, BatchingParameters(max_batch_size=64, batch_timeout_micros=300_000)])
def test_an_answer_that_is_no_number_is_an_error(models, batching):
    with (
        running(models, batching=batching) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
        grpc.insecure_channel(server.target) as channel,
        ThreadPoolExecutor(8) as pool,
    ):
        for bad in (HUGE, np.concatenate([GOOD, HUGE])):
            # All at once, so that with batching one run has rows of each of them.
            wrong = pool.submit(predict, http, "tail", {"instances": bad.tolist()})
            right = pool.submit(predict, http, "tail", {"instances": GOOD.tolist()})
            wrong_call, right_call = (pool.submit(over_grpc, channel, x) for x in (bad, GOOD))
            assert "is not finite" in refusal(wrong.result())
            with pytest.raises(grpc.RpcError, match="is not finite") as refused:
                wrong_call.result()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert right.result().status_code == 200
            np.testing.assert_allclose(right.result().json()["predictions"], right_call.result(), rtol=1e-5)
            assert np.isfinite(right_call.result()).all()


def test_other_models_answer_what_they_answer(http):
    assert predict(http, "same_float32", b'{"instances": [NaN, 1e38]}').content.startswith(b'{"predictions"')
