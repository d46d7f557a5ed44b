"""The server's REST interface over a real socket: what it refuses, and that it stands whatever comes."""

from __future__ import annotations

import socket

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from serving_helpers import LIMIT, features, predict, refusal
from serving_models import TAIL

pytestmark = pytest.mark.server

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("POST", "/v1/models", 400, "Malformed request: POST /v1/models"),
        ("GET", "/v1/models/half:predict", 400, "Malformed request: GET /v1/models/half:predict"),
        ("POST", "/v1/models/half", 400, "Malformed request: POST /v1/models/half"),
        ("POST", "/v1/models/half/version/50:predict", 400, "Malformed request"),
        ("POST", "/v1/models/half/versions/HELLO:predict", 400, "Malformed request"),
        ("POST", f"/v1/models/half/versions/{2**64 - 1}:predict", 400, "Failed to convert version: 1844674407370955"),
        ("GET", f"/v1/models/half/versions/{'9' * 5000}", 400, "Failed to convert version: 99999"),
        ("GET", "/v1/models/half/labels/old", 400, "Unrecognized servable version label: old"),
        ("GET", "/v1/models/none/labels/stable", 400, "Unrecognized servable version label: stable"),
        ("POST", "/v1/models/half/labels/old:predict", 400, "Unrecognized servable version label: old"),
        ("POST", "/v1/models/half/labels/gone:predict", 404, "Servable not found for request: Specific(half, 7)"),
        ("GET", "/v1/models/half/labels/gone", 404, "Could not find version 7 of model half"),
        ("POST", "/v1/models/half/versions/1/labels/stable:predict", 400, "Malformed request"),
        ("PUT", "/v1/models/half", 400, "Malformed request: PUT /v1/models/half"),
        ("DELETE", "/v1/models/half", 400, "Malformed request"),
        ("GET", "/v1/models/half/", 400, "Malformed request"),
        ("GET", "/v1/models/%2e%2e%2fhalf", 404, "Could not find any versions of model ../half"),
        ("GET", "/v1/models/%ff%00", 404, "Could not find any versions of model"),
        ("GET", "/", 404, "There is nothing at /"),
        ("GET", "/statuspage", 404, "There is nothing at /statuspage"),
        ("POST", "/docs", 404, "There is nothing at /docs"),
    ],
)
def test_paths_that_lead_nowhere(http, method, path, status, words):
    assert words in refusal(http.request(method, path, content=b'{"instances": [1]}'), status)


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("half", b"", "JSON Parse error: The document is empty"),
        ("half", b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        ("none", b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        ("half", {"signature_name": 100, "inputs": [1]}, "'signature_name' key must be a string value"),
        ("half", {"signature_name": "x", "inputs": [1]}, 'Serving signature name: "x" not found in signature def'),
        ("half", {"signature_name": TAIL, "inputs": [1]}, f'Serving signature name: "{TAIL}" not found'),
        ("half", {"signature_name": "__saved_model_init_op", "inputs": [1]}, "Failed to get input map for signature"),
        ("half", {"instances": [[1], 2]}, "Failed to process element: 1 of 'instances' list."),
        ("dense", {"instances": [[1, 2, 3]]}, "shapes x [1,3]: Matrix size-incompatible: In[0]: [1,3], In[1]: [4,1]"),
        ("dense", {"instances": [1, 2, 3]}, 'The signature "serving_default" cannot be run on inputs'),
        (
            "several",
            {"inputs": {"a": [[1, 2]] * 2, "n": [1, 2, 3], "tag": []}},
            "cannot be run on inputs of the shapes",
        ),
    ],
)
def test_bodies_that_cannot_be_answered(http, model, body, words):
    assert words in refusal(predict(http, model, body))


def test_a_head_of_another_tail_is_told_so(http):
    other = "tail_ffffffffffff"
    sentence = refusal(predict(http, "tail", {"signature_name": other, "instances": features(1)}))
    assert "This head does not belong to this tail" in sentence
    assert other in sentence and TAIL in sentence and "tail" in sentence


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": []}, "No values in 'instances' array"),
        ({"inputs": []}, "no features in it"),
        ({"inputs": {"features": []}}, "no features in it"),
        ({"inputs": 1.0}, "The features have the shape [], and the tail takes [-1,2,2,3]"),
        ({"instances": [1.0]}, "The features have the shape [1], and the tail takes [-1,2,2,3]"),
        ({"inputs": features()}, "The features have the shape [2,2,3], and the tail takes [-1,2,2,3]"),
        ({"instances": features(1, 1)}, "The features have the shape [1,1,2,2,3]"),
        ({"instances": [[0.0] * 12]}, "The features have the shape [1,12]"),
        ({"instances": [[[[float("nan")] * 3] * 2] * 2]}, "12 of the 12 numbers in the features are not finite"),
        ({"inputs": [[[[1, 2, float("-inf")]] * 2] * 2]}, "4 of the 12 numbers in the features are not finite"),
        ({"instances": [[[[1e39] * 3] * 2] * 2]}, "without loss of precision"),
        ({"instances": [[[["1"] * 3] * 2] * 2]}, "is not of expected type: float"),
        ({"instances": [[[[True] * 3] * 2] * 2]}, "is not of expected type: float"),
        ({"instances": [[[[None] * 3] * 2] * 2]}, "is not of expected type: float"),
        ({"instances": [[[[1] * 3] * 2] * 2, 1]}, "Failed to process element: 1"),
        ({"instances": [{"feature": [1]}]}, "does not have named input: feature"),
    ],
)
def test_a_tail_refuses_features_that_cannot_be(http, body, words):
    for name in ("serving_default", TAIL):
        assert words in refusal(predict(http, "tail", {"signature_name": name, **body}))


def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(http):
    big = b'{"instances": [' + b"1," * LIMIT + b"1]}"
    assert f"limit of {LIMIT} bytes" in refusal(predict(http, "half", big), 413)
    chunked = http.post("/v1/models/half:predict", content=iter([big[:LIMIT], big[LIMIT:]]))
    assert f"limit of {LIMIT} bytes" in refusal(chunked, 413)
    fits = b'{"instances": [1]' + b" " * (LIMIT - 18) + b"}"
    assert len(fits) == LIMIT and predict(http, "half", fits).status_code == 200


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars | st.fixed_dictionaries({"b64": st.text("AQgw=", max_size=4)}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xnatfeatures"), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from(["serving_default", TAIL, "tail_ffffffffffff", "", "__saved_model_init_op"]) | scalars
bodies = st.dictionaries(st.sampled_from(["instances", "inputs"]), values, max_size=2) | st.fixed_dictionaries(
    {"signature_name": names, "instances": st.lists(values, max_size=3)}
)
some_models = st.sampled_from(
    ["half", "several", "tail", "dense", "same_string", "same_int8", "scalar", "ragged", "no"]
)


@given(some_models, bodies)
@example("dense", {"instances": [[[1, 2, 3, 4]]]})
@example("same_string", {"inputs": {"b64": "\ud800"}})
@BOUNDED
def test_any_json_gets_an_answer_or_a_sentence(http, model, body):
    response = predict(http, model, body)
    assert response.status_code in (200, 400, 404, 501)
    if response.status_code != 200:
        assert refusal(response, response.status_code)


@given(some_models, st.binary(max_size=200) | st.text('{}[]":,0123456789.eE+-naNInfity \\u', max_size=60))
@BOUNDED
def test_any_bytes_get_an_answer_or_a_sentence(http, model, body):
    response = predict(http, model, body if isinstance(body, bytes) else body.encode())
    assert response.status_code in (400, 404)
    assert refusal(response, response.status_code)


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE", "FROB"]),
    st.lists(
        st.sampled_from(["v1", "models", "half", "versions", "1", "labels", ":predict", "metadata", "%", "é", ".."])
    ),
)
@BOUNDED
def test_any_path_gets_an_answer_or_a_sentence(http, method, parts):
    response = http.request(method, "/" + "/".join(parts).replace("/:", ":"), content=b"{}")
    assert response.status_code in (200, 400, 404, 501)
    if response.status_code != 200 and method != "HEAD":
        assert refusal(response, response.status_code)


def test_requests_that_are_no_http_leave_the_server_standing(http):
    for data in (b"\x00\xff\n\n", b"GET /v1 HTTP/9\r\n\r\n", b"POST /v1/models/half:predict HTTP/1.1\r\n"):
        with socket.create_connection((http.base_url.host, http.base_url.port)) as connection:
            connection.sendall(data)
    half = b"POST /v1/models/half:predict HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{"
    with socket.create_connection((http.base_url.host, http.base_url.port)) as connection:
        connection.sendall(half)
    assert http.get("/v1/models/half").status_code == 200
