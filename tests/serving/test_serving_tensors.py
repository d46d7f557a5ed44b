"""JSON to tensors and back, without TensorFlow and without a server."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privzoo.serving.wire import predict_json
from privzoo.serving.wire.refusal import CODES, HTTP_STATUS, Refusal
from privzoo.serving.wire.tensors import Signature, TensorSpec, show, to_array

ONE = Signature("serving_default", {"x": TensorSpec("x:0", "float", (-1, 2))}, {})
TWO = Signature("two", {"a": TensorSpec("a:0", "float", None), "b": TensorSpec("b:0", "string", None)}, {})


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "?"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=3),
    )
)
@example(np.float32([3.4028235e38, -3.4028235e38]))
def test_arrays_survive_json_both_ways(array):
    names = {"f4": "float", "f8": "double", "b1": "bool"}
    dtype = names.get(array.dtype.str[1:], array.dtype.name)
    text = predict_json.answer({"y": array}, row=False)
    back = to_array(predict_json.parse(text)["outputs"], dtype)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_floats_are_written_with_the_fewest_digits():
    out = {"y": np.array([0.1, 3, 1e-7], np.float32)}
    assert predict_json.answer(out, row=True) == b'{"predictions":[0.1,3.0,1e-7]}'
    with_nan = {"y": np.array([[0.1, np.nan], [-np.inf, np.inf]], np.float32)}
    assert predict_json.answer(with_nan, row=False) == b'{"outputs": [[0.1, NaN], [-Infinity, Infinity]]}'


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_tokens_of_no_finite_number_are_numbers(token):
    value = predict_json.parse(f'{{"inputs": [1.5, {token}]}}'.encode())["inputs"]
    np.testing.assert_array_equal(to_array(value, "float"), np.array([1.5, float(token)], np.float32))


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (True, "float", "Type: True is not of expected type: float"),
        ("7", "float", 'JSON Value: "7" Type: String is not of expected type: float'),
        (None, "double", "JSON Value: null Type: Null"),
        ({"b64": "AA=="}, "float", "JSON Value: {...} Type: Object"),
        (1.0, "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (2**31, "int32", "is not of expected type: int32"),
        (-1, "uint8", "is not of expected type: uint8"),
        (1, "bool", "Type: Number is not of expected type: bool"),
        (1, "string", "is not of expected type: string"),
        ({"b65": "AA=="}, "string", "not formatted correctly for base64 data"),
        ({"b64": "A"}, "string", "Unable to base64 decode"),
        ({"b64": "é==="}, "string", "Unable to base64 decode"),
        (1e39, "float", "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (-1e39, "float", "without loss of precision"),
        (2**24, "float", "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (2**53, "double", "to double without loss of precision"),
        ([1, [2]], "float", "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], "float", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([[1], [2, 3]], "float", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_tf_servings_words(value, dtype, words):
    with pytest.raises(Refusal) as refused:
        to_array(value, dtype)
    assert words in refused.value.sentence and refused.value.status == 400


def test_types_without_a_json_form_are_not_implemented():
    with pytest.raises(Refusal) as refused:
        to_array([1.0], "half")
    assert refused.value.status == 501 and "Conversion of JSON Value: [...] to type: half" in refused.value.sentence


def test_base64_needs_no_padding_and_takes_line_breaks():
    array = to_array([{"b64": "/w"}, {"b64": "/w\n=="}, "é"], "string")
    assert array.tolist() == [b"\xff", b"\xff", "é".encode()]


def test_empty_lists_and_deep_lists():
    assert to_array([], "float").shape == (0,)
    assert to_array([[], []], "float").shape == (2, 0)
    deep: list = [1]
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Refusal, match="nested more than 32 deep"):
        to_array(deep, "float")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        (b'{"inputs": [1,]}', "JSON Parse error"),
        (b'{"inputs": [NaN,]}', "JSON Parse error"),
        (b'{"inputs": [NaN, "\\ud800"]}', "JSON Parse error"),
        (b'{"inputs": [Infinity, ' + b"9" * 30 + b"]}", "JSON Parse error"),
        (b'{"inputs": NaN, "x": ' + b"9" * 5000 + b"}", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"[NaN," + b"[" * 100_000, "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b"[1]", "JSON Value: [...] Is not object"),
        (b"NaN", "JSON Value: NaN Is not object"),
    ],
)
def test_bodies_that_are_no_json_object(body, words):
    with pytest.raises(Refusal) as refused:
        predict_json.parse(body)
    assert words in refused.value.sentence and "\n" not in refused.value.sentence


@pytest.mark.parametrize(
    ("document", "signature", "words"),
    [
        ({}, ONE, "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": [1]}, ONE, "expecting only one of 'inputs' or 'instances' keys"),
        ({"instances": 1}, ONE, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, ONE, "No values in 'instances' array"),
        ({"instances": [[1], [2, 3]]}, ONE, "Failed to process element: 1 of 'instances' list. Error: "),
        ({"instances": [[1], [2, 3]]}, ONE, "Expecting tensor size: 1 but got: 2"),
        ({"instances": [[1, 2], [[1], [2]]]}, ONE, "Expecting shape [2] but got: [2,1]"),
        ({"instances": [1, "a"]}, ONE, 'INVALID_ARGUMENT: JSON Value: "a" Type: String'),
        ({"instances": [1, {"x": 1}]}, ONE, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": 1}, 1]}, ONE, "Expecting object but got list at item 1 of input list"),
        ({"instances": [{"x": 1}, {"z": 1}]}, ONE, "element: 1 key: z of 'instances' list."),
        ({"instances": [{"a": 1}]}, TWO, "keys must be equal to: a,b"),
        ({"instances": [{"a": 1, "b": 1}]}, TWO, "element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT"),
        ({"instances": [1]}, TWO, "instances is a plain list, but expecting list of objects"),
        ({"instances": [{"b64": "AA=="}]}, TWO, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [1]}, TWO, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": 1}}, TWO, "Missing named input: b in 'inputs' object."),
        ({"inputs": 1}, Signature("init", {}, {}), "Failed to get input map for signature: init"),
    ],
)
def test_requests_that_do_not_fit_their_signature(document, signature, words):
    with pytest.raises(Refusal) as refused:
        predict_json.inputs(document, signature)
    assert words in refused.value.sentence and refused.value.status == 400


def test_rows_and_columns_give_the_same_tensors():
    rows, row = predict_json.inputs({"instances": [{"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": {"b64": "/w=="}}]}, TWO)
    columns, column = predict_json.inputs({"inputs": {"a": [[1, 2], [3, 4]], "b": ["x", {"b64": "/w=="}]}}, TWO)
    assert (row, column) == (True, False)
    for name in TWO.inputs:
        np.testing.assert_array_equal(rows[name], columns[name])
    assert rows["b"].tolist() == [b"x", b"\xff"]
    named, _ = predict_json.inputs({"instances": [{"x": [1, 2]}]}, ONE)
    plain, _ = predict_json.inputs({"instances": [[1, 2]]}, ONE)
    np.testing.assert_array_equal(named["x"], plain["x"])


def test_several_outputs_in_row_and_column_format():
    outputs = {"b": np.array([1, 2]), "a_bytes": np.array([[b"\xff"], [b"b"]], object), "c": np.array([0.1, np.inf])}
    row = json.loads(predict_json.answer(outputs, row=True))
    assert row["predictions"][0] == {"b": 1, "a_bytes": [{"b64": "/w=="}], "c": 0.1}
    column = json.loads(predict_json.answer(outputs, row=False))["outputs"]
    assert column == {"b": [1, 2], "a_bytes": [[{"b64": "/w=="}], [{"b64": "Yg=="}]], "c": [0.1, float("inf")]}
    text = orjson.loads(predict_json.answer({"t": np.array([b"a\xff"], object)}, row=True))
    assert text == {"predictions": ["a�"]}


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"y": np.float32(1)}, "Tensor name: y has no shape information"),
        ({"y": np.zeros((0, 3))}, "Tensor name: y has invalid batch size: 0"),
        ({"a": np.zeros(2), "y": np.zeros(3)}, "Tensor name: y has inconsistent batch size: 3 expecting: 2"),
        ({"y": np.zeros(2, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_outputs_that_have_no_row_format(outputs, words):
    with pytest.raises(Refusal) as refused:
        predict_json.answer(outputs, row=True)
    assert words in refused.value.sentence


def test_scalars_are_written_in_column_format():
    assert predict_json.answer({"y": np.array(0.1, np.float32)}, row=False) == b'{"outputs":0.1}'
    assert predict_json.answer({"y": np.array(np.nan, np.float32)}, row=False) == b'{"outputs": NaN}'
    assert predict_json.answer({"y": np.array(b"a", object)}, row=False) == b'{"outputs":"a"}'


def test_signature_names():
    assert predict_json.signature_name({}) == predict_json.signature_name({"signature_name": ""}) == "serving_default"
    with pytest.raises(Refusal, match="'signature_name' key must be a string value"):
        predict_json.signature_name({"signature_name": None})


def test_messages_show_no_more_than_a_short_scalar():
    assert show([0.123]) == "[...]" and show({"x": 0.123}) == "{...}" and show([]) == "[]" and show({}) == "{}"
    assert len(show("secret" * 100)) < 50


def test_codes_are_numbered_as_tensorflow_does():
    assert (CODES[3], CODES[5], CODES[16]) == ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED")
    assert HTTP_STATUS[CODES[8]] == 429
