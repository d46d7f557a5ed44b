"""Reads the manifest that a head carries: what goes in, what comes out, and which tail it belongs to.

A head is a TFLite flatbuffer with a zip archive behind it (TFLite metadata's associated-file format), whose stored
entry `privzoo.json` is the manifest. Runtimes ignore what follows the flatbuffer.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from typing import Any

from privzoo import checks, inputs, outputs
from privzoo.errors import ConfigError, PrivzooError, WeightsError

FORMAT = 1
MEMBER = "privzoo.json"

_FLATBUFFER_MARK = b"TFL3"  # bytes 4 to 8 of every TFLite file
_FIELDS: dict[tuple[str, ...], type] = {
    ("model",): str,
    ("version",): int,
    ("classes",): list,
    ("input",): dict,
    ("feature", "shape"): list,
    ("head",): dict,
    ("tail", "signature"): str,
    ("tail", "weights_sha256"): str,
}


def parse_manifest(data: bytes, source: str) -> dict[str, Any]:
    """Reads a manifest from its JSON text and checks the entries that a device relies on.

    Args:
        data: UTF-8 JSON text.
        source: what errors call the file it came from.

    Returns:
        The manifest.

    Raises:
        ConfigError: no JSON, another manifest format, a field that is missing or of another type, or a preprocessing
            that this version does not know.
    """
    try:
        manifest = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"The manifest in {source} is not valid JSON ({error}); export the model again.") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ConfigError(
            f"The manifest in {source} has format {found!r}, and this privzoo reads format {FORMAT}; "
            "update privzoo, or export the model again."
        )
    entry = manifest.get("input")
    speech = isinstance(entry, dict) and entry.get(inputs.KIND) == inputs.SPEECH
    for path, kind in (_FIELDS if speech else {**_FIELDS, ("input", "size"): int}).items():
        value: Any = manifest
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(
                f"The manifest in {source} has {'.'.join(path)} = {value!r}, which is not of type {kind.__name__}; "
                "export the model again."
            )
    outputs.of_manifest(manifest, source)
    shape = manifest["feature"]["shape"]
    if not shape or not all(type(side) is int and side > 0 for side in shape) or entry.get("size", 1) < 1:
        raise ConfigError(f"The manifest in {source} has impossible sizes; export the model again.")
    stated = (inputs.Speech if speech else inputs.Faces).stated
    stated = {inputs.KIND: None, **stated}
    other = {key: entry.get(key) for key, value in stated.items() if entry.get(key) != value}
    if other:
        raise ConfigError(f"The head in {source} needs unsupported preprocessing, {other}; update privzoo.")
    return manifest


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the manifest of an exported head and checks the head's bytes against it.

    Args:
        path: a `.tflite` file that privzoo exported.

    Returns:
        The manifest.

    Raises:
        WeightsError: the file is missing, is not a TFLite file, is truncated or damaged, or has no manifest.
        ConfigError: the manifest is not one that this version can use.

    Example:
        >>> read_manifest("head.tflite")["feature"]["shape"]  # doctest: +SKIP
        [6, 6, 512]
    """
    path = str(checks.path("path", path))
    try:
        with open(path, "rb") as file:
            start = file.read(8)
        if start[4:] != _FLATBUFFER_MARK:
            raise WeightsError(f"{path} is not a TFLite file; give a head that privzoo exported.")
        manifest = parse_manifest(_member(path), path)
        length, expected = manifest["head"].get("bytes"), manifest["head"].get("sha256")
        if not isinstance(length, int) or _sha256(path, length) != expected:
            raise WeightsError(f"{path} is damaged: its SHA-256 differs from its manifest's; fetch or export it again.")
    except PrivzooError:
        raise
    except FileNotFoundError:
        raise WeightsError(f"There is no head at {path}; check the path, or export one there.") from None
    except OSError as error:
        raise WeightsError(f"The head {path} cannot be read: {error.strerror or error}; check the file.") from None
    return manifest


def _member(path: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(MEMBER)
    except OSError:
        raise
    except Exception:  # zipfile raises many things for damaged archives: BadZipFile, KeyError, struct.error, ...
        raise WeightsError(
            f"{path} has no readable privzoo manifest: it was truncated while being written, or is not an export "
            "of privzoo; fetch or export it again."
        ) from None


def _sha256(path: str, length: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while length > 0 and (block := file.read(min(length, 1 << 20))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
