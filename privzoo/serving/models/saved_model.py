"""Loads a SavedModel and runs its signatures, as TF Serving does: graph, session, feeds and fetches."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from privzoo.errors import MissingExtraError, WeightsError
from privzoo.serving.wire.refusal import CODES, Refusal, bad_request
from privzoo.serving.wire.tensors import Signature, TensorSpec, show_shape

TAG = "serve"


class SavedModel:
    """A SavedModel in memory; its methods may be called from several threads.

    Args:
        folder: with `saved_model.pb` in it.

    Raises:
        WeightsError: the folder holds no SavedModel, or one that is damaged.
        MissingExtraError: TensorFlow is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        tf = tensorflow()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        level = tf.get_logger().level
        tf.get_logger().setLevel("ERROR")  # the session API warns of its age at every load
        try:
            # A session, not tf.saved_model.load: any graph loads, even of TensorFlow 1, and shapes are checked by the
            # graph, not by the signature, so that answers are TF Serving's.
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [TAG], os.fspath(folder))
            self.signatures = {name: _signature(name, s) for name, s in sorted(meta_graph.signature_def.items())}
            self.signature_protos = dict(meta_graph.signature_def)
            self.signature_defs = _signature_defs(meta_graph)
        except Exception as error:  # TensorFlow raises errors of many kinds for damaged files
            self._session.close()
            raise WeightsError(
                f"{folder} cannot be loaded as a SavedModel ({type(error).__name__}: {_first_line(str(error))}); "
                "export it again."
            ) from error
        finally:
            tf.get_logger().setLevel(level)
        self._op_error = tf.errors.OpError
        self._callables: dict[str, Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Frees the model's memory."""
        self._session.close()

    def run(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: one of `signatures`.
            inputs: an array for each of its inputs, of that input's type.

        Returns:
            Output name -> array; strings as object arrays of bytes.

        Raises:
            Refusal: TensorFlow refuses the inputs, in one sentence without its trace.
        """
        try:
            values = self._callable(signature)(*(inputs[name] for name in signature.inputs))
        except self._op_error as error:
            shapes = ", ".join(f"{name} {show_shape(array.shape)}" for name, array in inputs.items())
            raise Refusal(
                CODES.get(error.error_code, "UNKNOWN"),
                f'The signature "{signature.name}" cannot be run on inputs of the shapes {shapes}: '
                f"{_first_line(error.message)}",
            ) from None
        return {name: _array(value) for name, value in zip(signature.outputs, values, strict=True)}

    def _callable(self, signature: Signature) -> Callable[..., list[Any]]:
        with self._lock:
            if signature.name not in self._callables:
                for name, spec in (signature.inputs | signature.outputs).items():
                    if not spec.tensor:
                        raise bad_request(f'"{name}" of the signature "{signature.name}" is not a dense tensor.')
                from tensorflow.core.protobuf import config_pb2

                options = config_pb2.CallableOptions(
                    feed=[spec.tensor for spec in signature.inputs.values()],
                    fetch=[spec.tensor for spec in signature.outputs.values()],
                )
                # Session.run compares feeds with the declared shapes; TF Serving does not, and its documentation's own
                # example (half_plus_three) sends a vector to an input declared as a matrix.
                self._callables[signature.name] = self._session._make_callable_from_options(options)
            return self._callables[signature.name]


def tensorflow() -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    # TensorFlow's own warnings name nodes and shapes of requests that failed; the answer already says it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError:
        raise MissingExtraError("The server needs TensorFlow; run: pip install 'privzoo[cloud]'") from None
    return tf


def _array(value: Any) -> np.ndarray:
    # The session gives a scalar as a bare number or bytes; numpy's own type for bytes would cut zeros off their end.
    return np.asarray(value, object if isinstance(value, bytes) else None)


def _signature(name: str, definition: Any) -> Signature:
    inputs = {key: _spec(info) for key, info in sorted(definition.inputs.items())}
    outputs = {key: _spec(info) for key, info in sorted(definition.outputs.items())}
    return Signature(name, inputs, outputs, definition.method_name)


def _spec(info: Any) -> TensorSpec:
    from tensorflow.core.framework import types_pb2

    shape = info.tensor_shape
    return TensorSpec(
        info.name,
        types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower(),
        None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
    )


def _signature_defs(meta_graph: Any) -> dict[str, Any]:
    """The signature definitions in protobuf's JSON mapping, every field written out, as TF Serving answers them."""
    from google.protobuf import json_format

    return {
        name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, definition in meta_graph.signature_def.items()
    }


def _first_line(message: str) -> str:
    """TensorFlow's message without node names and the trace."""
    line = message.strip().split("\n", 1)[0]
    line = re.sub(r"\{\{[^}]*\}\}|\[\[.*?\]\]", "", line).strip()
    return (line[:300] + "...") if len(line) > 300 else line or "no reason given"
