"""The same head for ONNX Runtime, float32 and int8: what many would use instead of TFLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.errors import MissingExtraError
from privzoo.export.backend import quiet, require_tensorflow
from privzoo.export.manifests import FEATURE_NAME, INPUT_NAME

if TYPE_CHECKING:
    import keras

OPSET = 17


def require() -> None:
    """Raises MissingExtraError unless the packages of the extra `benchmark` are installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX Runtime's part of the benchmark needs {error.name}; run: pip install 'privzoo[benchmark]', "
            "or leave it out with --noonnx."
        ) from None


def write_float(head: keras.Model, size: int, path: Path) -> None:
    """Writes a float32 head as ONNX.

    Args:
        head: `image` (N, size, size, 3) -> features.
        size: side of its input in pixels.
        path: the `.onnx` file.
    """
    require_tensorflow()
    require()
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((1, size, size, 3), tf.float32, name=INPUT_NAME)]
    function = tf.function(lambda image: {FEATURE_NAME: head(image, training=False)}, input_signature=signature)
    with quiet():
        tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET, output_path=str(path))


def write_int8(source: Path, path: Path, chips: np.ndarray, activations: str) -> None:
    """Quantizes a float ONNX file, by ONNX Runtime's own static quantization with a scale for each channel.

    Args:
        source: of `write_float`.
        path: to write.
        chips: float32 (N, S, S, 3), to calibrate with.
        activations: "QInt8" or "QUInt8".
    """
    require()
    from onnxruntime import quantization

    class Chips(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[np.ndarray] = iter(chips)

        def get_next(self) -> dict[str, Any] | None:
            chip = next(self.rest, None)
            return None if chip is None else {INPUT_NAME: chip[None]}

    prepared = path.with_suffix(".prepared")
    try:
        quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            Chips(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=getattr(quantization.QuantType, activations),
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        prepared.unlink(missing_ok=True)
