"""The server's REST interface over a real socket, on real SavedModels: what it answers."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving_helpers import features, predict, refusal
from serving_models import TAIL, TYPES

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")


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


def test_paths_may_be_in_capitals_and_have_queries(http):
    assert http.get("/V1/Models/half").status_code == 200
    assert http.get("/v1/models/half?pretty=1").status_code == 200
    assert http.get("/v1/models/h%61lf").status_code == 200
    assert http.post("/v1/models/half:PREDICT", content=b'{"instances": [1]}').json() == {"predictions": [10.5]}


def test_a_tail_answers_under_both_its_signatures(http):
    plain = predict(http, "tail", {"instances": features(2)}).json()["predictions"]
    named = predict(http, "tail", {"signature_name": TAIL, "instances": features(2)}, "/versions/3")
    assert named.json()["predictions"] == plain
    np.testing.assert_allclose(np.sum(plain, axis=1), 1, rtol=1e-6)


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
    assert "ValueError while answering a request" in caplog.text and "service.py" in caplog.text


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
        for place in ("", "/versions/{version}", "/labels/{label}")
        for verb in ("", ":predict", ":classify", ":regress", "/metadata")
    }
    for path, methods in paths.items():
        ((method, entry),) = methods.items()
        assert method == ("post" if ":" in path else "get") and entry["summary"] and "200" in entry["responses"]
        assert {f"{{{parameter['name']}}}" for parameter in entry["parameters"]} == set(re.findall(r"{\w+}", path))


def test_the_application_answers_without_a_socket(models):
    """As another server, such as Ray Serve, runs it."""
    from privzoo.serving import create_app

    async def ask():
        transport = httpx.ASGITransport(create_app(models))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.post("/v1/models/half:predict", json={"instances": [1]})

    assert asyncio.run(ask()).json() == {"predictions": [10.5]}


def test_labels_stand_for_versions(http):
    assert predict(http, "half", {"instances": [1]}, "/labels/stable").json() == {"predictions": [2.5]}
    assert predict(http, "half", {"instances": [1]}, "/labels/a%20b").json() == {"predictions": [1.5]}
    (status,) = http.get("/v1/models/half/labels/canary").json()["model_version_status"]
    assert status["version"] == "10"
    assert http.get("/v1/models/half/labels/stable/metadata").json()["model_spec"]["version"] == "2"
