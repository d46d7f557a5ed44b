"""Writes the requests that a server runs before a version serves others.

The file is TF Serving's own, `assets.extra/tf_serving_warmup_requests`: a TFRecord of PredictionLog messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from privzoo.errors import MissingExtraError, WeightsError
from privzoo.files import replacing

FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(
    folder: str | os.PathLike[str],
    model: str,
    inputs: Mapping[str, np.ndarray],
    signatures: Iterable[str] = ("serving_default",),
) -> Path:
    """Writes the warm-up file of a version: one Predict request for each signature.

    Args:
        folder: of the version, with `saved_model.pb` in it; it may still have its temporary name.
        model: its name on the server.
        inputs: input name -> array, as a client would send it.
        signatures: to run.

    Returns:
        The file.

    Raises:
        WeightsError: it cannot be written.
        MissingExtraError: TensorFlow or tensorflow-serving-api is not installed.

    Example:
        >>> zeros = np.zeros((1, 6, 6, 512), np.float32)
        >>> write_warmup("served/x/1", "x", {"features": zeros}, ["tail_0123456789ab"])  # doctest: +SKIP
        PosixPath('served/x/1/assets.extra/tf_serving_warmup_requests')
    """
    try:
        import tensorflow as tf
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise MissingExtraError(f"Warm-up requests need {error.name}; run: pip install 'privzoo[cloud]'") from None
    file = Path(folder) / FILE
    try:
        with replacing(file) as temporary, tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
            for signature in signatures:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = model, signature
                for name, array in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
                writer.write(log.SerializeToString())
    except (OSError, tf.errors.OpError) as error:
        raise WeightsError(f"{file} cannot be written ({type(error).__name__}); choose another place.") from None
    return file
