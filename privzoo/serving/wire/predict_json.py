"""Bodies of predict requests and answers, in TF Serving's row (`instances`) and column (`inputs`) formats."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from privzoo.serving.wire.refusal import Refusal, bad_request
from privzoo.serving.wire.tensors import Signature, is_base64, show, show_shape, to_array


def parse(body: bytes) -> dict[str, Any]:
    """Reads the body of a request.

    Args:
        body: UTF-8 JSON text; the tokens NaN, Infinity and -Infinity are numbers too, as in TF Serving.

    Returns:
        The JSON object.

    Raises:
        Refusal: no JSON, or no object.
    """
    if not body:
        raise bad_request("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _parse_with_nan(body, error)
    if type(document) is not dict:
        raise bad_request(f"JSON Value: {show(document)} Is not object")
    return document


def _parse_with_nan(body: bytes, strict: orjson.JSONDecodeError) -> Any:
    refusal = bad_request(f"JSON Parse error: Invalid value ({strict.msg}) at offset: {strict.pos}")
    if b"NaN" not in body and b"Infinity" not in body:
        raise refusal
    try:
        document = json.loads(body)
        orjson.dumps(document)  # what the strict parser cannot hold either: half of a surrogate pair, huge integers
    except (ValueError, TypeError, RecursionError):
        raise refusal from None
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Name of the signature that a request asks for; the default one where it names none.

    Raises:
        Refusal: a name that is not a string.
    """
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise bad_request(
            f"JSON Value: {show(name)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or "serving_default"


def inputs(document: Mapping[str, Any], signature: Signature) -> tuple[dict[str, np.ndarray], bool]:
    """Makes the input tensors of a request.

    Args:
        document: the JSON object of the body.
        signature: to which the inputs have to belong.

    Returns:
        Input name -> array, and whether the request is in row format.

    Raises:
        Refusal: neither or both formats, a name too many or too few, or values that do not fit their tensor.
    """
    if not signature.inputs:
        raise bad_request(f"Failed to get input map for signature: {signature.name}")
    if "instances" in document and "inputs" in document:
        raise bad_request(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist"
        )
    if "instances" in document:
        return _rows(document["instances"], signature), True
    if "inputs" in document:
        return _columns(document["inputs"], signature), False
    raise bad_request("Missing 'inputs' or 'instances' key")


def answer(outputs: Mapping[str, np.ndarray], row: bool) -> bytes:
    """Body of the answer to a request.

    Args:
        outputs: output name -> array; strings as object arrays of bytes.
        row: the request was in row format, so that the answer has to be too.

    Returns:
        JSON text; NaN and infinity as the tokens NaN, Infinity and -Infinity.

    Raises:
        Refusal: a type that JSON cannot hold, or in row format outputs that do not share their first dimension.
    """
    if row:
        _check_batch(outputs)
    plain = {name: _writable(name, outputs[name]) for name in sorted(outputs)}
    if row:
        count = len(next(iter(plain.values())))
        objects = [{name: tensor[i] for name, tensor in plain.items()} for i in range(count)]
        document: dict[str, Any] = {"predictions": _single(plain, objects)}
    else:
        document = {"outputs": _single(plain, plain)}
    if any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in outputs.values()):
        return json.dumps(document, default=exact).encode()
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=exact)


def _single(tensors: Mapping[str, Any], several: Any) -> Any:
    return next(iter(tensors.values())) if len(tensors) == 1 else several


def _rows(instances: Any, signature: Signature) -> dict[str, np.ndarray]:
    if type(instances) is not list:
        raise bad_request(f"JSON Value: {show(instances)} Expecting 'instances' to be an list/array")
    if not instances:
        raise bad_request(f"JSON Value: {show(instances)} No values in 'instances' array")
    objects = [type(element) is dict and not is_base64(element) for element in instances]
    if not objects[0]:
        if len(signature.inputs) > 1:
            raise bad_request(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        if any(objects):
            raise bad_request(f"Expecting value/list but got object at item {objects.index(True)} of input list")
        ((name, spec),) = signature.inputs.items()
        return {name: _batch(instances, spec.dtype, "")}
    if not all(objects):
        raise bad_request(f"Expecting object but got list at item {objects.index(False)} of input list")
    names = set(signature.inputs)
    for index, element in enumerate(instances):
        if element.keys() != names:
            raise _wrong_keys(index, element, names)
    return {
        name: _batch([element[name] for element in instances], spec.dtype, f" key: {name}")
        for name, spec in signature.inputs.items()
    }


def _wrong_keys(index: int, element: Mapping[str, Any], names: set[str]) -> Refusal:
    unknown = sorted(element.keys() - names)
    if unknown:
        return bad_request(
            f"Failed to process element: {index} key: {unknown[0][:80]} of 'instances' list. Error: INVALID_ARGUMENT: "
            f"JSON object: does not have named input: {unknown[0][:80]}"
        )
    return bad_request(
        f"Failed to process element: {index} of 'instances' list. JSON object: {show(element)} keys must be equal to: "
        f"{','.join(sorted(names))}"
    )


def _batch(elements: list[Any], dtype: str, key: str) -> np.ndarray:
    try:
        return to_array(elements, dtype)
    except Refusal as refusal:
        # Only a failed request pays for the search of the element that TF Serving's message names.
        index, reason = _culprit(elements, dtype) or (0, refusal)
        raise Refusal(
            reason.code,
            f"Failed to process element: {index}{key} of 'instances' list. Error: {reason.code}: {reason.sentence}",
        ) from None


def _culprit(elements: list[Any], dtype: str) -> tuple[int, Refusal] | None:
    first = None
    for index, element in enumerate(elements):
        try:
            array = to_array(element, dtype)
        except Refusal as refusal:
            return index, refusal
        first = array if first is None else first
        if array.size != first.size:
            return index, bad_request(f"Expecting tensor size: {first.size} but got: {array.size}")
        if array.shape != first.shape:
            return index, bad_request(f"Expecting shape {show_shape(first.shape)} but got: {show_shape(array.shape)}")
    return None


def _columns(values: Any, signature: Signature) -> dict[str, np.ndarray]:
    if type(values) is not dict or is_base64(values):
        if len(signature.inputs) > 1:
            raise bad_request(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((name, spec),) = signature.inputs.items()
        return {name: to_array(values, spec.dtype)}
    for name in signature.inputs:
        if name not in values:
            raise bad_request(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(values[name], spec.dtype) for name, spec in signature.inputs.items()}


def _check_batch(outputs: Mapping[str, np.ndarray]) -> None:
    batch = None
    for name in sorted(outputs):
        shape = np.shape(outputs[name])
        if not shape:
            raise bad_request(f"Tensor name: {name} has no shape information; ask in column format ('inputs').")
        if shape[0] < 1:
            raise bad_request(f"Tensor name: {name} has invalid batch size: {shape[0]}")
        if batch not in (None, shape[0]):
            raise bad_request(f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {batch}")
        batch = shape[0]


def _writable(name: str, array: np.ndarray) -> Any:
    """The array as orjson writes it: numbers as they are, bytes as JSON strings or base64 objects."""
    if array.dtype.kind in "biuf":
        return np.ascontiguousarray(array) if array.ndim else array[()]
    if array.dtype.kind != "O":
        raise bad_request(f"Failed to write JSON value for tensor type: {array.dtype}")
    texts = np.empty(array.shape, object)
    for index, value in np.ndenumerate(array):
        if name.endswith("_bytes"):
            texts[index] = {"b64": base64.b64encode(value).decode("ascii")}
        else:
            texts[index] = value.decode("utf-8", errors="replace")
    return texts[()]


def exact(value: Any) -> Any:
    """Numpy values as plain ones; a float keeps the few digits that give it back, as 0.1 and not 0.10000000149."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "biuO" else [exact(part) for part in value]
    return float(str(value)) if isinstance(value, np.floating) else value.item()
