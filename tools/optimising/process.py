"""Starts the process on tf_keras, passes it a head and faces, and collects the trained head."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optimising import tf_keras_copy
from privzoo import errors
from privzoo.errors import ConfigError, MissingExtraError, PrivzooError
from privzoo.files import write_arrays
from privzoo.provenance import write_json

if TYPE_CHECKING:
    import keras

TRAINED = ("qat", "pruned", "clustered")  # methods of `optimising.tf_keras_training`
NEEDED = ("tensorflow_model_optimization", "tf_keras")
# A quantized head is nearly right from the start: Adam's first steps, as large as later ones, must not undo that.
LEARNING_RATES = {"qat": 1e-6, "pruned": 3e-5, "clustered": 3e-5}
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """Everything that, with the head and the faces, determines the result of a method."""

    method: str  # one of `TRAINED`
    steps: int = 300
    batch: int = 16  # chips in a step
    epoch_steps: int = 25  # after so many, the weights are saved
    learning_rate: float = 1e-6  # initial; a cosine to zero
    sparsity: float = 0.6  # share of each convolution's weights that are pruned
    clusters: int = 32  # values that each convolution's weights take
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError for an invalid job."""
        if self.method not in TRAINED:
            raise ConfigError(f"There is no method {self.method!r} to train by; there are {', '.join(TRAINED)}.")
        counts = (self.steps, self.batch, self.epoch_steps)
        if min(counts) < 1 or not 0 < self.learning_rate < 1 or not 0 < self.sparsity < 1 or self.clusters < 2:
            raise ConfigError(
                f"Steps, batch and epoch of {counts}, rate {self.learning_rate}, sparsity {self.sparsity}, "
                f"{self.clusters} clusters are invalid; give counts of 1 or more, shares between 0 and 1, and at least "
                "2 clusters."
            )


@dataclass(frozen=True)
class Trained:
    """The results of a process."""

    flatbuffer: bytes  # int8, without manifest
    weights: dict[str, np.ndarray]  # `<layer>/<variable>` -> float32
    facts: dict[str, Any]  # losses, seconds, versions


def require() -> None:
    """Raises an error unless the packages for training are installed; imports none of them.

    Raises:
        MissingExtraError: one is missing.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Training heads for the device needs {' and '.join(missing)}; run: pip install 'privzoo[optimise]', or "
            "choose --methods that need no training."
        )


def run(
    head: keras.Model,
    size: int,
    job: Job,
    chips: np.ndarray,
    features: np.ndarray,
    calibration: np.ndarray,
    runs: Path,
) -> Trained:
    """Trains a head by one method, unless that was done before; resumes an interrupted run.

    Args:
        head: Keras 3 chain, `image` float32 (N, size, size, 3), 0..255 -> features.
        size: side of its input in pixels.
        job: what to do.
        chips: uint8 (N, size, size, 3), faces to learn from.
        features: float32 (N, ...), the head's output for them before any rounding.
        calibration: float32 chips that set the ranges of int8 activations, and check the converted head.
        runs: folder of the runs; this one's is named by the hash of all of the above.

    Raises:
        MissingExtraError: tensorflow-model-optimization or tf_keras is not installed.
        ConfigError: the head has layers that cannot be converted, or TFLite cannot express the result.
        WeightsError: the converted head computes something else.
        PrivzooError: the process failed otherwise; the message has the last line of its output.
    """
    from privzoo import activations
    from privzoo.embeddings.rounding import unrounded

    require()
    layers, weights = tf_keras_copy.describe(head), tf_keras_copy.weights(head)
    arrays = {"chips": chips, "features": features, "calibration": calibration}
    facts = {**dataclasses.asdict(job), "size": size, "layers": layers}
    folder = runs / f"{job.method}_{activations.key(facts=facts, **arrays, **weights)}"
    if not (folder / "result.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        expected = np.asarray(unrounded(head)(calibration, training=False), np.float32)
        for name, array in {**arrays, "expected": expected}.items():
            np.save(folder / f"{name}.npy", array)
        write_arrays(folder / "weights.npz", weights)
        write_json(folder / "job.json", facts)
        _start(folder)
    with np.load(folder / "trained.npz") as file:
        trained = {name: file[name] for name in file.files}
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Trained((folder / "trained.tflite").read_bytes(), trained, result)


def _start(folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    folders = os.pathsep.join((str(ROOT), str(ROOT / "tools")))
    environment |= {"PYTHONPATH": folders, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with (folder / "stderr.txt").open("w", encoding="utf-8") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "optimising.tf_keras_training", str(folder)], env=environment, stderr=stderr
        )
    if done.returncode == 0:
        return
    said = [line for line in (folder / "stderr.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    last = said[-1] if said else f"exit code {done.returncode} without output"
    if last.startswith("privzoo: "):
        kind, _, sentence = last.removeprefix("privzoo: ").partition(": ")
        raise getattr(errors, kind, PrivzooError)(sentence)
    raise PrivzooError(f"The process on tf_keras failed ({last}); {folder / 'stderr.txt'} has its output.")
