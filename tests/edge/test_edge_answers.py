"""What a server may send back: taken if it is a prediction, and else one printable sentence, within bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sys
from concurrent import futures

import numpy as np
import pytest
from export_fakes import chips, exported, serving
from hypothesis import given
from hypothesis import strategies as st

from privzoo.edge import AsyncClient, Client, Head, replies
from privzoo.edge.access import Target
from privzoo.errors import FeatureRefusedError, PrivzooError, ServerError

pytestmark = pytest.mark.server
TARGET = Target("m", None, "s", "f", 3)


@pytest.fixture(scope="module")
def head():
    return Head(exported("float32"))


def answering(status, body, **headers):
    """A server of one answer, with headers."""

    def do_post(self):
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked = dict(self.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    context = serving()
    url, handler = context.__enter__()
    handler.do_POST = do_post
    return context, url, handler


def error_of(head, status, body, kind=Client, **headers):
    """The error that an answer gives, alike from both clients."""
    context, url, _ = answering(status, body, **headers)
    try:
        with pytest.raises(PrivzooError) as caught, Client(head, url, attempts=1) as client:
            client.predict(chips()[:2], face="given")

        async def ask():
            async with AsyncClient(head, url, attempts=1) as client:
                await client.predict(chips()[:2], face="given")

        with pytest.raises(PrivzooError) as again:
            asyncio.run(ask())
        assert str(again.value) == str(caught.value) and type(again.value) is type(caught.value)
    finally:
        context.__exit__(None, None, None)
    sentence = str(caught.value)
    assert sentence.isprintable() and sentence.encode() and len(sentence) < 1000
    return caught.value


HOSTILE = {
    "nested without end": b"[" * 100_000,
    "nested in an object": b'{"error":' * 100_000,
    "nested error": b'{"error":' + b"[" * 100_000,
    "a lone surrogate": b'{"error":"\\ud800"}',
    "no UTF-8": b'{"error":"\xff\xfe"}',
    "UTF-16": '{"error":"a"}'.encode("utf-16"),
    "UTF-32": '{"error":"a"}'.encode("utf-32"),
    "no text": b'{"error": 3}',
    "a list": b'["error"]',
    "huge": b'{"error": "' + b"a" * 3_000_000 + b'"}',
}


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize("body", HOSTILE)
def test_bodies_that_are_no_errors_of_the_protocol(head, status, body):
    error = error_of(head, status, HOSTILE[body])
    assert isinstance(error, ServerError) and not isinstance(error, FeatureRefusedError)


def test_what_a_server_says_is_escaped_and_kept_short(head):
    said = "line one\r\nline two \x1b[31mred\x1b[0m \u202e \x07 " + "x" * 5000
    error = error_of(head, 400, json.dumps({"error": said}).encode())
    assert type(error) is FeatureRefusedError
    assert r"line one line two \x1b[31mred\x1b[0m \u202e \x07 xxx" in str(error)


BOMB = gzip.compress(bytes(2**28), mtime=0)


def test_a_small_body_that_decodes_to_much_is_refused_within_bounds(head):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = error_of(head, 200, BOMB, content_encoding="gzip")
    assert "(more than 1048832 bytes); check that model" in str(error)
    assert error_of(head, 400, BOMB, content_encoding="gzip").args[0].endswith("address is that of its REST interface.")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**26 / (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize(
    ("body", "encoding", "found"),
    [
        (b" " * 2_000_000, "", "more than 1048832 bytes"),
        (b" " * 2_000_000, "gzip", "more than 1048832 bytes"),
        (gzip.compress(b"x" * 50, mtime=0)[:-9], "gzip", "a truncated gzip body"),
        (b"no gzip", "x-gzip", "a body that claims to be gzip but is not"),
        (b"x", "gzip, gzip", "a body encoded with 'gzip, gzip'"),
        (b"x", "br", "a body encoded with 'br'"),
        (b"x", "zstd", "a body encoded with 'zstd'"),
    ],
)
def test_bodies_that_are_not_read(head, body, encoding, found):
    assert f"({found})" in str(error_of(head, 200, body, content_encoding=encoding))


def test_nobody_is_asked_to_compress_and_who_does_is_understood(head):
    body = gzip.compress(b'{"predictions": [[0.25, 0.75]]}', mtime=0)
    context, url, handler = answering(200, body, content_encoding="gzip")
    with Client(head, url) as client:
        assert client.predict(chips()[0], face="given")[0].probabilities == {"male": 0.25, "female": 0.75}
    context.__exit__(None, None, None)
    assert {name.lower(): value for name, value in handler.asked.items()}["accept-encoding"] == "identity"


NO_PREDICTIONS = {
    "[[5, 7], [0, 1]]": "a value of 7, which is not a probability",
    "[[0, 1], [-3, 4]]": "a value of -3, which is not a probability",
    "[[0, 1], [-3, 2]]": "a value of -3, which is not a probability",
    "[[0.2, 0.2], [0, 1]]": "probabilities of one input that add up to 0.4",
    "[[0.9, 0.9], [0, 1]]": "probabilities of one input that add up to 1.8",
    "[[true, false], [0, 1]]": "no rows of numbers",
    "[[0.5, true], [0, 1]]": "no rows of numbers",
    '[["0.5", "0.5"], [0, 1]]': "no rows of numbers",
    "[[0.5, null], [0, 1]]": "no rows of numbers",
    "[[0.5, 0.5], [1]]": "no rows of numbers",
    "[[[0.5, 0.5], [0, 1]]]": "no rows of numbers",
    "[[], []]": "numbers of shape (2, 0)",
    "[[0.5, 0.5]]": "numbers of shape (1, 2)",
    "[[1e300, 0], [0, 1]]": "values that are not finite",
    '{"a": 1}': "no rows of numbers",
    "5": "no rows of numbers",
}


@pytest.mark.parametrize("predictions", NO_PREDICTIONS)
def test_answers_that_are_no_probabilities_are_named(head, predictions):
    error = error_of(head, 200, f'{{"predictions": {predictions}}}'.encode())
    assert type(error) is ServerError
    assert f"something other than 2 x 2 probabilities ({NO_PREDICTIONS[predictions]}); check that model" in str(error)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.floats(0, 20))
def test_tails_that_round_are_taken(classes, seed, sharp):
    """Float16, bfloat16 by its 8 bits, and int8, which ends at 255/256 and may round all values the same way."""
    logits = np.random.default_rng(seed).normal(size=(5, classes)) * sharp
    exact = np.exp(logits - logits.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    target = Target("m", None, "s", "f", classes)
    short = (exact.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    rounded = [np.minimum(how(exact * 256), 255) / 256 for how in (np.rint, np.floor, np.ceil)]
    for answer in (exact, exact.astype(np.float16), short, *rounded):
        assert target.checked(answer.astype(np.float32), 5, "url").shape == (5, classes)


@given(st.binary(max_size=200))
def test_any_body_is_read_or_is_none(data):
    assert replies.numbers(data) is None or replies.numbers(data).ndim == 2
    assert replies.error_text(data) is None or replies.error_text(data).isprintable()


GRPC = {
    "large": "(more than 1572864 bytes)",
    "bomb": "(more than 1572864 bytes)",
    "details": r"refused the request (INTERNAL: red \x1b[31m two).",
    "values": "(a value of 7, which is not a probability)",
    "other": "(no rows of numbers)",
}


@pytest.mark.parametrize("answer", GRPC)
def test_answers_over_grpc(head, answer):
    grpc = pytest.importorskip("grpc")
    from privzoo.edge.grpc_messages import DT_FLOAT, _add, messages

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(self.answer)

        def answer(self, request, context):
            response = messages().PredictResponse()
            if answer == "bomb":
                context.set_compression(grpc.Compression.Gzip)
            if answer in ("bomb", "large"):
                return bytes(2_000_000)
            if answer == "details":
                context.abort(grpc.StatusCode.INTERNAL, "red \x1b[31m\n\ntwo")
            if answer == "values":
                entry = messages().PredictRequest()
                _add(entry, "probabilities", DT_FLOAT, np.array([[5, 7], [0, 1]], "<f4"))
                response.outputs.append(entry.inputs[0])
            return response.SerializeToString()

    options = [("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(head, f"grpc://127.0.0.1:{port}", attempts=1) as client, pytest.raises(ServerError) as caught:
            client.predict(chips()[:2], face="given")
    finally:
        server.stop(None)
    assert type(caught.value) is ServerError and GRPC[answer] in str(caught.value)
