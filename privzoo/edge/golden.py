"""The list of released heads, and a check that this device's interpreter computes them right: golden input and output.

`tflite/manifest.json` lists every released head with its size, hashes, its own manifest, and for one golden face chip
the output of the head before any rounding or noise. Runtimes round int8 arithmetic in different places; the list says
how far an output may be from the golden one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from privzoo.edge import runtime
from privzoo.edge.manifest import read_manifest
from privzoo.errors import ConfigError, UnknownNameError, WeightsError
from privzoo.files import data_folder

FORMAT = 1
LIST = "manifest.json"


def read_list(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the list of released heads.

    Args:
        folder: with `manifest.json` in it.

    Returns:
        The list; `heads` has one entry for each file.

    Raises:
        WeightsError: it is missing or cannot be read.
        ConfigError: it is not valid JSON, or of another format.
    """
    path = Path(folder) / LIST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"There is no list of heads at {path}; write one with tools/export.py --released.") from None
    except OSError as error:
        raise WeightsError(f"The list of heads {path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise ConfigError(f"The list of heads {path} is not valid JSON ({error}); fetch or write it again.") from None
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT or not isinstance(found.get("heads"), list):
        raise ConfigError(
            f"The list of heads {path} has format {version!r}, and this privzoo reads format {FORMAT}; update privzoo."
        )
    return found


def run(path: str | os.PathLike[str], chips: np.ndarray) -> np.ndarray:
    """What a head's file computes, before any rounding or noise: for checks, never to be sent.

    Args:
        path: the `.tflite` file.
        chips: float32 (N, S, S, 3), RGB, values 0..255.

    Returns:
        float32 (N, *feature shape).

    Raises:
        MissingExtraError: no TFLite interpreter is installed.
        WeightsError: the interpreter refuses the file.
    """
    interpreter = runtime.interpreter(os.fspath(path), threads=1)
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    features = []
    for chip in chips:
        interpreter.set_tensor(entry, chip[None])
        interpreter.invoke()
        features.append(interpreter.get_tensor(end)[0])
    return np.stack(features)


def verify(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Runs every released head on its golden chip, and compares.

    Args:
        folder: `tflite/` of a checkout.

    Returns:
        File -> largest difference from the golden output, as a share of the tolerance: 1 at most.

    Raises:
        WeightsError: a file is missing, is not the released one, or does not reproduce its golden output here.
        MissingExtraError: no TFLite interpreter is installed.
        ConfigError: a list or manifest that this version cannot read.

    Example:
        >>> verify("tflite")  # doctest: +SKIP
        {'vgg16_gender_coded_conv5_3_int8.tflite': 0.0}
    """
    folder = Path(folder)
    shares = {}
    for entry in read_list(folder)["heads"]:
        path, golden = folder / entry["file"], entry["golden"]
        manifest = read_manifest(path)
        if manifest != entry["manifest"] or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise WeightsError(f"{path} is not the head that the list describes; fetch it again.")
        with Image.open(folder / golden["chip"]) as picture:
            chip = np.asarray(picture.convert("RGB"), np.float32)
        found = run(path, chip[None])[0]
        expected = np.asarray(golden["features"], np.float32).reshape(manifest["feature"]["shape"])
        share = float(np.abs(found - expected).max()) / golden["tolerance"]
        if not share <= 1:  # written so that NaN is refused too
            raise WeightsError(
                f"{path} does not reproduce its golden output here ({share:.3g} times the tolerance); "
                "use another version of the TFLite interpreter."
            )
        shares[entry["file"]] = share
    return shares


def released_head(name: str, quantization: str = "int8") -> Path:
    """A released head, in the checkout or as installed.

    Args:
        name: of the model, with `_slim` for its slim head.
        quantization: of the head.

    Returns:
        Path of its `.tflite` file.

    Raises:
        UnknownNameError: no such head is released; the message lists those that are.
        ConfigError: the folder of heads is missing.

    Example:
        >>> released_head("vgg16_gender_coded_conv5_3").name
        'vgg16_gender_coded_conv5_3_int8.tflite'
    """
    folder = data_folder("tflite", LIST)
    path = folder / f"{name}_{quantization}.tflite"
    files = [entry["file"] for entry in read_list(folder)["heads"]]
    if path.name not in files:
        raise UnknownNameError(
            f"No head {path.name} is released; there are {', '.join(files)}. Export others with privzoo export."
        )
    return path
