"""Post-training int8 by ai-edge-quantizer: from a float32 `.tflite`, without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from privzoo.errors import ConfigError, MissingExtraError
from privzoo.export.backend import quiet
from privzoo.export.manifests import INPUT_NAME

SIGNATURE = "serving_default"


def require() -> None:
    """Raises an error without ai-edge-quantizer.

    Raises:
        MissingExtraError: it is not installed, or does not run here.
    """
    try:
        from ai_edge_quantizer import quantizer  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ai-edge-quantizer cannot be imported ({error}); run: pip install 'privzoo[optimise]', or leave "
            "'quantizer' out of the methods."
        ) from None


def quantize(float_head: Path, calibration: np.ndarray) -> bytes:
    """Quantizes weights and activations of a float head to int8; input and output stay float32.

    Args:
        float_head: a float32 `.tflite` with the signature that privzoo's exports have.
        calibration: float32 chips (N, S, S, 3), 0..255, that set the ranges of activations.

    Returns:
        The flatbuffer, without manifest.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        ConfigError: it refuses the head.
    """
    require()
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    try:
        with _quiet():
            made = quantizer.Quantizer(str(float_head), recipe.static_wi8_ai8())
            for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                made.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
            rules = recipe_manager.RecipeManager()
            rules.load_quantization_recipe(made.get_quantization_recipe())
            # Least and largest value of all chips, as TFLite's converter takes them: `Quantizer.calibrate` would take a
            # moving average of each chip's, which cuts off the light and dark parts of many images.
            measured = calibrator.Calibrator(str(float_head), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            measured.calibrate({SIGNATURE: [{INPUT_NAME: chip[None]} for chip in calibration]}, rules)
            return bytes(made.quantize(measured.get_model_qsvs()).quantized_model)
    except (ValueError, TypeError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"ai-edge-quantizer refuses this head ({reason}); leave the method 'quantizer' out."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the quantizer's output, which cannot be switched off."""
    kept = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), quiet():
            yield
    finally:
        logging.disable(kept)
