"""TF Serving's classify and regress: examples in, classes with scores or one number out.

An example is a `tensorflow.Example`; a signature for them takes serialized examples, and parses them in its graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from privzoo.serving.wire.predict_json import exact
from privzoo.serving.wire.refusal import Refusal, bad_request
from privzoo.serving.wire.tensors import Served, Signature, decode_base64, is_base64, show, show_shape

INPUTS = "inputs"  # name of the one input of such a signature
METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
_NOUNS = {"classify": "classification", "regress": "regression"}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def examples_of_json(document: Mapping[str, Any]) -> list[bytes]:
    """Serialized examples of the body of a classify or regress request.

    Args:
        document: the JSON object, with `examples` and perhaps a `context` that all of them share.

    Returns:
        One serialized `tensorflow.Example` for each.

    Raises:
        Refusal: an object that is no such request.
    """
    context = _example(document["context"]) if "context" in document else b""
    examples = document.get("examples")
    if "examples" not in document:
        raise bad_request(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected and was not found"
        )
    if type(examples) is not list:
        raise bad_request(f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise bad_request(f"JSON Value: {show(document)} 'examples' value is an empty array")
    return [context + _example(example) for example in examples]


def examples_of_input(message: Any) -> list[bytes]:
    """Serialized examples of a `tensorflow.serving.Input`.

    Raises:
        Refusal: no examples.
    """
    kind = message.WhichOneof("kind")
    context = b""
    examples: Any = ()
    if kind == "example_list":
        examples = message.example_list.examples
    elif kind == "example_list_with_context":
        examples = message.example_list_with_context.examples
        context = message.example_list_with_context.context.SerializeToString()
    if not examples:
        raise bad_request("Input is empty.")
    # Two serialized messages in a row are one that has the fields of both; the later one wins.
    return [context + example.SerializeToString() for example in examples]


def signature_for(servable: Served, name: str, verb: str) -> Signature:
    """The signature of a model for `classify` or `regress`.

    Raises:
        Refusal: the model has no such signature, or not for this.
    """
    signature = servable.model.signatures.get(name)
    if signature is None:
        raise bad_request(f"No signature was found with the name: {name[:80]}")
    if signature.method != METHODS[verb]:
        raise bad_request(
            f"Expected {_NOUNS[verb]} signature method_name to be {METHODS[verb]}. Was: {signature.method}"
        )
    if len(signature.inputs) != 1:
        raise bad_request("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise Refusal("FAILED_PRECONDITION", f"No {_NOUNS[verb]} inputs found in SignatureDef: {signature.name}")
    if verb == "regress":
        if len(signature.outputs) != 1:
            raise bad_request("Expected one output Tensor.")
        if "outputs" not in signature.outputs:
            raise Refusal("FAILED_PRECONDITION", f"No regression outputs found in SignatureDef: {signature.name}")
        return signature
    if len(signature.outputs) not in (1, 2):
        raise bad_request(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not {"classes", "scores"} & set(signature.outputs):
        raise Refusal(
            "FAILED_PRECONDITION",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.name}",
        )
    return signature


def as_inputs(examples: list[bytes]) -> dict[str, np.ndarray]:
    """The inputs of a signature for examples."""
    array = np.empty(len(examples), object)
    array[:] = examples
    return {INPUTS: array}


def classifications(outputs: Mapping[str, np.ndarray], count: int) -> list[list[tuple[bytes, np.float32]]]:
    """Classes of each example: label (empty if the model gives none) and score (0 if it gives none).

    Args:
        outputs: of the signature: `classes` (N, K) strings, `scores` (N, K) float32, or one of them.
        count: of the examples, N.

    Raises:
        Refusal: outputs of other shapes or types.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, array, kind, dtype in (("classes", classes, "O", "DT_STRING"), ("scores", scores, "f", "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise bad_request(f"Expected Tensor shape: [batch_size num_classes] but got {show_shape(array.shape)}")
        if array.dtype.kind != kind or (kind == "f" and array.dtype != np.float32):
            raise bad_request(f"Expected {name} Tensor of {dtype}. Got: {array.dtype}")
        if len(array) != count:
            raise bad_request(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise bad_request(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    columns = next(array.shape[1] for array in (classes, scores) if array is not None)
    return [
        [
            (classes[row, k] if classes is not None else b"", scores[row, k] if scores is not None else np.float32(0))
            for k in range(columns)
        ]
        for row in range(count)
    ]


def regressions(outputs: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """The number of each example.

    Args:
        outputs: of the signature: `outputs` (N,) or (N, 1) float32.
        count: of the examples, N.

    Returns:
        float32 (N,).

    Raises:
        Refusal: an output of another shape or type.
    """
    values = outputs["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise bad_request(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{show_shape(values.shape)}"
        )
    if len(values) != count:
        raise bad_request(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if values.dtype != np.float32:
        raise bad_request(f"Expected output Tensor of DT_FLOAT. Got: {values.dtype}")
    return values.reshape(-1)


def json_of(result: list[Any] | np.ndarray) -> bytes:
    """Body of the answer: `{"result": ...}`, of `classifications` or `regressions`."""
    if isinstance(result, np.ndarray):
        plain: list[Any] = [exact(value) for value in result]
        finite = bool(np.isfinite(result).all())
    else:
        plain = [[[label.decode("utf-8", "replace"), exact(score)] for label, score in row] for row in result]
        finite = all(np.isfinite(score) for row in result for _, score in row)
    document = {"result": plain}
    return orjson.dumps(document) if finite else json.dumps(document).encode()


def _example(value: Any) -> bytes:
    from tensorflow.core.example import example_pb2

    if type(value) is not dict:
        raise bad_request(f"Example must be JSON object but got JSON {_json_type(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except (ValueError, UnicodeError):
            raise bad_request("A feature's name is not valid text.") from None
        for element in content if type(content) is list else [content]:
            _add(element, name[:80], feature)
    return example.SerializeToString()


def _add(value: Any, name: str, feature: Any) -> None:
    if type(value) is str:
        kind, value = "bytes", value.encode("utf-8")
    elif is_base64(value):
        kind, value = "bytes", decode_base64(value)
    elif type(value) is float:
        kind = "float"
        if np.isfinite(value) and abs(value) > _FLOAT32_MAX:
            raise bad_request(f"Cannot convert JSON value: {show(value)} to float without loss of precision.")
    elif type(value) in (bool, int):
        kind, value = "int64", int(value)
        if not -(2**63) <= value < 2**63:
            raise bad_request(f"Feature: {name} has uint64 element. Only int64 is supported.")
    else:
        raise bad_request(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    before = feature.WhichOneof("kind")
    if before is not None and before != f"{kind}_list":
        expected = before.removesuffix("_list")
        raise bad_request(f"Unexpected element type in feature: {name} expecting type: {expected}")
    getattr(feature, f"{kind}_list").value.append(value)


def _json_type(value: Any) -> str:
    kinds = {str: "String", dict: "Object", list: "Array", bool: "Bool", type(None): "Null"}
    return kinds.get(type(value), "Number")
