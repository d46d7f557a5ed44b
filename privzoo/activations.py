"""The outputs of networks' first layers, computed once and cached on disk.

Fine-tuned networks share their parent's first layers, which are by far the most expensive. So all outputs are stored
under a hash of the layers' weights and of the images, for the next use, by the same network or another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from privzoo import architectures, audio, faces
from privzoo.architectures import graph
from privzoo.errors import WeightsError
from privzoo.files import replacing

BATCH = 64  # images that go through the layers at once


@dataclass(frozen=True)
class Source:
    """Arrays that come in batches of `BATCH`, the last one shorter."""

    key: str  # hash of all that decides them
    count: int  # in all batches
    batch: Callable[[int], np.ndarray]  # number of a batch -> (B, ...)


@dataclass(frozen=True)
class Kept:
    """Activations on disk."""

    values: np.ndarray  # (N, ...), read-only
    source: Source  # the same, for layers that go on from there


def key(**facts: Any) -> str:
    """Hash of plain data and arrays, 12 hex digits."""
    digest = hashlib.sha256()
    for name, fact in sorted(facts.items()):
        digest.update(name.encode())
        if isinstance(fact, np.ndarray):
            digest.update(str((fact.shape, fact.dtype)).encode() + np.ascontiguousarray(fact).data)
        else:
            digest.update(json.dumps(fact, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def part(values: np.ndarray, index: int) -> np.ndarray:
    """Batch `index` of an array."""
    return values[index * BATCH : (index + 1) * BATCH]


def prepared(chips: np.ndarray, size: int | None) -> np.ndarray:
    """Face chips or clips as networks see them when they are used.

    Args:
        chips: uint8 RGB (N, side, side, 3), or clips, int16 (N, 16000).
        size: side of the network's input in pixels; None for clips.

    Returns:
        float32 RGB 0..255 (N, size, size, 3), or spectrograms (N, frames, bands, 1).
    """
    if size is None:
        return np.stack([audio.spectrogram(clip) for clip in chips])
    return np.stack([faces.resize(chip, size) for chip in chips]).astype(np.float32)


def whole_chips(chips: np.ndarray, size: int | None) -> Source:
    """Face chips or clips as networks see them when they are used.

    Args:
        chips, size: as for `prepared`.
    """
    return Source(key(chips=chips, size=size), len(chips), lambda index: prepared(part(chips, index), size))


def trunk(network: keras.Model, source: Source, cache: Path, dtype: type = np.float32) -> tuple[Kept, keras.Model]:
    """What the layers before all cuts give, which fine-tuned networks may share with their parent, and the rest.

    Args:
        network: of `architectures.graph.build`.
        source: images.
        cache: folder for the activations.
        dtype: in which they are kept.

    Returns:
        The activations, and the layers that go on from them.
    """
    first, rest = graph.split(network, architectures.trunk(network.name))
    return compute(first, source, cache, dtype), rest


def at_cuts(
    network: keras.Model, source: Source, cuts: Iterable[str], cache: Path, dtype: type = np.float16
) -> dict[str, Kept]:
    """A network's activations at several cuts, by one pass through it.

    Args:
        network: of `architectures.graph.build`.
        source: images.
        cuts: names of layers.
        cache: folder for the activations.
        dtype: in which they are kept.

    Returns:
        Cut -> activations (N, h, w, c), in the order of the layers.
    """
    names = [layer.name for layer in graph.layers(network)]
    kept, rest = trunk(network, source, cache, dtype)
    found = {}
    for cut in sorted(set(cuts), key=names.index):
        piece, rest = graph.split(rest, cut)
        found[cut] = kept = compute(piece, kept.source, cache, dtype)
    return found


def compute(model: keras.Model, source: Source, cache: Path, dtype: type = np.float16) -> Kept:
    """Runs layers on all batches, unless that was done before.

    Args:
        model: consecutive layers of a network, in inference mode.
        source: what goes in.
        cache: folder for the outputs.
        dtype: in which they are kept.

    Returns:
        The outputs, (N, *output shape).

    Raises:
        WeightsError: an output does not fit in the dtype.
    """
    layers = [[layer.name, type(layer).__name__] for layer in graph.layers(model)]
    weights = {f"weights/{name}": value for name, value in graph.get_weights(model).items()}
    name = key(layers=layers, source=source.key, dtype=np.dtype(dtype).name, **weights)
    path = cache / f"{layers[-1][0]}_{name}.npy"
    if not path.exists():
        logging.info("Computing %s for %d images.", path.name, source.count)
        with replacing(path) as temporary:
            output = np.lib.format.open_memmap(temporary, "w+", dtype, (source.count, *model.output_shape[1:]))
            for index in range(-(-source.count // BATCH)):
                part(output, index)[:] = _fitting(model(source.batch(index), training=False), dtype, model)
            output.flush()
    values = np.load(path, mmap_mode="r")
    return Kept(values, Source(name, len(values), lambda index: part(values, index).astype(np.float32)))


def _fitting(x: Any, dtype: type, model: keras.Model) -> np.ndarray:
    values = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    if not np.abs(values).max() <= np.finfo(dtype).max:  # written so that NaN is refused too
        raise WeightsError(
            f"An output of {graph.layers(model)[-1].name} does not fit in {np.dtype(dtype).name}; its weights are not "
            "usable."
        )
    return values.astype(dtype)
