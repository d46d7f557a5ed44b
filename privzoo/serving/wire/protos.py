"""Tensors of protobufs to arrays and back, as TF Serving reads and writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from privzoo.serving.wire.refusal import Refusal, bad_request
from privzoo.serving.wire.tensors import MAX_RANK, Served, Signature

# Type of an array -> field of a TensorProto that holds its values, as Tensor::AsProtoField has it.
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32"), "int_val"),
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
}


def array_of(message: Any, name: str, max_bytes: int) -> np.ndarray:
    """The array of a TensorProto.

    Args:
        message: the tensor.
        name: what errors call it.
        max_bytes: of the array; a short message can declare a huge one.

    Returns:
        Array of its type; strings as an object array of bytes.

    Raises:
        Refusal: an invalid shape, type or count of values.
    """
    from tensorflow.python.framework import tensor_util

    shape = [dim.size for dim in message.tensor_shape.dim]
    if message.tensor_shape.unknown_rank or len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise bad_request(f'The tensor "{name[:80]}" has an invalid shape.')
    if 16 * math.prod(shape) > max_bytes and not len(message.tensor_content) and _values(message) != math.prod(shape):
        raise bad_request(f'The tensor "{name[:80]}" declares {math.prod(shape)} values but does not contain them.')
    try:
        return tensor_util.MakeNdarray(message)
    except (ValueError, TypeError, KeyError, OverflowError):  # of numpy: it would repeat the values
        raise bad_request(f'The tensor "{name[:80]}" does not contain what its type and shape declare.') from None


def predict_plan(servable: Served, request: Any) -> tuple[str, Signature, list[str]]:
    """What a PredictRequest asks of a model.

    Args:
        servable: the model.
        request: the message.

    Returns:
        Name of the signature, the signature, and the outputs to answer with; empty for all of them.

    Raises:
        Refusal: no such signature, or inputs or outputs that it does not have.
    """
    name = request.model_spec.signature_name or "serving_default"
    signature = servable.model.signatures.get(name)
    if signature is None:
        missing = servable.missing(name) or f'Serving signature key "{name[:80]}" not found.'
        raise Refusal("FAILED_PRECONDITION", missing)
    sent, known = set(request.inputs), set(signature.inputs)
    if sent != known:
        extra, lacking = sorted(sent - known), sorted(known - sent)
        raise bad_request(
            f"input size does not match signature: {len(sent)}!={len(known)} len({{{_join(sent)}}}) != "
            f"len({{{_join(known)}}}). Sent extra: {{{_join(extra)}}}. Missing but required: {{{_join(lacking)}}}."
        )
    wanted = list(request.output_filter)
    for alias in wanted:
        if alias not in signature.outputs:
            raise bad_request(
                f"output tensor alias not found in signature: {alias[:80]} Outputs expected to be in the set "
                f"{{{_join(signature.outputs)}}}."
            )
        if wanted.count(alias) > 1:
            raise bad_request(f"duplicate output tensor alias: {alias[:80]}")
    return name, signature, wanted


def inputs_of(request: Any, max_bytes: int) -> dict[str, np.ndarray]:
    """Arrays of a PredictRequest's inputs.

    Args:
        request: the message.
        max_bytes: of each array.

    Raises:
        Refusal: an invalid tensor.
    """
    return {name: array_of(tensor, name, max_bytes) for name, tensor in request.inputs.items()}


def set_tensor(message: Any, array: np.ndarray) -> None:
    """Writes an array into an empty TensorProto.

    Raises:
        Refusal: a type that no client could read.
    """
    from tensorflow.python.framework import dtypes

    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    kind = array.dtype.name
    if array.dtype.kind == "O":
        message.dtype = dtypes.string.as_datatype_enum
        message.string_val.extend(array.reshape(-1).tolist())
        return
    try:
        message.dtype = dtypes.as_dtype(array.dtype).as_datatype_enum
    except TypeError:
        raise Refusal("UNIMPLEMENTED", f"A tensor of the type {kind} cannot be written.") from None
    if kind in ("float16", "bfloat16"):
        message.half_val.extend(array.reshape(-1).view(np.uint16).tolist())
    elif kind in ("complex64", "complex128"):
        part = np.float32 if kind == "complex64" else np.float64
        field = message.scomplex_val if kind == "complex64" else message.dcomplex_val
        field.extend(np.ascontiguousarray(array).reshape(-1).view(part).tolist())
    elif kind in _FIELDS:
        getattr(message, _FIELDS[kind]).extend(array.reshape(-1).tolist())
    else:
        message.tensor_content = array.tobytes()


def _values(message: Any) -> int:
    return max((len(value) for field, value in message.ListFields() if field.name.endswith("_val")), default=0)


def _join(names: Iterable[str]) -> str:
    return ",".join(name[:80] for name in sorted(names)[:20])
