"""Writes a head as a `.tflite` file for LiteRT, tflite-runtime and LiteRT.js, and checks that it computes the head."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import checks
from privzoo.edge import golden
from privzoo.edge.unprotected import as_chips
from privzoo.errors import ConfigError, WeightsError
from privzoo.export.backend import quiet, replacing, require_tensorflow, write_out
from privzoo.export.calibration import default_calibration
from privzoo.export.manifests import FEATURE_NAME, INPUT_NAME, QUANTIZATIONS, append_manifest, check_weights

if TYPE_CHECKING:
    import keras

# Least agreement (see `agreement`) of a file with its head. A sound conversion is well above; a wrong one is near 0.
LEAST_AGREEMENT = {"float32": 0.9999, "float16": 0.999, "dynamic": 0.98, "int8": 0.95}
CHECKED_CHIPS = 8


def agreement(features: np.ndarray, expected: np.ndarray) -> float:
    """Share of the expected features' variation over the chips that the features reproduce.

    Subtracting the mean over the chips matters: the raw features of all faces are similar, so that their similarity
    is high even if the differences between faces are lost.

    Args:
        features: array (N, ...), N at least 2.
        expected: array of the same shape.

    Returns:
        1 for equality, 0 or less for uninformative features; NaN if nothing varies or is not finite.
    """
    expected = expected.astype(np.float64)
    varied = np.square(expected - expected.mean(0)).sum()
    wrong = np.square(features - expected).sum()
    return float(1 - wrong / varied) if varied > 0 else float("nan")


def export_head(
    head: keras.Model,
    path: str | os.PathLike[str],
    quantization: str,
    manifest: Mapping[str, Any],
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes a head as TFLite with fixed batch 1, input `image` and output `features`, both float32.

    The file is compared with the Keras head before it gets its name, and refused if they disagree.

    Args:
        head: float32 model `image` (N, S, S, 3), RGB 0..255 -> features.
        path: the `.tflite` file to write; an old one is replaced.
        quantization: "float32"; "float16" weights; "dynamic": int8 weights, activations quantized while running;
            "int8": weights and activations int8, with float32 input and output.
        manifest: of `privzoo.export.manifests.build_manifest` for this head.
        calibration: uint8 or float array (N, S, S, 3), 0..255, N at least 2: chips that set the range of int8
            activations and check every export; None: `default_calibration`.

    Returns:
        The path; the manifest in the file has the measured agreement as `head.agreement`.

    Raises:
        ConfigError: an unknown quantization, a manifest of another head, or a head that TFLite cannot express.
        ImageError: calibration chips of another shape, type or range.
        WeightsError: the file cannot be written, or does not compute what the head computes.
        MissingExtraError: TensorFlow, LiteRT or (for the default calibration) scikit-image is not installed.
    """
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f"quantization={quantization!r} is unknown; use one of {', '.join(QUANTIZATIONS)}.")
    path = checks.path("path", path)
    check_weights(head, "head", manifest)
    size = manifest["input"]["size"]
    chips = as_chips(default_calibration(size) if calibration is None else calibration, size)
    if len(chips) < 2:
        raise ConfigError(f"{len(chips)} calibration chips are too few; give 2 or more, preferably 64.")
    if str(head.outputs[0].dtype) != "float32":
        raise ConfigError(f"The head computes in {head.outputs[0].dtype}; build it with the dtype policy float32.")
    chips = chips.astype(np.float32)
    flatbuffer = convert(head, size, quantization, chips)
    with replacing(path) as temporary:
        temporary.write_bytes(flatbuffer)
        measured = _check(head, temporary, chips[:CHECKED_CHIPS])
        if not measured >= LEAST_AGREEMENT[quantization]:  # written so that NaN is refused too
            raise WeightsError(
                f"The {quantization} file does not compute its head (agreement {measured:.4f}, at least "
                f"{LEAST_AGREEMENT[quantization]} is needed) and was not kept; give other calibration chips, or export "
                "with another quantization."
            )
        checked = {**manifest["head"], "agreement": round(measured, 4)}
        temporary.write_bytes(append_manifest(flatbuffer, {**manifest, "quantization": quantization, "head": checked}))
    return path


def _check(head: keras.Model, path: Path, chips: np.ndarray) -> float:
    # Not edge.Head: it refuses heads whose noise it cannot draw, and the check needs the features before noise.
    return agreement(golden.run(path, chips), np.asarray(head(chips, training=False)))


def convert(head: keras.Model, size: int, quantization: str, chips: np.ndarray) -> bytes:
    """Makes a TFLite flatbuffer of a model, without manifest or check; see `export_head`.

    Args:
        head: float32 model `image` (N, size, size, 3) -> one output.
        size: side of its input in pixels.
        quantization: as for `export_head`.
        chips: float32 (N, size, size, 3), 0..255, that set the ranges of int8 activations.

    Returns:
        The flatbuffer.

    Raises:
        ConfigError: the converter refuses the model.
        WeightsError: the folder of temporary files is full.
        MissingExtraError: TensorFlow is not installed.
    """
    require_tensorflow()
    import keras
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder, quiet():
        # Via a SavedModel: it alone names the output, and from_concrete_functions writes NaN for Keras 3.
        archive = keras.export.ExportArchive()
        archive.track(head)
        archive.add_endpoint(
            "serving_default",
            lambda image: {FEATURE_NAME: head(image, training=False)},
            input_signature=[tf.TensorSpec((1, size, size, 3), tf.float32, name=INPUT_NAME)],
        )
        try:
            write_out(archive, folder)
        except OSError as error:
            raise WeightsError(
                f"The folder of temporary files cannot be written ({error.strerror or error}); set TMPDIR to another."
            ) from None
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # One scale for each channel of a dense layer is an operator that tflite-runtime lacks.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.representative_dataset = lambda: ([chip[None]] for chip in _full_range(chips))
        try:
            return converter.convert()
        except Exception as error:  # the converter raises whatever its passes raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(
                f"TFLite cannot express this head as {quantization} ({reason}); change the head."
            ) from error


def _full_range(chips: np.ndarray) -> np.ndarray:
    """Chips that include 0 and 255, so that int8 input is exactly x - 128, whatever the chips."""
    chips = chips.copy()
    chips[0, 0, 0], chips[0, 0, 1] = 0, 255
    return chips
