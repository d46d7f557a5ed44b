"""Process setup for the exporters: TensorFlow as Keras's backend, and a quiet standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privzoo import files
from privzoo.errors import ConfigError, MissingExtraError, WeightsError


def require_tensorflow() -> None:
    """Raises an error unless Keras runs on TensorFlow.

    Raises:
        MissingExtraError: TensorFlow or Keras is not installed.
        ConfigError: Keras runs on another backend.
    """
    try:
        import keras
        import tensorflow  # noqa: F401
    except ImportError:
        raise MissingExtraError("Export needs TensorFlow and Keras; run: pip install 'privzoo[cloud]'") from None
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"Export runs on TensorFlow, not {keras.backend.backend()}; set KERAS_BACKEND=tensorflow.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what C++ writes to the process's standard error; TensorFlow's converter has no switch for its notes.

    Nor does TensorFlow leave byte code of the functions that it generates in the folder of temporary files.
    """
    sys.stderr.flush()
    kept, byte_code = os.dup(2), sys.dont_write_bytecode
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        sys.dont_write_bytecode = True
        yield
    finally:
        sys.dont_write_bytecode = byte_code
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`privzoo.files.replacing` with this package's error.

    Raises:
        WeightsError: the file cannot be written, for example because its folder is missing: a mistyped path.
    """
    if not path.parent.is_dir():
        raise WeightsError(f"{path} cannot be written: there is no folder {path.parent}; make it first.")
    try:
        with files.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}; choose another place.") from None


def write_out(archive: Any, folder: str | os.PathLike[str]) -> None:
    """Writes a SavedModel.

    Args:
        archive: a `keras.export.ExportArchive` with its endpoints.
        folder: the SavedModel to write.

    Raises:
        OSError: the folder cannot be written, for example on a full disk, for which TensorFlow has its own errors.
    """
    import tensorflow as tf

    try:
        archive.write_out(folder, verbose=False)
    except tf.errors.OpError as error:
        raise OSError(re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", error.message).strip().split("\n", 1)[0]) from None
