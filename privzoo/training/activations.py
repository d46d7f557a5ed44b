"""What layers make of a data set, computed once and kept on disk in half precision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from privzoo.errors import WeightsError


def key(**facts: Any) -> str:
    """Name for a computed thing: hash of plain data and arrays that decide it, 12 hex digits."""
    digest = hashlib.sha256()
    for name, fact in sorted(facts.items()):
        digest.update(name.encode())
        if isinstance(fact, np.ndarray):
            digest.update(str((fact.shape, fact.dtype)).encode() + np.ascontiguousarray(fact).data)
        else:
            digest.update(json.dumps(fact, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def compute(
    models: Sequence[keras.Model], batch: Callable[[int], np.ndarray], batches: int, count: int, paths: Sequence[Path]
) -> list[np.ndarray]:
    """Runs models one after the other, each on what the one before gives, and keeps every output.

    Args:
        models: consecutive pieces of one network; one for each path.
        batch: number of a batch -> its images (B, ...).
        batches: how many.
        count: images in all batches.
        paths: `.npy` files; where all are there already, nothing is computed.

    Returns:
        float16 arrays (count, *output shape), on disk and read-only.

    Raises:
        WeightsError: an output is too large for half precision.
    """
    if not all(path.exists() for path in paths):
        logging.info("Computing %s for %d images.", ", ".join(path.name for path in paths), count)
        temporary = [path.with_name(path.name + ".part") for path in paths]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        outputs = [
            np.lib.format.open_memmap(path, "w+", np.float16, (count, *model.output_shape[1:]))
            for path, model in zip(temporary, models, strict=True)
        ]
        done = 0
        for i in range(batches):
            x = batch(i)
            for model, output in zip(models, outputs, strict=True):
                x = model(x, training=False)
                output[done : done + len(x)] = _half(x, model)
            done += len(x)
        for path, final, output in zip(temporary, paths, outputs, strict=True):
            output.flush()
            path.replace(final)
    return [np.load(path, mmap_mode="r") for path in paths]


def _half(x: Any, model: keras.Model) -> np.ndarray:
    values = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    if not np.abs(values).max() <= np.finfo(np.float16).max:  # written so that NaN is refused too
        raise WeightsError(f"The output of {model.name} does not fit in half precision; its weights are not usable.")
    return values.astype(np.float16)
