"""Warm-up: requests stored with a SavedModel, which are run before the version serves others.

The file is TF Serving's own, `assets.extra/tf_serving_warmup_requests`: a TFRecord of PredictionLog messages.
`privzoo.export.warmup` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privzoo.errors import WeightsError
from privzoo.serving import settings
from privzoo.serving.models.servable import Servable
from privzoo.serving.wire import classify
from privzoo.serving.wire.protos import inputs_of, predict_plan
from privzoo.serving.wire.refusal import Refusal

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TF Serving's


def read_warmup(folder: str | os.PathLike[str]) -> Iterator[Any]:
    """The PredictionLog messages of a version's warm-up file; none if it has no such file.

    Raises:
        WeightsError: the file is damaged, or has too many records.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    file = Path(folder) / FILE
    if not file.exists():
        return
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(os.fspath(file)).as_numpy_iterator(), start=1):
            if number > MAX_RECORDS:
                raise WeightsError(f"{file} has more than {MAX_RECORDS} requests; TF Serving would refuse it.")
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except (tf.errors.OpError, DecodeError):
        raise WeightsError(f"{file} is damaged: no TFRecord of PredictionLog messages; write it again.") from None


def warm(servable: Servable) -> int:
    """Runs a version's warm-up requests.

    Args:
        servable: loaded, and not yet available.

    Returns:
        Count of the requests.

    Raises:
        WeightsError: the file is damaged, or the model refuses a request.
    """
    count = 0
    for log in read_warmup(servable.folder):
        try:
            _run(servable, log)
        except Refusal as refusal:
            raise WeightsError(
                f"Request {count + 1} of {servable.folder / FILE} cannot be run ({refusal.sentence}); write it again."
            ) from None
        count += 1
    return count


def _run(servable: Servable, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        _, signature, _ = predict_plan(servable, request)
        inputs = inputs_of(request, settings.MAX_BODY_BYTES)
        servable.check(inputs)
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        name = request.model_spec.signature_name or "serving_default"
        signature = classify.signature_for(servable, name, kind.removesuffix("_log"))
        inputs = classify.as_inputs(classify.examples_of_input(request.input))
    else:
        raise Refusal("UNIMPLEMENTED", f"{kind} is not a kind of warm-up that this server has")
    servable.model.run(signature, inputs)
