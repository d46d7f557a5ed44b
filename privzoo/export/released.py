"""Writes the recommended heads with the list of them, `tflite/manifest.json`; `privzoo.edge.golden` reads it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from privzoo import card as cards
from privzoo import faces, inputs, outputs
from privzoo.config import FULL, SLIM, to_dict
from privzoo.edge import golden
from privzoo.edge.manifest import read_manifest
from privzoo.errors import ConfigError, MissingExtraError, WeightsError
from privzoo.export.calibration import default_calibration
from privzoo.export.manifests import append_manifest
from privzoo.files import replacing
from privzoo.provenance import write_json
from privzoo.version import __version__

if TYPE_CHECKING:
    from privzoo.card import Card
    from privzoo.model import SplitModel

# The first is what the demo and the page show: its budget holds against every attacker. The noisy ones were
# slimmed and audited furthest; it is not shown that Siamese fine-tuning makes them hide more than
# `noisy_reduced_simple` at that cut (RESULTS.md, "What the cloud learns").
RECOMMENDED = ("vgg16_gender_coded_conv5_3", "vgg16_gender_advanced_conv5_3", "vgg_s_emotion_advanced_conv5")
# The published heads. Those of gender's `advanced` are not among them: they are the coded model's byte for byte, but
# for the manifest at their end.
PUBLISHED = (
    ("vgg16_gender_coded_conv5_3", FULL),
    ("vgg16_gender_coded_conv5_3", SLIM),
    ("vgg_s_emotion_advanced_conv5", FULL),
)
# How far another runtime's output may lie from the golden one, in standard deviations of the feature over faces.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "dynamic": 0.1, "int8": 0.1}
SPREAD_CHIPS = 16
# Part of scikit-image's portrait of Eileen Collins (NASA, public domain), and the face in it.
PIECE, FACE = faces.Box(130, 30, 190), faces.Box(46, 48, 93)
PHOTOGRAPH = "golden/astronaut.png"
PHOTOGRAPH_LICENCE = "public domain (NASA; scikit-image's data.astronaut())"
PREPROCESSING = {
    "document": "docs/face_chip.md",
    "chip": "a square of whole pixels around the face, edge pixels repeated beyond the border, resized with the "
    "triangle filter in integers, 8 bits per channel",
    "tensor": "float32 (1, size, size, 3), RGB, values 0 to 255 unchanged; the head normalises them itself",
}


def _photograph() -> np.ndarray:
    try:
        import skimage.data
    except ImportError:
        raise MissingExtraError(
            "The golden photograph needs scikit-image; run: pip install 'privzoo[detect]'."
        ) from None
    return faces.crop(skimage.data.astronaut(), PIECE, PIECE.size)


def _save(image: np.ndarray, path: Path) -> None:
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, "PNG", optimize=True)


def _golden(model: SplitModel, path: Path, manifest: dict[str, Any], folder: Path, spread: np.ndarray) -> dict:
    size = model.input_size
    chip = faces.crop(_photograph(), FACE, size)
    name = f"golden/chip_{size}.png"
    _save(chip, folder / name)
    features = golden.run(path, chip[None].astype(np.float32))
    sent = np.rint(features) if manifest["feature"]["rounded"] else features
    if model.code is not None:
        book, response = model.code
        sent = np.stack([book.encode(features), np.array([response.budget])], axis=1).astype(np.float32)
    [probabilities] = model.classify(sent)
    return {
        "photograph": PHOTOGRAPH,
        "box": {"x": FACE.x, "y": FACE.y, "size": FACE.size},
        "chip": name,
        "chip_rgb_sha256": hashlib.sha256(chip.tobytes()).hexdigest(),
        "features": [float(value) for value in features.ravel()],  # float32 -> JSON and back is exact
        "tolerance": float(f"{TOLERANCE[manifest['quantization']] * spread.std(axis=0).max():.3g}"),
        # Of the features without noise, or the true symbol.
        "label": outputs.label(probabilities, model.classes, model.output),
        "probabilities": {name: float(p) for name, p in zip(model.classes, probabilities, strict=True)},
    }


def _write_head(model: SplitModel, path: Path, quantization: str, calibration: np.ndarray | None, keep: bool) -> None:
    """Exports a head; with `keep`, only if there is none with the model's weights.

    A coded model's head is its base's: its flatbuffer is reused if it is in the same folder, so that both are identical
    and figures of one apply to the other.
    """
    base = None
    if model.config.code:
        base = path.with_name(path.name.replace(model.name, str(model.config.code.base), 1))
    wanted = model.manifest()
    if keep and path.exists() and _is_of(path, wanted):
        return
    if base is None or not base.exists() or not _is_of(base, wanted):
        model.export_head(path, quantization, calibration)
        return
    head = read_manifest(base)["head"]
    described = {**wanted, "quantization": quantization, "head": {**wanted["head"], "agreement": head["agreement"]}}
    with replacing(path) as temporary:
        temporary.write_bytes(append_manifest(base.read_bytes()[: head["bytes"]], described))


def _is_of(path: Path, manifest: dict[str, Any]) -> bool:
    """Whether a head was exported from a manifest's weights."""
    return read_manifest(path)["head"]["weights_sha256"] == manifest["head"]["weights_sha256"]


def _entry(
    model: SplitModel, quantization: str, folder: Path, calibration: np.ndarray | None, keep: bool
) -> dict[str, Any]:
    path = folder / f"{model.card.artefact}_{quantization}.tflite"
    _write_head(model, path, quantization, calibration, keep)
    manifest, content = read_manifest(path), path.read_bytes()
    chips = default_calibration(model.input_size, SPREAD_CHIPS) if calibration is None else calibration[:SPREAD_CHIPS]
    spread = golden.run(path, chips.astype(np.float32))
    return {
        "file": path.name,
        "model": model.name,
        "kind": model.card.head,
        "quantization": quantization,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "manifest": manifest,
        "golden": _golden(model, path, manifest, folder, spread),
        **_from_card(model.card, manifest),
    }


def _from_card(card: Card, manifest: dict[str, Any]) -> dict[str, Any]:
    measurements = [to_dict(m) for m in card.measurements]
    # Whether the card's figures were measured on exactly this head.
    measured = any(m["sha256"] == manifest["head"]["sha256"] for m in measurements)
    return {"description": card.network.description, "measured": measured, "measurements": measurements}


def renew(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Updates descriptions and figures in `manifest.json` from the models' cards, and leaves the heads unchanged.

    Returns:
        The list of heads as it was written.

    Raises:
        WeightsError: there is no list of heads in the folder.
        UnknownNameError: the zoo no longer has one of the models.
    """
    listed = golden.read_list(folder)
    for entry in listed["heads"]:
        entry |= _from_card(cards.read(entry["model"], entry["kind"]), entry["manifest"])
    write_json(Path(folder) / golden.LIST, listed)
    return listed


def find(model: SplitModel, quantization: str, folder: str | os.PathLike[str]) -> Path | None:
    """An exported head of a model, to be measured as it is rather than exported again; None if it is not there.

    Args:
        model: whose head it is. A coded model's head is its base's: the file of either is found for the other.
        quantization: of the head.
        folder: with `NAME_QUANTIZATION.tflite`, such as `tflite/` of a checkout.

    Raises:
        WeightsError: the head cannot be read, or was exported from other weights; or the folder has no heads at all.
    """
    path, wanted = Path(folder) / f"{model.card.artefact}_{quantization}.tflite", model.manifest()
    if path.exists():
        if not _is_of(path, wanted):
            raise WeightsError(f"{path} was not exported from the weights of {model.name}; export it again.")
        return path
    others = sorted(Path(folder).glob("*.tflite"))
    if not others:
        raise WeightsError(f"{folder} holds no exported heads; name the folder that tools/export.py wrote.")
    return next((one for one in others if one.stem.endswith(f"_{quantization}") and _is_of(one, wanted)), None)


def release(
    models: Sequence[SplitModel],
    folder: str | os.PathLike[str],
    quantizations: Sequence[str] = ("int8",),
    calibration: Mapping[str, np.ndarray | None] | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Writes heads, golden pictures and, last, `manifest.json` over all; then checks the files against it.

    Args:
        models: to release.
        folder: `tflite/` of a checkout; created if missing.
        quantizations: of each head.
        calibration: name of a model, with `_slim` for its slim head -> face chips for int8, uint8 (N, S, S, 3);
            without: chips that come with packages.
        keep: keep heads in the folder that have the models' weights.

    Returns:
        The list of heads as it was written.

    Raises:
        ConfigError: no models or quantizations, or a model that takes speech.
        WeightsError: a file cannot be written, or does not compute what it should.
        MissingExtraError: TensorFlow, LiteRT or scikit-image is not installed.
    """
    if not models or not quantizations:
        raise ConfigError("There is nothing to release; give at least one model and one quantization.")
    for model in models:
        if isinstance(model.input, inputs.Speech):
            raise ConfigError(
                f"{model.name} takes speech, and released heads are compared on a photograph; export it to a folder of "
                "your own with privzoo export."
            )
    folder = Path(folder)
    photograph = _photograph()
    _save(photograph, folder / PHOTOGRAPH)
    calibration = calibration or {}
    entries = {
        (model.card.artefact, quantization): _entry(
            model, quantization, folder, calibration.get(model.card.artefact), keep
        )
        for model in sorted(models, key=lambda model: model.config.code is not None)  # bases before their codes
        for quantization in quantizations
    }
    listed = {
        "format": golden.FORMAT,
        "privzoo": __version__,
        "preprocessing": PREPROCESSING,
        "photograph": {
            "file": PHOTOGRAPH,
            "rgb_sha256": hashlib.sha256(photograph.tobytes()).hexdigest(),
            "licence": PHOTOGRAPH_LICENCE,
        },
        "heads": [entries[model.card.artefact, quantization] for model in models for quantization in quantizations],
    }
    write_json(folder / golden.LIST, listed)
    golden.verify(folder)
    return listed
