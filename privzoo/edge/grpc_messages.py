"""The few messages of TF Serving's gRPC protocol that a client needs, without TensorFlow.

`tensorflow-serving-api` imports TensorFlow, which a device does not have. These have the same field numbers, so that
the same bytes go over the wire; fields that a client never reads are left out.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np

from privzoo import protobuf
from privzoo.mechanisms import mixing

PREDICT = "/tensorflow.serving.PredictionService/Predict"
DT_FLOAT, DT_UINT8, DT_STRING = 1, 4, 7
# As `protobuf.classes` reads them.
_MESSAGES = {
    "Dim": {"size": (1, "int64")},
    "Shape": {"dim": (2, "*Dim")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "*float"),
        "string_val": (8, "*bytes"),
    },
    "Version": {"value": (1, "int64")},
    "ModelSpec": {"name": (1, "string"), "version": (2, "Version"), "signature_name": (3, "string")},
    "Entry": {"key": (1, "string"), "value": (2, "Tensor")},  # what a map<string, TensorProto> is on the wire
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "*Entry")},
    "PredictResponse": {"outputs": (1, "*Entry")},
}


@functools.cache
def messages() -> SimpleNamespace:
    """The message classes, by name."""
    return SimpleNamespace(**protobuf.classes("privzoo.edge", _MESSAGES))


def encode(
    features: np.ndarray,
    model: str,
    version: int | None,
    signature: str,
    name: str,
    budget: str | None = None,
    encoding: str | None = None,
) -> bytes:
    """A serialized PredictRequest; the numbers of the features are sent as they lie in memory.

    Args:
        features: float32 array (N, *shape).
        model: name on the server.
        version: on the server; None: the newest.
        signature: to run.
        name: of the input.
        budget: of the input for epsilon, of a coded model: its features (N, 2) go as a byte and a float32 each.
        encoding: of mixtures, each of which then goes as a text of `mechanisms.mixing.pack`.
    """
    request = messages().PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
        request.model_spec.version.SetInParent()
    if encoding is not None:
        entry = request.inputs.add(key=name)
        entry.value.dtype = DT_STRING
        entry.value.tensor_shape.dim.add(size=len(features))
        entry.value.string_val.extend(mixing.pack(features, encoding))
    elif budget is None:
        _add(request, name, DT_FLOAT, np.ascontiguousarray(features, "<f4"))
    else:
        _add(request, name, DT_UINT8, features[:, 0].astype(np.uint8))
        _add(request, budget, DT_FLOAT, features[:, 1].astype("<f4"))
    return request.SerializeToString()


def _add(request: Any, name: str, kind: int, values: np.ndarray) -> None:
    entry = request.inputs.add(key=name)
    entry.value.dtype = kind
    for size in values.shape:
        entry.value.tensor_shape.dim.add(size=size)
    entry.value.tensor_content = values.tobytes()


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The float32 outputs of a serialized PredictResponse, by name.

    Raises:
        ValueError: no such message, or an output that is not a float32 tensor.
    """
    from google.protobuf.message import DecodeError

    try:
        response = messages().PredictResponse.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return {entry.key: _array(entry.value) for entry in response.outputs}


def _array(tensor: Any) -> np.ndarray:
    if tensor.dtype != DT_FLOAT:
        raise ValueError(f"an output of the type {tensor.dtype}")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        flat = np.frombuffer(tensor.tensor_content, "<f4")
    else:
        flat = np.asarray(tensor.float_val, np.float32)
    return flat.reshape(shape)
