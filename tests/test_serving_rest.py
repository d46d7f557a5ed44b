"""The server's REST interface over a real socket, on real SavedModels."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from serving_models import FEATURE, TAIL, TYPES, build

from privzoo.errors import ConfigError, WeightsError
from privzoo.serving.models import find_versions, load_versions, read_tail

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
LIMIT = 200_000  # bytes of a body
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    pytest.importorskip("tensorflow")
    return build(tmp_path_factory.getbasetemp() / "served")


@pytest.fixture(scope="session")
def models(folder):
    from privzoo.serving import Models

    loaded = [s for p in sorted(folder.iterdir()) for s in load_versions(p.name, p, "all")]
    models = Models(loaded)
    yield models
    models.close()


@pytest.fixture(scope="session")
def http(models):
    import uvicorn

    from privzoo.serving import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(models, threads=4, max_body_bytes=LIMIT)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def predict(http, model, body, place=""):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/v1/models/{model}{place}:predict", content=content)


def refusal(response, status=400):
    """The sentence of an answer that refuses a request."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = json.loads(response.content)
    assert list(document) == ["error"]
    sentence = document["error"]
    for trace in ("\n", "Traceback", "{{", "[[", "node "):
        assert trace not in sentence
    return sentence


def features(*batch):
    return np.linspace(0, 1, int(np.prod([*batch, *FEATURE]))).reshape(*batch, *FEATURE).tolist()


def test_the_example_of_tf_servings_documentation(http):
    answer = predict(http, "half_plus_three", {"instances": [1.0, 2.0, 5.0]})
    assert answer.json() == {"predictions": [3.5, 4.0, 5.5]}
    assert answer.headers["content-type"] == "application/json"
    status = http.get("/v1/models/half_plus_three").json()
    ok = {"error_code": "OK", "error_message": ""}
    assert status == {"model_version_status": [{"version": "123", "state": "AVAILABLE", "status": ok}]}
    unknown = predict(http, "half", {"instances": [1.0, 5.0]}, "/versions/7")
    assert refusal(unknown, 404) == "Servable not found for request: Specific(half, 7)"


def test_rows_columns_versions_and_signature_names(http):
    assert predict(http, "half", {"instances": [1, 3.0]}).json() == {"predictions": [10.5, 11.5]}
    assert predict(http, "half", {"inputs": [1, 3.0]}).json() == {"outputs": [10.5, 11.5]}
    assert predict(http, "half", {"inputs": {"x": [1]}}, "/versions/2").json() == {"outputs": [2.5]}
    body = {"signature_name": "serving_default", "instances": [{"x": 1}]}
    assert predict(http, "half", body, "/versions/0001").json() == {"predictions": [1.5]}


def test_several_inputs_and_outputs_with_strings(http):
    rows = [{"a": [1, 2], "n": 3, "tag": "x"}, {"a": [0.5, 0], "n": 4, "tag": {"b64": "YWI="}}]
    answer = predict(http, "several", {"instances": rows}).json()["predictions"]
    assert answer == [
        {"total": 6.0, "odd": True, "tag": "X", "tag_bytes": {"b64": "eP8="}},
        {"total": 4.5, "odd": False, "tag": "AB", "tag_bytes": {"b64": "YWL/"}},
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    column = predict(http, "several", {"inputs": columns}).json()["outputs"]
    assert column == {name: [row[name] for row in answer] for name in answer[0]}


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_comes_back_as_it_was(http, dtype):
    if dtype == "string":
        values = ["é", ""]
    elif dtype == "bool":
        values = [True, False]
    elif dtype.startswith("float"):
        values = [0.1, -3.0]
    else:
        values = [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
    assert predict(http, f"same_{dtype}", {"inputs": values}).json() == {"outputs": values}
    assert predict(http, f"same_{dtype}", {"inputs": [[values]]}).json() == {"outputs": [[values]]}
    assert predict(http, f"same_{dtype}", {"instances": values}).json() == {"predictions": values}
    assert predict(http, f"same_{dtype}", {"inputs": values[0]}).json() == {"outputs": values[0]}


def test_a_plain_savedmodel_takes_and_gives_nan_as_tf_serving_does(http):
    answer = predict(http, "half", b'{"instances": [NaN, Infinity, -Infinity, 1]}', "/versions/1")
    assert answer.text == '{"predictions": [NaN, Infinity, -Infinity, 1.5]}'


def test_outputs_without_a_row_format(http):
    assert predict(http, "ragged", {"inputs": [1, 2]}).json() == {"outputs": {"one": [1.0, 2.0], "two": [1.0]}}
    assert "inconsistent batch size: 1 expecting: 2" in refusal(predict(http, "ragged", {"instances": [1, 2]}))
    assert predict(http, "scalar", {"inputs": 4}).json() == {"outputs": 8.0}
    assert predict(http, "half", {"inputs": []}).json() == {"outputs": []}
    assert "Failed to write JSON value" in refusal(predict(http, "complex", {"inputs": [1]}))
    assert "to type: half" in refusal(predict(http, "halves", {"inputs": [1]}), 501)


def test_status_of_all_and_of_one_version(http):
    versions = [s["version"] for s in http.get("/v1/models/half").json()["model_version_status"]]
    assert versions == ["1", "2", "10"]
    (status,) = http.get("/v1/models/half/versions/2").json()["model_version_status"]
    assert (status["version"], status["state"]) == ("2", "AVAILABLE")
    assert refusal(http.get("/v1/models/none"), 404) == "Could not find any versions of model none"
    assert refusal(http.get("/v1/models/half/versions/3"), 404) == "Could not find version 3 of model half"


def test_metadata_is_the_signature_def_in_protobufs_json(http):
    document = http.get("/v1/models/several/metadata").json()
    assert document["model_spec"] == {"name": "several", "signature_name": "", "version": "1"}
    definition = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}
    assert definition["inputs"]["a"]["dtype"] == "DT_FLOAT" and definition["inputs"]["a"]["tensor_shape"] == shape
    assert set(definition["outputs"]) == {"total", "odd", "tag", "tag_bytes"}
    assert http.get("/v1/models/half/versions/2/metadata").json()["model_spec"]["version"] == "2"
    missing = refusal(http.get("/v1/models/half/versions/3/metadata"), 404)
    assert missing == "Servable not found for request: Specific(half, 3)"
    both = http.get("/v1/models/tail/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", TAIL} <= set(both)


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
        ("GET", "/v1/models/half/labels/stable", 400, "Unrecognized servable version label: stable"),
        ("POST", "/v1/models/half:classify", 501, "This server does not classify"),
        ("POST", "/v1/models/half/versions/1:regress", 501, "This server does not regress"),
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


def test_paths_may_be_in_capitals_and_have_queries(http):
    assert http.get("/V1/Models/half").status_code == 200
    assert http.get("/v1/models/half?pretty=1").status_code == 200
    assert http.get("/v1/models/h%61lf").status_code == 200
    assert http.post("/v1/models/half:PREDICT", content=b'{"instances": [1]}').json() == {"predictions": [10.5]}


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


def test_a_tail_answers_under_both_its_signatures(http):
    plain = predict(http, "tail", {"instances": features(2)}).json()["predictions"]
    named = predict(http, "tail", {"signature_name": TAIL, "instances": features(2)}, "/versions/3")
    assert named.json()["predictions"] == plain
    np.testing.assert_allclose(np.sum(plain, axis=1), 1, rtol=1e-6)


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


def test_the_status_answers_while_a_request_runs(http):
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(predict, http, "slow", {"instances": [300_000]})
        answered = 0
        while not slow.done():
            start = time.monotonic()
            assert http.get("/v1/models/slow").status_code == 200
            assert time.monotonic() - start < 5
            answered += 1
        assert slow.result().json() == {"predictions": [300_000]}
    assert answered > 1


def test_requests_in_parallel_get_their_own_answers(http):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: predict(http, "half", {"instances": [i] * (i % 5 + 1)}).json(), range(100)))
    assert answers == [{"predictions": [i / 2 + 10] * (i % 5 + 1)} for i in range(100)]


def test_a_failure_inside_logs_its_place_and_no_feature(http, models, monkeypatch, caplog):
    def fail(signature, inputs):
        raise ValueError(f"the feature was {inputs['x']}")

    monkeypatch.setattr(models.find("half").model, "run", fail)
    with caplog.at_level(logging.DEBUG):
        sentence = refusal(predict(http, "half", {"instances": [0.123456789]}), 500)
    assert "0.1234" not in caplog.text + sentence
    assert "ValueError while answering a request" in caplog.text and "models.py" in caplog.text


def test_nothing_of_a_request_is_logged(http, caplog, capfd):
    with caplog.at_level(logging.INFO):
        predict(http, "tail", {"instances": [[[[0.123456789] * 3] * 2] * 2]})
        predict(http, "tail", {"instances": [0.123456789]})
        predict(http, "dense", {"instances": [[0.123456789]]})
        predict(http, "half", b'{"instances": [0.123456789')
    output = capfd.readouterr()
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert "0.1234" not in "".join(ours) + output.out + output.err


def test_the_openapi_page_lists_what_the_server_answers(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        f"/v1/models/{{name}}{place}{verb}"
        for place in ("", "/versions/{version}")
        for verb in ("", ":predict", "/metadata")
    }


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


def test_the_application_answers_without_a_socket(models):
    """As another server, such as Ray Serve, runs it."""
    from privzoo.serving import create_app

    async def ask():
        transport = httpx.ASGITransport(create_app(models))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.post("/v1/models/half:predict", json={"instances": [1]})

    assert asyncio.run(ask()).json() == {"predictions": [10.5]}


def test_versions_to_load(folder):
    assert [s.version for s in load_versions("half", folder / "half")] == [10]
    assert [s.version for s in load_versions("half", folder / "half", [2, 1])] == [1, 2]
    with pytest.raises(ConfigError, match="has no version 3; it has 1, 2, 10"):
        load_versions("half", folder / "half", [3])
    with pytest.raises(ConfigError, match="name 'a/b' cannot be"):
        load_versions("a/b", folder / "half")


def test_folders_that_are_no_models(folder, tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        find_versions(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no version of a model"):
        find_versions(tmp_path)
    with pytest.raises(ConfigError, match="give the folder above"):
        find_versions(folder / "half" / "1")
    (tmp_path / "1").mkdir()
    with pytest.raises(ConfigError, match="1 has no saved_model.pb in it"):
        load_versions("x", tmp_path)
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x08\x01not a model")
    with pytest.raises(WeightsError, match="cannot be loaded as a SavedModel") as damaged:
        load_versions("x", tmp_path)
    assert "\n" not in str(damaged.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"feature": {"name": "f", "shape": [null]}, "tail": 1}', "\xff"])
def test_damaged_manifests_are_refused(tmp_path, text):
    assert read_tail(tmp_path) is None
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "privzoo.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="is damaged"):
        read_tail(tmp_path)


def test_importing_the_package_imports_no_tensorflow_and_no_web_server():
    code = "import sys, privzoo.serving; print({'tensorflow', 'keras', 'fastapi', 'uvicorn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
