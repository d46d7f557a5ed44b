"""Bodies over real sockets: their encodings, the budget that they take, and that it comes back."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_helpers import LIMIT, predict, refusal, running

from privzoo.serving.front.bodies import DISCARD, MEMBERS, PIECE, WASTE
from privzoo.serving.front.budget import MARGIN, REST_COPIES, SMALL, least
from privzoo.serving.models.batching import BatchingParameters

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
grpc = pytest.importorskip("grpc")
ONE = json.dumps({"instances": [1]}).encode()


def send(http, body, encoding="gzip", model="half"):
    return http.post(f"/v1/models/{model}:predict", content=body, headers={"content-encoding": encoding})


def nothing_is_held(service, seconds=30):
    """Waits for the server to have let go of everything."""
    deadline = time.monotonic() + seconds
    while service.running or service.budget.taken or service.budget.reads.taken:
        assert time.monotonic() < deadline, (service.running, service.budget.taken, service.budget.reads.taken)
        time.sleep(0.01)
    assert not any(s.uses for name in service.models.names() for s in service.models.available(name))


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity"])
def test_encodings_that_are_read(http, encoding):
    body = ONE if encoding == "identity" else gzip.compress(ONE)
    assert send(http, body, encoding).json() == {"predictions": [10.5]}


def test_gzip_of_several_parts_and_of_many_pieces(http):
    assert send(http, gzip.compress(ONE[:5]) + gzip.compress(ONE[5:])).json() == {"predictions": [10.5]}
    long = ONE + b" " * (LIMIT - len(ONE))
    assert send(http, gzip.compress(long)).json() == {"predictions": [10.5]}

    def in_bits():
        packed = gzip.compress(long, 0)
        yield from (packed[i : i + 7000] for i in range(0, len(packed), 7000))

    assert send(http, in_bits()).json() == {"predictions": [10.5]}


def test_what_is_no_gzip(http):
    packed = gzip.compress(ONE)
    for body in (ONE, b"\x1f\x8b\x08garbage", packed + b"more", packed[:-6] + b"\0" * 6):
        assert "claims to be gzip but is not" in refusal(send(http, body))
    for body in (packed[:-3], packed[:12], packed + packed[:4]):
        assert "is truncated" in refusal(send(http, body))
    assert "document is empty" in refusal(send(http, b""))


def test_a_gzip_body_that_is_mostly_work(http):
    """Each member, and each empty block, takes time and decodes to nothing."""
    ones = gzip.compress(ONE)
    parts = gzip.compress(b" " * 40)
    assert send(http, ones + parts * (MEMBERS - 1)).json() == {"predictions": [10.5]}
    header, empty = b"\x1f\x8b\x08" + b"\0" * 6 + b"\xff", b"\0\0\0\xff\xff"
    named = header[:3] + b"\x08" + header[4:] + b"a" * 2 * WASTE  # a file's name without an end
    for body in (ones + parts * MEMBERS, gzip.compress(b"") * 20_000, header + empty * 100_000, named):
        assert len(body) < DISCARD * LIMIT
        pieces = iter([body[:70_000], body[70_000:]])  # whose length is not announced, so that it is decoded
        assert f"has more than {MEMBERS} parts, or is much larger than" in refusal(send(http, pieces))
    assert send(http, ones).json() == {"predictions": [10.5]}


def test_the_limit_counts_after_decoding_and_decoding_ends_there(models):
    from privzoo.serving.front import bodies

    bomb = gzip.compress(b" " * (200 * 2**20))  # of 200 KB
    assert len(bomb) < 2 * LIMIT
    with running(models) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        seen, decode = [], bodies._Gzip.decode

        def counted(self, chunk):
            for piece in decode(self, chunk):
                seen.append(len(piece))
                yield piece

        bodies._Gzip.decode = counted
        try:
            assert "larger than the server's limit" in refusal(send(http, bomb), 413)
        finally:
            bodies._Gzip.decode = decode
        assert sum(seen) <= LIMIT + PIECE
        assert "larger than the server's limit" in refusal(send(http, gzip.compress(b" " * (LIMIT + 1))), 413)
        nothing_is_held(server.service)


@pytest.mark.parametrize("second", ["gzip", "GZIP", "br", "identity"])
def test_two_headers_are_one_list(http, second):
    """What is compressed twice is refused, not decoded once."""
    body = gzip.compress(gzip.compress(ONE))
    headers = [("content-encoding", "gzip"), ("content-encoding", second)]
    answer = http.post("/v1/models/half:predict", content=body, headers=headers)
    assert f"'gzip, {second.lower()}'" in refusal(answer, 415)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip,br", "x" * 500])
def test_other_encodings_are_refused_by_name(http, encoding):
    answer = send(http, b"1" * 150_000, encoding)
    assert encoding[:80] in refusal(answer, 415) and answer.headers["accept-encoding"] == "gzip"
    assert send(http, gzip.compress(ONE)).status_code == 200


def test_over_rest_what_is_announced_counts_before_it_is_read(models):
    limit = least(LIMIT)
    with running(models, max_bytes_in_flight=limit) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        room = server.service.budget.room(small=False)
        head = f"POST /v1/models/half:predict HTTP/1.1\r\nhost: a\r\ncontent-length: {LIMIT}\r\n\r\n".encode()
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(room // (LIMIT * REST_COPIES))]
        for connection in idle:
            connection.sendall(head)
        deadline = time.monotonic() + 30
        while server.service.budget.taken < len(idle) * LIMIT * REST_COPIES:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        large = ONE + b" " * (LIMIT - len(ONE))
        busy = predict(http, "half", large)
        assert "try again a little later" in refusal(busy, 429) and busy.headers["retry-after"] == "1"
        busy = http.post("/v1/models/half:predict", content=iter([large]))  # chunked: counted as it comes
        assert "try again a little later" in refusal(busy, 429)
        assert "try again a little later" in refusal(send(http, gzip.compress(large)), 429)
        assert predict(http, "half", ONE).status_code == 200  # a small one still gets through
        assert send(http, gzip.compress(ONE)).status_code == 200
        for connection in idle:
            connection.close()
        nothing_is_held(server.service)
        assert predict(http, "half", large).status_code == 200


def calls(server, model="half"):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    channel = grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])
    return channel, prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def test_over_grpc_messages_are_read_by_turns_and_then_counted(models, monkeypatch):
    from serving_helpers import request_of

    from privzoo.serving import settings as values

    monkeypatch.setattr(values, "TURN_SECONDS", 0.2)
    with running(models, max_bytes_in_flight=least(LIMIT)) as server:
        service = server.service
        assert service.budget.reads.count * (LIMIT + MARGIN) <= service.budget.limit // 2
        channel, call = calls(server)
        with channel:
            # Clients that open a call and send nothing hold turns, and no more than there are.
            silent = threading.Event()
            open_call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future

            def nothing():
                silent.wait(60)
                yield from ()

            streams = [open_call(nothing(), timeout=60) for _ in range(service.budget.reads.count)]
            deadline = time.monotonic() + 30
            while service.budget.reads.taken < service.budget.reads.count:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            small = request_of("half", x=np.ones(1, np.float32))
            with pytest.raises(grpc.RpcError, match="already reading .* messages") as refused:
                call(small, timeout=60)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            for stream in streams:
                stream.cancel()
            silent.set()
            nothing_is_held(service)
            large = request_of("half", x=np.ones(SMALL, np.float32))
            with service.budget.take(service.budget.room(small=False)):
                with pytest.raises(grpc.RpcError, match="memory for requests is in use") as refused:
                    call(large, timeout=60)
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert call(small, timeout=60)
            assert call(large, timeout=60)
            nothing_is_held(service)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["right", "wrong", "huge", "cut", "bad gzip", "gzip", "cancel", "call", "bad call"]),
            st.integers(0, LIMIT),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_everything_comes_back_whatever_clients_do(server, http, steps):
    from serving_helpers import request_of

    channel, call = calls(server)
    with channel:
        for step, size in steps:
            body = ONE + b" " * max(0, size - len(ONE))
            if step == "right":
                assert predict(http, "half", body).status_code == 200
            elif step == "wrong":
                refusal(predict(http, "half", b"[" * (1 + size)))
            elif step == "huge":
                refusal(predict(http, "half", body + b" " * LIMIT), 413)
            elif step == "gzip":
                assert send(http, gzip.compress(body)).status_code == 200
            elif step == "bad gzip":
                refusal(send(http, body))
            elif step == "cut":
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    head = f"POST /v1/models/half:predict HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body[: len(body) // 2])
            elif step == "cancel":
                call.future(request_of("slow", n=np.array([size])), timeout=60).cancel()
            elif step == "call":
                assert call(request_of("half", x=np.ones(1 + size // 8, np.float32)), timeout=60)
            else:
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff" * size, timeout=60)
    nothing_is_held(server.service)


@pytest.mark.parametrize("batching", [None, BatchingParameters(max_batch_size=4)])
def test_a_cancelled_call_keeps_its_model_until_its_thread_has_ended(models, batching, monkeypatch):
    from serving_helpers import request_of

    half = models.find("half")
    begun, go_on, run = threading.Event(), threading.Event(), half.model.run

    def slowly(signature, inputs):
        begun.set()
        go_on.wait(60)
        return run(signature, inputs)

    monkeypatch.setattr(half.model, "run", slowly)
    with running(models, batching=batching) as server:
        channel, call = calls(server)
        with channel:
            try:
                asked = call.future(request_of("half", x=np.ones(1, np.float32)), timeout=60)
                assert begun.wait(30)
                asked.cancel()
                time.sleep(0.5)
                assert half.uses == 1 and server.service.running == 1 and server.service.budget.taken > 0
            finally:
                go_on.set()
        nothing_is_held(server.service)
        assert half.uses == 0
