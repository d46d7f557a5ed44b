"""Classify and regress over REST, in TF Serving's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_helpers import predict, refusal

pytestmark = pytest.mark.server

ONE, TWO = {"x": [0.5, 2.0]}, {"x": [-1.0, 0.25], "bias": 1.0}


def ask(http, verb, body, name=None):
    return predict(http, "examples", body if name is None else {"signature_name": name, **body}, verb=verb)


def test_classes_and_scores(http):
    answer = ask(http, "classify", {"examples": [ONE, TWO]})
    assert answer.json() == {"result": [[["low", 0.5], ["high", 2.0]], [["low", 0.0], ["high", 1.25]]]}
    scores = ask(http, "classify", {"examples": [ONE]}, "only_scores").json()
    assert scores == {"result": [[["", 0.5], ["", 2.0]]]}
    classes = ask(http, "classify", {"examples": [ONE]}, "only_classes").json()
    assert classes == {"result": [[["low", 0.0], ["high", 0.0]]]}


def test_numbers(http):
    for name in ("regress", "regress_column"):
        assert ask(http, "regress", {"examples": [ONE, TWO]}, name).json() == {"result": [2.5, 1.25]}


def test_a_context_is_part_of_every_example_and_gives_way_to_it(http):
    body = {"context": {"bias": 10.0}, "examples": [ONE, TWO]}
    assert ask(http, "regress", body, "regress").json() == {"result": [22.5, 1.25]}


def test_numbers_without_end_are_written_as_tf_serving_does(http):
    answer = ask(
        http, "regress", b'{"signature_name": "regress", "examples": [{"x": [NaN, 1.0]}, {"x": [1.0, -Infinity]}]}'
    )
    assert answer.text == '{"result": [NaN, -Infinity]}'
    answer = ask(http, "classify", b'{"examples": [{"x": [NaN, 0.1]}]}')
    assert answer.text == '{"result": [[["low", NaN], ["high", 0.1]]]}'


def test_versions_of_the_path(http):
    assert predict(http, "examples", {"examples": [ONE]}, "/versions/1", "classify").status_code == 200
    missing = predict(http, "examples", {"examples": [ONE]}, "/versions/2", "classify")
    assert refusal(missing, 404) == "Servable not found for request: Specific(examples, 2)"
    assert predict(http, "examples", {"examples": [ONE]}, verb="CLASSIFY").status_code == 200


@pytest.mark.parametrize(
    ("verb", "name", "words"),
    [
        ("classify", "none", "No signature was found with the name: none"),
        (
            "classify",
            "predict",
            "Expected classification signature method_name to be tensorflow/serving/classify. Was: ",
        ),
        ("regress", "predict", "Expected regression signature method_name to be tensorflow/serving/regress. Was: "),
        ("regress", None, "Was: tensorflow/serving/classify"),
        ("classify", "two_inputs", "Expected one input Tensor."),
        ("regress", "regress_two_inputs", "Expected one input Tensor."),
        ("classify", "other_input", "No classification inputs found in SignatureDef"),
        ("regress", "regress_other_input", "No regression inputs found in SignatureDef"),
        ("classify", "three_outputs", "Expected one or two output Tensors, found 3"),
        ("regress", "regress_two_outputs", "Expected one output Tensor."),
        ("classify", "other_output", 'at least one of "classes" or "scores"'),
        ("regress", "regress_other_output", "No regression outputs found in SignatureDef"),
        ("classify", "flat_scores", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify", "double_scores", "Expected scores Tensor of DT_FLOAT. Got: float64"),
        ("classify", "number_classes", "Expected classes Tensor of DT_STRING. Got: float32"),
        ("classify", "one_score", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
        ("classify", "first_scores", "Expected scores output batch size of 2. Got: 1"),
        ("regress", "regress_matrix", "to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("regress", "regress_first", "Input batch size did not match output batch size: 2 vs. 1"),
        ("regress", "regress_double", "Expected output Tensor of DT_FLOAT. Got: float64"),
    ],
)
def test_signatures_for_something_else(http, verb, name, words):
    assert words in refusal(ask(http, verb, {"examples": [ONE, TWO]}, name))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: The document is empty"),
        ([1], "Is not object"),
        ({}, "key 'examples' is expected and was not found"),
        ({"signature_name": 1, "examples": [ONE]}, "'signature_name' key must be a string value"),
        ({"examples": ONE}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [[ONE]]}, "Example must be JSON object but got JSON Array"),
        ({"context": [1], "examples": [ONE]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0], 2.0]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"y": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [1.0, 2]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, 2.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": ["a", 2.0]}]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": [2**63]}]}, "has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": [1e39, 0.0]}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"examples": [{"x": {"b64": "A"}}]}, "Unable to base64 decode"),
        ({"examples": [{}]}, "cannot be run on inputs"),
        ({"examples": [{"x": [1.0]}]}, "cannot be run on inputs"),
        ({"examples": [{"x": [1, 2]}]}, "cannot be run on inputs"),
        ({"examples": [{"x": [{"b64": "AA=="}, "b"], "y": True}]}, "cannot be run on inputs"),
    ],
)
def test_bodies_that_cannot_be_answered(http, body, words):
    sentence = refusal(ask(http, "classify", body))
    assert words in sentence


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64", "é"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"examples": values}, optional={"context": values, "signature_name": values}))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_gets_an_answer_or_a_sentence(http, body):
    for verb in ("classify", "regress"):
        response = ask(http, verb, json.dumps(body).encode())
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            assert refusal(response)
