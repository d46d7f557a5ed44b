"""Builds the files to be measured, with random weights: cost does not depend on the weights' values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarking.runs import Candidate
from benchmarking.wire import DATAMIX_SIZE, DIMENSIONS, PUBLISHED_CLASSES, PUBLISHED_CLASSIFIER
from privzoo import architectures

if TYPE_CHECKING:
    import keras

    from privzoo.card import Card

WHOLE, PUBLISHED, SLIM = "whole", "published whole", "slim"
PUBLISHED_SIZE = DATAMIX_SIZE  # pixels; its first dense layer alone holds three quarters of the 553 MB
CLASSES = 2
CALIBRATION_CHIPS = 4  # nor does it depend on the ranges of activations
# The signedness of activations decides which instructions ONNX Runtime uses; which is faster depends on the processor.
ONNX_ACTIVATIONS = {"int8": "QInt8", "int8 (uint8 activations)": "QUInt8"}


def parts(architecture: str) -> dict[str, tuple[str, int | None]]:
    """Heads of an architecture: name -> its cut, and the dimensions of the reduced feature."""
    return {
        name: split
        for cut in architectures.cuts(architecture)
        for name, split in ((cut, (cut, None)), (f"{cut} reduced", (cut, DIMENSIONS[cut])))
    }


def head(network: keras.Model, cut: str, dimensions: int | None) -> keras.Model:
    """Head of a network, as the zoo's embeddings build it."""
    from privzoo.architectures import graph

    simple, _ = graph.split(network, cut)
    if dimensions is None:
        return simple
    import keras

    end = [
        keras.layers.Conv2D(dimensions, simple.output_shape[1:3], name="reduce"),
        keras.layers.Reshape((dimensions,), name="vector"),
    ]
    return graph.chain([*graph.layers(simple), *end], simple.input_shape[1:], "image", "head")


def chips(size: int) -> np.ndarray:
    """Random pictures, float32 (CALIBRATION_CHIPS, size, size, 3), values 0..255."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (CALIBRATION_CHIPS, size, size, 3)).astype(np.float32)


def litert(model: keras.Model, size: int, quantization: str, path: Path) -> Path:
    """Writes a model as TFLite."""
    from privzoo.export.tflite import convert

    path.write_bytes(convert(model, size, quantization, chips(size)))
    return path


def build(
    folder: Path,
    architecture: str,
    sizes: Sequence[int],
    quantizations: Sequence[str],
    published: bool,
    onnx: bool,
    say: Callable[[str], None],
    slim: Card | None = None,
) -> Iterator[Candidate]:
    """Writes every file to be measured.

    Args:
        folder: to write to.
        architecture: "vgg16" or "vgg_s".
        sizes: sides of the input in pixels.
        quantizations: of the heads; the whole network is float32 and int8.
        published: add the network as published, with 4096-wide classifiers, if 224 px is among the sizes.
        onnx: add the last cut's head for ONNX Runtime.
        say: receives a line for each file.
        slim: card of a slim head, measured as int8 at its model's input size if that is among the sizes.

    Yields:
        Candidates, each with its file written.

    Raises:
        MissingExtraError: TensorFlow, or (with `onnx`) the packages of the extra `benchmark`, are not installed.
    """
    from privzoo.architectures import graph

    def candidate(part: str, size: int, quantization: str, runtime: str = "litert") -> Candidate:
        suffix = "tflite" if runtime == "litert" else "onnx"
        name = f"{part}_{size}_{quantization}.{suffix}".replace(" ", "_")
        say(f"writing {name}")
        return Candidate(part, size, quantization, runtime, folder / name)

    for size in sizes:
        network = graph.build(architecture, CLASSES, input_size=size)
        for quantization in ("float32", "int8"):
            found = candidate(WHOLE, size, quantization)
            litert(network, size, quantization, found.path)
            yield found
        for part, (cut, dimensions) in parts(architecture).items():
            model = head(network, cut, dimensions)
            for quantization in quantizations:
                found = candidate(part, size, quantization)
                litert(model, size, quantization, found.path)
                yield found
        if onnx:
            from benchmarking import onnx_files

            last = architectures.cuts(architecture)[-1]
            found = candidate(last, size, "float32", "onnxruntime")
            onnx_files.write_float(head(network, last, None), size, found.path)
            yield found
            for quantization, kind in ONNX_ACTIVATIONS.items():
                quantized = candidate(last, size, quantization, "onnxruntime")
                onnx_files.write_int8(found.path, quantized.path, chips(size), kind)
                yield quantized
    if slim and slim.model.slim and slim.network.input_size in sizes:
        size, model, channels = slim.network.input_size, slim.model, slim.model.slim.channels
        found = candidate(SLIM, size, "int8")
        network = graph.build(slim.network.architecture, CLASSES, input_size=size, channels=channels)
        litert(head(network, model.cut, model.dimensions), size, "int8", found.path)
        yield found
    if published and PUBLISHED_SIZE in sizes:
        found = candidate(PUBLISHED, PUBLISHED_SIZE, "float32")
        network = graph.build(
            architecture, PUBLISHED_CLASSES, input_size=PUBLISHED_SIZE, classifier=PUBLISHED_CLASSIFIER
        )
        litert(network, PUBLISHED_SIZE, "float32", found.path)
        yield found
