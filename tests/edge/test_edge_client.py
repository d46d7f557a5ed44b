"""The client against a real HTTP server that runs the real tail."""

from __future__ import annotations

import json
import socket
import sys

import numpy as np
import pytest
from export_fakes import CLASSES, NAME, SIZE, chips, exported, pair, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from privzoo.edge import Client, Head, client, rest
from privzoo.edge.access import Access, Target
from privzoo.edge.retry import Patience
from privzoo.errors import (
    ConfigError,
    FaceNotFoundError,
    FeatureError,
    FeatureRefusedError,
    ImageError,
    MismatchError,
    MissingExtraError,
    ServerError,
    ServerUnavailableError,
)

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(exported("float32"))


@pytest.fixture(scope="module")
def server():
    with serving() as (url, handler):
        yield url, handler


def refusing(status: int, body: bytes):
    return serving((status, body))


def test_answers_are_those_of_the_whole_network(head, server):
    url, handler = server
    _, _, network = pair()
    expected = np.asarray(network(chips().astype(np.float32)))
    handler.bodies.clear()
    with Client(head, url) as asking:
        answers = asking.predict(chips(), face="given")
    assert len(answers) == len(chips())
    for answer, row in zip(answers, expected, strict=True):
        assert list(answer.probabilities) == list(CLASSES)
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-5)
        assert answer.label == CLASSES[row.argmax()]
        assert answer.edge_ms > 0 and answer.cloud_ms > 0
        assert answer.face.size == SIZE
    assert [a.image for a in answers[:2]] == ["image 0", "image 1"]
    assert sum(a.bytes_sent for a in answers) == sum(map(len, handler.bodies))


def test_features_alone_go_over_the_wire(head, server):
    url, handler = server
    handler.bodies.clear()
    with Client(head, url) as asking:
        asking.predict(chips()[:1], face="given")
    sent = json.loads(handler.bodies[0])
    assert set(sent) == {"signature_name", "instances"}
    assert sent["signature_name"] == head.manifest["tail"]["signature"]
    assert np.array_equal(np.asarray(sent["instances"], np.float32), head.features(chips()[:1]))


def test_a_photograph(head, server, astronaut):
    url, _ = server
    with Client(head, url, timeout=60) as asking:
        [answer] = asking.predict(astronaut)
        assert answer.face == head.detect(astronaut)[0]
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        with pytest.raises(FaceNotFoundError):
            asking.predict(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(ImageError):
            asking.predict("no/such/photograph.jpg")


def test_many_faces_go_in_several_requests_over_one_connection(head, server, monkeypatch):
    url, handler = server
    with Client(head, url) as asking:
        at_once = asking.predict(chips(), face="given")
        handler.bodies.clear()
        handler.connections.clear()
        monkeypatch.setattr(client, "BATCH", 5)
        in_parts = asking.predict(chips(), face="given")
    assert [len(json.loads(body)["instances"]) for body in handler.bodies] == [5, 5, 5, 1]
    assert len(handler.connections) == 1
    assert sum(a.bytes_sent for a in in_parts) == sum(map(len, handler.bodies))
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_version_and_name(head, server):
    url, _ = server
    with Client(head, url + "/", version=3) as asking:
        assert asking.predict(chips()[:1], face="given")
    with Client(head, url, version=4) as asking, pytest.raises(MismatchError, match="no model .* version 4"):
        asking.predict(chips()[:1], face="given")
    with Client(head, url, model_name="other") as asking, pytest.raises(MismatchError, match="no model 'other'"):
        asking.predict(chips()[:1], face="given")


def test_a_tail_of_another_head_is_refused(head, server, tmp_path):
    """The server's tail has other weights than the one this head's manifest names."""
    import keras
    from export_fakes import manifest_of

    from privzoo.export import tflite

    url, _ = server
    keras_head, tail, _ = pair()
    retrained = keras.models.clone_model(tail)
    path = tmp_path / "other.tflite"
    tflite.export_head(keras_head, path, "float32", manifest_of(keras_head, retrained), chips())
    with Client(Head(path), url) as asking, pytest.raises(MismatchError, match="not the tail of this head"):
        asking.predict(chips()[:1], face="given")


def test_server_down(head):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(head, url) as asking, pytest.raises(ServerUnavailableError, match=url):
        asking.predict(chips()[:1], face="given")


def test_server_that_goes_away_and_comes_back(head):
    with serving() as (url, _):
        asking = Client(head, url, timeout=60)
        before = asking.predict(chips()[:2], face="given")
    with pytest.raises(ServerUnavailableError):
        asking.predict(chips()[:2], face="given")
    with serving(port=int(url.rsplit(":", 1)[1])):
        after = asking.predict(chips()[:2], face="given")
    asking.close()
    assert [a.probabilities for a in after] == [a.probabilities for a in before]


def test_server_that_never_answers(head):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(head, url, timeout=0.2) as asking, pytest.raises(ServerUnavailableError, match="within 0.2 s"):
            asking.predict(chips()[:1], face="given")


@pytest.mark.parametrize(
    ("status", "body", "error", "sentence"),
    [
        (503, b'{"error": "loading"}', ServerUnavailableError, "cannot answer now .*loading"),
        (502, b"<html>", ServerUnavailableError, "cannot answer now"),
        (400, b'{"error": "Tensor features: wrong shape"}', FeatureRefusedError, "wrong shape"),
        (500, b'{"error": "out of memory"}', ServerError, "out of memory"),
        (401, b'{"error": "no key"}', ServerError, "no key"),
        (404, b"<html>not found</html>", ServerError, "REST interface"),
        (302, b"", ServerError, "302"),
        (200, b"<html>", ServerError, "1 x 2 probabilities"),
        (200, b"[]", ServerError, "1 x 2 probabilities"),
        (200, b'{"predictions": [[0.1, 0.2, 0.7]]}', ServerError, "1 x 2 probabilities"),
        (200, b'{"predictions": [[0.5, 0.5], [0.5, 0.5]]}', ServerError, "1 x 2 probabilities"),
        (200, b'{"predictions": [[null, 1]]}', ServerError, "1 x 2 probabilities"),
        (200, b'{"predictions": [["a", "b"]]}', ServerError, "1 x 2 probabilities"),
        (200, b'{"predictions": [{"probabilities": [1, 0]}]}', ServerError, "1 x 2 probabilities"),
    ],
)
def test_answers_that_are_none(head, status, body, error, sentence):
    with refusing(status, body) as (url, _), Client(head, url) as asking:
        with pytest.raises(ServerError, match=sentence) as caught:
            asking.predict(chips()[:1], face="given")
    assert type(caught.value) is error


@pytest.mark.parametrize("url", ["cloud:8501", "ftp://cloud", "http://", "", None, "http://[::1"])
def test_addresses_that_cannot_be(head, url):
    with pytest.raises(ConfigError, match="http://cloud:8501"):
        Client(head, url)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": "1"},
        {"version": -1},
        {"version": "1"},
        {"model_name": ""},
        {"attempts": 0},
        {"deadline": -1},
    ],
)
def test_options_that_cannot_be(head, options):
    [name] = options
    with pytest.raises(ConfigError, match=name):
        Client(head, "http://cloud:8501", **options)


def test_a_name_cannot_leave_its_place_in_the_path(head, server):
    url, _ = server
    name = f"x/../{NAME}"
    with Client(head, url, model_name=name) as asking, pytest.raises(MismatchError):
        asking.predict(chips()[:1], face="given")


def test_a_feature_that_is_not_finite_is_never_sent(head, server):
    url, handler = server
    handler.bodies.clear()
    wire = rest.Rest(url, Target(NAME, None, "s", "features", 2), Patience(), Access())
    with pytest.raises(FeatureError, match="not sent"):
        wire.predict(np.full((1, 4), np.nan, np.float32))
    assert not handler.bodies


@pytest.mark.parametrize("package", ["httpx", "orjson"])
def test_missing_packages(head, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="pip install httpx orjson"):
        Client(head, "http://cloud:8501")


@settings(max_examples=200)
@given(
    stn.arrays(
        np.float32,
        stn.array_shapes(min_dims=2, max_dims=4, max_side=4),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_the_wire_keeps_every_float32(features):
    body = json.loads(rest.encode(features, "tail_0"))
    assert np.array_equal(np.asarray(body["instances"], np.float32), features)


def test_the_wire_is_short():
    assert rest.encode(np.array([[0.1, 0.2]], np.float32), "s") == b'{"signature_name":"s","instances":[[0.1,0.2]]}'
