"""Writes a tail as a SavedModel in TF Serving's directory layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import checks
from privzoo.edge.manifest import MEMBER
from privzoo.errors import ConfigError, WeightsError
from privzoo.export.backend import quiet, require_tensorflow, write_out
from privzoo.export.manifests import (
    BUDGET_NAME,
    FEATURE_NAME,
    OUTPUT_NAME,
    PACKED_NAME,
    SYMBOL_NAME,
    check_weights,
    to_json,
)
from privzoo.export.warmup import write_warmup

if TYPE_CHECKING:
    import keras


def export_tail(
    tail: keras.Model,
    directory: str | os.PathLike[str],
    name: str,
    version: int,
    manifest: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Writes `<directory>/<name>/<version>/`: the SavedModel, and in `assets.extra` its manifest and warm-up requests.

    The SavedModel has one function under two signatures, `serving_default` and `tail_<hash of the weights>`: a client
    asks for the second, so that any TF Serving refuses features of another tail's head. A tail for mixtures has two
    more, `tail_<hash>_int16` and `tail_<hash>_int8`, which take each mixture as a text of `mechanisms.mixing.pack`.

    Args:
        tail: float32 model `features` (N, *shape) -> probabilities (N, classes), or for mixtures -> `hidden`
            (N, numbers); a coded one takes `symbol` int32 (N,) and `epsilon` float32 (N,), of which the symbol is
            served as uint8.
        directory: base folder of all models of a server.
        name: of the model on the server.
        version: of the model on the server, 1 or more.
        manifest: of `privzoo.export.manifests.build_manifest` for this tail.
        overwrite: replace this version if it exists already.

    Returns:
        Folder of the version.

    Raises:
        ConfigError: an invalid name or version, a URL, a version that exists already, or a manifest of another tail.
        WeightsError: the folder cannot be written.
        MissingExtraError: TensorFlow, Keras or tensorflow-serving-api is not installed.

    Example:
        >>> export_tail(model.tail, "served", model.name, 1, manifest)  # doctest: +SKIP
        PosixPath('served/vgg16_gender_simple_conv5_3/1')
    """
    version = checks.count("version", version, least=1)
    if not name or name.startswith(".") or Path(name).name != name:
        raise ConfigError(f"name={name!r} is invalid; give the name of a folder, without a path.")
    check_weights(tail, "tail", manifest)
    base = checks.local_path(directory) / name
    final = base / str(version)
    if final.exists() and not overwrite:
        raise ConfigError(f"{final} already exists; choose another version, or pass overwrite=True.")
    # TF Serving only reads folders named by a number, so that it never loads a half-written one.
    temporary = base / f".{version}.{os.getpid()}.part"
    try:
        base.mkdir(parents=True, exist_ok=True)
        _write(tail, temporary, manifest)
        extra = temporary / "assets.extra"
        extra.mkdir()
        (extra / MEMBER).write_bytes(to_json(manifest))
        # Ones, not zeros: 0 is not a budget, and a server may refuse it.
        ones: dict[str, np.ndarray] = {
            name: np.ones((1, *shape), dtype) for name, (shape, dtype) in _inputs(tail, manifest).items()
        }
        signature = manifest["tail"]["signature"]
        write_warmup(temporary, name, ones, ("serving_default", signature))
        _put(temporary, final)
    except OSError as error:
        raise WeightsError(f"{final} cannot be written: {error.strerror or error}; choose another place.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _put(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    old = temporary.with_suffix(".old")
    final.rename(old)
    temporary.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _write(tail: keras.Model, folder: Path, manifest: Mapping[str, Any]) -> None:
    require_tensorflow()
    import keras
    import tensorflow as tf

    wire = _inputs(tail, manifest)
    specs = [tf.TensorSpec((None, *shape), dtype, name=name) for name, (shape, dtype) in wire.items()]

    output = manifest["feature"].get("output", OUTPUT_NAME)

    def single(features: Any) -> dict[str, Any]:
        return {output: tail(features, training=False)}

    def coded(symbol: Any, epsilon: Any) -> dict[str, Any]:
        inputs = {SYMBOL_NAME: tf.cast(symbol, tf.int32), BUDGET_NAME: epsilon}
        return {OUTPUT_NAME: tail(inputs, training=False)}

    with quiet():
        archive = keras.export.ExportArchive()
        archive.track(tail)
        for signature in ("serving_default", manifest["tail"]["signature"]):
            archive.add_endpoint(signature, coded if len(specs) > 1 else single, input_signature=specs)
        for encoding in manifest["feature"].get("encodings", ()):
            archive.add_endpoint(
                f"{manifest['tail']['signature']}_{encoding}",
                _unpacking(single, encoding, manifest["feature"]["shape"]),
                input_signature=[tf.TensorSpec((None,), tf.string, name=PACKED_NAME)],
            )
        write_out(archive, folder)


def _unpacking(tail: Callable[[Any], dict[str, Any]], encoding: str, shape: Sequence[int]) -> Callable[[Any], dict]:
    """A tail that takes texts of `mechanisms.mixing.pack`."""
    import tensorflow as tf

    kind = {"int16": tf.int16, "int8": tf.int8}[encoding]

    def unpacked(packed: Any) -> dict[str, Any]:
        scale = tf.io.decode_raw(tf.strings.substr(packed, 0, 4), tf.float32)  # little-endian
        values = tf.io.decode_raw(tf.strings.substr(packed, 4, -1), kind)
        return tail(tf.reshape(tf.cast(values, tf.float32) * scale, (-1, *shape)))

    return unpacked


def _inputs(tail: keras.Model, manifest: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name, shape and type of what is sent over the wire, in the order of the signature; a symbol is one byte."""
    if len(tail.inputs) > 1:
        return {SYMBOL_NAME: ((), np.uint8), BUDGET_NAME: ((), np.float32)}
    return {FEATURE_NAME: (tuple(manifest["feature"]["shape"]), np.float32)}
