"""The TFLite interpreter that a device has: LiteRT, or tflite-runtime on older ones."""

from __future__ import annotations

from typing import Any

from privzoo.errors import MissingExtraError, WeightsError


def interpreter(path: str, threads: int) -> Any:
    """Opens a `.tflite` file and allocates its tensors once.

    Args:
        path: the file.
        threads: CPU threads for one inference.

    Returns:
        An interpreter of `ai_edge_litert`, or of `tflite_runtime` where only that is installed.

    Raises:
        MissingExtraError: neither is installed.
        WeightsError: the interpreter refuses the file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError:
            raise MissingExtraError(
                "No TFLite interpreter is installed; install one with: pip install ai-edge-litert"
            ) from None
    try:
        opened = Interpreter(model_path=path, num_threads=threads)
        opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise WeightsError(
            f"The TFLite interpreter refuses {path} ({reason}); install or export the file again, or update the "
            "interpreter."
        ) from error
    return opened
