"""Malformed requests out of hypothesis: the same ones for the same seed, in any number."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from loadtesting.target import Target
from privzoo.edge.grpc_messages import PREDICT

CHUNK = 1000  # requests that hypothesis is asked for at once: it remembers each of them
_SERVICE = PREDICT.rpartition("/")[0]
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "post", "CONNECT", "GETT", "")
_VERBS = (":predict", ":classify", ":regress", "/metadata", ":PREDICT", ":", "", "/", ":predict/", ":predict:predict")
_CALLS = ("Predict", "Classify", "Regress", "GetModelMetadata", "MultiInference", "Nothing", "")
_JSON = ("instances", "inputs", "examples", "context", "signature_name", "features", "b64", "model", "")
_HEADS = (
    *("content-type", "content-length", "transfer-encoding", "expect", "connection", "upgrade", "host", "accept"),
    *("authorization", "x-api-key", "content-encoding", "te", "trailer", "range", "cookie", "x", "", "a b", "\xe9"),
)
_VALUES = ("chunked", "-1", "0", "99999999999999999999", "1e3", "gzip", "close", "100-continue", "h2c", "websocket")


@dataclass(frozen=True)
class Malformed:
    """One request that is wrong in one way or another; by chance it may be right."""

    kind: str  # "path", "head", "json", "bytes", "raw" over REST; "message", "tensor" over gRPC
    method: str = "POST"  # of HTTP, or path of the gRPC method
    path: bytes = b""
    heads: tuple[tuple[bytes, bytes], ...] = field(default=())
    body: bytes = b""
    raw: bytes | None = None  # everything, where it is not HTTP

    @property
    def grpc(self) -> bool:
        """Whether it goes over gRPC."""
        return self.kind in ("message", "tensor")

    @property
    def framed(self) -> bool:
        """Whether an HTTP server can tell where it ends, so that its connection can be used again."""
        return self.kind in ("path", "json", "bytes")

    @property
    def data(self) -> bytes:
        """What goes over an HTTP connection."""
        if self.raw is not None:
            return self.raw
        heads = self.heads or ((b"host", b"x"), (b"content-length", str(len(self.body)).encode()))
        lines = [self.method.encode() + b" " + self.path + b" HTTP/1.1", *(n + b": " + v for n, v in heads)]
        return b"\r\n".join([*lines, b"", self.body])


def requests(target: Target, count: int, seed: int) -> Iterator[Malformed]:
    """Malformed requests for a tail.

    Args:
        target: the tail; most requests are wrong in one place only, and get far.
        count: of requests.
        seed: the same one gives the same requests.
    """
    from hypothesis import configuration

    strategy = strategies(target)
    left, number = count, 0
    with tempfile.TemporaryDirectory(prefix="privzoo-fuzz-") as folder:
        configuration.set_hypothesis_home_dir(folder)
        while left > 0:
            found = _drawn(strategy, min(CHUNK, max(10, left)), seed * 1_000_003 + number)
            yield from found[:left]
            left, number = left - len(found), number + 1


def _drawn(strategy: Any, count: int, seed: int) -> list[Malformed]:
    """Some requests, about as many as asked for."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    found: list[Malformed] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: Malformed) -> None:
        found.append(one)

    collect()
    return found


def strategies(target: Target) -> Any:
    """Hypothesis's strategy for all kinds."""
    from hypothesis import strategies as st

    right = target.request("rest")
    place = right.path.encode()
    # Enough of a large feature to be wrong in: a hundred thousand of them whole would measure the wire alone.
    body = right.body if len(right.body) < 4096 else right.body[:2048] + b"]}"
    values = st.one_of(st.sampled_from(_VALUES), st.text(max_size=30), st.binary(max_size=30).map(_latin))
    names = st.one_of(st.sampled_from(_HEADS), st.text(max_size=10))
    head = st.tuples(names, values).map(lambda pair: tuple(part.encode("utf-8", "replace") for part in pair))
    segments = st.lists(
        st.one_of(
            st.sampled_from(
                ["v1", "models", target.model, "versions", "labels", "1", "..", "%2e%2e", "%00", "%", "%zz", "", "-1"]
            ),
            st.integers(0, 10**30).map(str),
            st.text(max_size=20),
        ),
        max_size=7,
    )
    odd_path = st.tuples(segments, st.sampled_from(_VERBS)).map(lambda p: ("/" + "/".join(p[0]) + p[1]).encode())
    near_path = st.tuples(
        st.sampled_from([target.model, target.model[:-1], "%41", "a" * 3000, ""]),
        st.sampled_from(["", "/versions/1", "/versions/-1", f"/versions/{10**25}", "/versions/x", "/labels/x"]),
        st.sampled_from(_VERBS),
    ).map(lambda p: f"/v1/models/{''.join(p)}".encode())
    paths = st.one_of(odd_path, near_path).map(_visible)
    bodies = st.one_of(st.just(body), _documents(target), spliced(body), st.binary(max_size=200))
    verbs = st.sampled_from([b":predict", b":predict", b":classify", b":regress"]).map(
        lambda verb: place[: -len(":predict")] + verb
    )
    posts = st.sampled_from([m for m in _METHODS if m])
    whole = Malformed("json", "POST", place, (), body).data
    return st.one_of(
        st.builds(Malformed, st.just("path"), posts, paths, st.just(()), bodies),
        st.builds(Malformed, st.just("json"), st.just("POST"), verbs, st.just(()), _documents(target)),
        st.builds(
            Malformed, st.just("bytes"), st.just("POST"), verbs, st.just(()), st.one_of(spliced(body), st.binary())
        ),
        st.builds(
            Malformed,
            st.just("head"),
            st.sampled_from(_METHODS),
            st.just(place),
            st.lists(head, min_size=1, max_size=4).map(
                lambda heads: ((b"host", b"x"), *heads, (b"content-length", str(len(body)).encode()))
            ),
            st.just(body),
        ),
        st.builds(
            lambda raw: Malformed("raw", raw=raw), st.one_of(spliced(whole), st.binary(max_size=300), _raw_heads(st))
        ),
        st.builds(
            lambda call, body: Malformed("message", call, body=body),
            st.sampled_from([*(f"{_SERVICE}/{c}" for c in _CALLS), "/tensorflow.serving.ModelService/GetModelStatus"]),
            st.one_of(spliced(target.request("grpc").body[:4096]), st.binary(max_size=200)),
        ),
        _tensors(target),
    )


def spliced(right: bytes) -> Any:
    """Right bytes with some cut out, put in or doubled."""
    from hypothesis import strategies as st

    def cut(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = right
        for at, length, put in edits:
            at %= len(data) + 1
            data = data[:at] + put + data[at + length :]
        return data

    edit = st.tuples(st.integers(0, 5000), st.integers(0, 40), st.binary(max_size=12))
    return st.lists(edit, min_size=1, max_size=4).map(cut)


def _documents(target: Target) -> Any:
    """JSON of all forms, many of them nearly a request."""
    from hypothesis import strategies as st

    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**40), 10**40),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["serving_default", target.signature, "tail_000000000000", "=", "AAAA"]),
        st.just({"b64": "AA=="}),
        st.just([[0.0] * 4] * 2),
    )
    keys = st.one_of(st.sampled_from(_JSON), st.text(max_size=8))
    anything = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )
    near = st.fixed_dictionaries(
        {}, optional={name: anything for name in ("instances", "inputs", "examples", "context", "signature_name")}
    )
    deep = st.integers(1, 3000).map(lambda depth: b'{"instances":' + b"[" * depth + b"]" * depth + b"}")
    encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32"])
    text = st.tuples(st.one_of(near, near, anything), encodings)
    return st.one_of(text.map(lambda p: json.dumps(p[0]).encode(p[1], "surrogatepass")), deep)


def _raw_heads(st: Any) -> Any:
    """What is nearly HTTP: lines of all lengths, chunks that lie, two requests in one."""
    chunk = st.sampled_from(
        [b"5\r\nabcde\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n", b"0\r\n\r\n", b"x\r\n", b"5\r\nab"]
    )
    start = b"POST /v1/models/x:predict HTTP/1.1\r\nhost: x\r\n"
    chunks = st.lists(chunk, max_size=4).map(lambda c: start + b"transfer-encoding: chunked\r\n\r\n" + b"".join(c))
    long_line = st.integers(1, 100_000).map(lambda n: b"GET /" + b"a" * n + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    version = st.sampled_from([b"0.9", b"1.0", b"1.1", b"2.0", b"9.9", b"x"])
    versions = version.map(lambda v: b"GET /v1/models HTTP/" + v + b"\r\nhost: x\r\n\r\n")
    twice = st.just(start + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}")
    return st.one_of(chunks, long_line, versions, twice)


def _tensors(target: Target) -> Any:
    """PredictRequests that protobuf can read, around invalid tensors."""
    from hypothesis import strategies as st
    from tensorflow_serving.apis import predict_pb2

    def message(
        model: str, signature: str, version: int, label: str, name: str, outputs: list[str], tensor: tuple[Any, ...]
    ) -> Malformed:
        dtype, dims, floats, content, strings, unknown = tensor
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name, request.model_spec.signature_name = model, signature
        if label:
            request.model_spec.version_label = label
        elif version:
            request.model_spec.version.value = version
        proto = request.inputs[name]
        proto.dtype = dtype
        proto.tensor_shape.unknown_rank = unknown
        for size in dims:
            proto.tensor_shape.dim.add(size=size)
        proto.float_val.extend(floats)
        proto.tensor_content = content
        proto.string_val.extend(strings)
        return Malformed("tensor", PREDICT, body=request.SerializeToString())

    right, size = list(target.feature.shape), 4
    dims = st.one_of(
        st.just(right),
        st.just([0, *right[1:]]),
        st.just([2**31, *right[1:]]),
        st.lists(st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**62])), max_size=8),
        st.just([1] * 300),
    )
    floats = st.one_of(
        st.just([0.5] * min(4096, target.feature.size)),
        st.lists(st.floats(width=32), max_size=8),
        st.just([float("nan")] * size),
    )
    content = st.one_of(st.just(b""), st.just(target.feature.tobytes()[:4096]), st.binary(max_size=40))
    tensor = st.tuples(
        st.one_of(st.just(1), st.integers(0, 30), st.integers(100, 130), st.integers(-5, 2**31 - 1)),
        *(dims, floats, content, st.lists(st.binary(max_size=9), max_size=3), st.sampled_from([False] * 5 + [True])),
    )
    text = st.text(st.characters(codec="utf-8"), max_size=12)
    models = st.one_of(st.just(target.model), st.just(target.model), text)
    signatures = st.one_of(st.sampled_from(["", "serving_default", target.signature, "tail_000000000000"]), text)
    outputs = st.lists(st.one_of(st.just("probabilities"), text), max_size=3)
    inputs = st.one_of(st.just("features"), st.just("features"), text)
    versions = st.one_of(st.just(0), st.just(0), st.integers(-(2**63), 2**63 - 1))
    labels = st.one_of(st.just(""), st.just(""), st.just(""), text)
    return st.builds(message, models, signatures, versions, labels, inputs, outputs, tensor)


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _visible(path: bytes) -> bytes:
    """A path without the spaces and line ends that would end it."""
    return b"".join(bytes([byte]) if byte > 32 and byte != 127 else b"%%%02x" % byte for byte in path) or b"/"
