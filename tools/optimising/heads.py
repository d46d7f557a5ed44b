"""Makes heads by every method, each a whole head for the device: checked, its manifest inside, with the same tail."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optimising import process, quantizer, tf_keras_copy
from privzoo.config import SLIM
from privzoo.edge import golden
from privzoo.errors import ConfigError, UnknownNameError, WeightsError
from privzoo.export import released
from privzoo.export.backend import replacing
from privzoo.export.calibration import default_calibration
from privzoo.export.manifests import append_manifest, weights_sha256
from privzoo.export.tflite import CHECKED_CHIPS, agreement, export_head

if TYPE_CHECKING:
    from privzoo.model import SplitModel

# Method -> what it is. The first is what an export without faces gives, with which all others are compared.
POST_TRAINING = "converter"
WITH_FACES = "converter_faces"
METHODS = {
    POST_TRAINING: "int8 by TFLite's converter, calibrated with chips that come with packages",
    WITH_FACES: "int8 by TFLite's converter, calibrated with training faces",
    "quantizer": "int8 by ai-edge-quantizer, calibrated with training faces",
    "qat": "int8, quantization-aware training",
    "pruned": "magnitude pruning, then int8 by TFLite's converter",
    "clustered": "weight clustering, then int8 by TFLite's converter with one scale per kernel",
    SLIM: "fewer channels in every convolution (tools/slim.py), then as converter_faces",
    "float32": "not optimised: the yardstick",
}
EXPORTED = (WITH_FACES, SLIM)  # methods by which the zoo releases heads
CALIBRATION = 64  # training faces that set the ranges of activations
# Least agreement with the float head of what was trained: far below what is worth keeping, and far above what a wrong
# conversion gives.
LEAST_AGREEMENT = 0.5


@dataclass(frozen=True)
class Faces:
    """The faces that heads are made with."""

    chips: np.ndarray  # uint8 (N, S, S, 3), training faces
    features: np.ndarray  # float32 (N, ...), the float head's output for them before any rounding

    @property
    def calibration(self) -> np.ndarray:
        """Some of the chips, evenly spaced, float32; 0 and 255 are among them, so that int8 input is exact."""
        chips = self.chips[:: max(1, len(self.chips) // CALIBRATION)][:CALIBRATION].astype(np.float32)
        chips[0, 0, 0], chips[0, 0, 1] = 0, 255
        return chips


def check_methods(names: list[str]) -> None:
    """Refuses unknown methods, and those whose packages are not installed, before hours of work.

    Raises:
        UnknownNameError: there is no such method.
        MissingExtraError: a package is not installed.
    """
    for name in names:
        if name not in METHODS:
            raise UnknownNameError(f"There is no method {name!r}; there are {', '.join(METHODS)}.")
    if set(names) & set(process.TRAINED):
        process.require()
    if "quantizer" in names:
        quantizer.require()


def make(
    model: SplitModel,
    method: str,
    faces: Faces,
    job: process.Job | None,
    folder: Path,
    exported: Path | None = None,
) -> Path:
    """Makes a model's head by one method.

    Args:
        model: with the float head; for the method "slim", the model with its slim head.
        method: one of `METHODS`.
        faces: to calibrate with and to learn from.
        job: training settings, for methods that train; None for the others.
        folder: for heads and runs.
        exported: folder with exported heads, such as `tflite/`: those by the methods of `EXPORTED` are used unchanged.

    Returns:
        `<folder>/<model>_<method>.tflite`; its manifest says in `head.optimisation` how it was made. Or the exported
        file.

    Raises:
        ConfigError: a head that cannot be converted to tf_keras, or that TFLite or the quantizer refuses.
        WeightsError: the file does not compute what the head computes.
        MissingExtraError: a package is not installed.
        PrivzooError: the training process failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.name}_{method}.tflite"
    manifest = model.manifest()
    described: dict[str, Any] = {"method": method, "what": METHODS[method]}
    if method in EXPORTED and exported and (found := released.find(model, "int8", exported)):
        return found
    if method in (POST_TRAINING, "float32", *EXPORTED):
        quantization = "float32" if method == "float32" else "int8"
        chips = faces.calibration if method in EXPORTED else default_calibration(model.input_size)
        return export_head(model.head, path, quantization, manifest, chips)
    if method == "quantizer":
        whole = export_head(model.head, folder / f"{model.name}_float32.tflite", "float32", manifest, faces.calibration)
        return seal(quantizer.quantize(whole, faces.calibration), path, manifest, described, model, faces)
    if job is None:
        raise ConfigError(f"The method {method} needs training settings; give a job.")
    data = faces.chips, faces.features, faces.calibration
    trained = process.run(model.head, model.input_size, job, *data, folder / "runs")
    facts = {key: trained.facts[key] for key in ("zeros", "values_per_kernel", "packages")}
    described |= {"steps": job.steps, "batch": job.batch, "learning_rate": job.learning_rate, "seed": job.seed, **facts}
    described |= {key: trained.facts[key] for key in ("loss_before", "loss_after")}
    weights = tf_keras_copy.weights(model.head) | trained.weights
    manifest = {**manifest, "head": {**manifest["head"], "weights_sha256": weights_sha256(weights)}}
    return seal(trained.flatbuffer, path, manifest, described, model, faces)


def seal(
    flatbuffer: bytes,
    path: Path,
    manifest: Mapping[str, Any],
    described: Mapping[str, Any],
    model: SplitModel,
    faces: Faces,
) -> Path:
    """Makes a flatbuffer a head of the zoo: checks it against the float head, and writes it with its manifest.

    Args:
        flatbuffer: int8, float input and output.
        path: to write to, atomically.
        manifest: of the model.
        described: how the head was made, for its manifest.
        model: whose float head it stands for.
        faces: with the float head's features.

    Returns:
        The path.

    Raises:
        WeightsError: the features are far from the float head's.
    """
    chips = faces.calibration[:CHECKED_CHIPS]
    expected = np.asarray(model.head(chips, training=False))
    with replacing(path) as temporary:
        temporary.write_bytes(flatbuffer)
        features = golden.run(temporary, chips)
        measured = agreement(np.rint(features) if manifest["feature"].get("rounded") else features, expected)
        if not measured >= LEAST_AGREEMENT:  # written so that NaN is refused too
            raise WeightsError(
                f"The head of {model.name} by {described['method']} gives different features (agreement {measured:.3f} "
                f"of {LEAST_AGREEMENT}) and was not kept; train it for more steps, or at a lower rate."
            )
        head = {**manifest["head"], "agreement": round(measured, 4), "optimisation": dict(described)}
        temporary.write_bytes(append_manifest(flatbuffer, {**manifest, "quantization": "int8", "head": head}))
    return path


def sha256(path: Path) -> str:
    """Hash of a whole file, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
