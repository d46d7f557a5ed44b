"""Builds the manifest of each head and tail, and puts it into a head's file; `privzoo.edge` reads it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import inputs, outputs
from privzoo.edge.manifest import FORMAT, MEMBER
from privzoo.errors import ConfigError
from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.gaussian import Noise, to_manifest
from privzoo.mechanisms.mixing import ENCODINGS, Mixing
from privzoo.mechanisms.randomized_response import RandomizedResponse, check_budget
from privzoo.version import __version__

if TYPE_CHECKING:
    import keras

    from privzoo.card import Card

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
INPUT_NAME, FEATURE_NAME, OUTPUT_NAME = inputs.Faces.name, "features", "probabilities"
HIDDEN_NAME, PACKED_NAME = "hidden", "packed"  # output and second input of a tail for mixtures
SYMBOL_NAME, BUDGET_NAME = "symbol", "epsilon"  # inputs of a coded model's tail
BYTES_OF_FLOAT32 = 4
# Zip archives contain a date; a fixed one makes equal heads equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Code:
    """What the device does to the feature of a coded model.

    Raises:
        ConfigError: an invalid budget.
    """

    book: Codebook
    epsilon: float  # budget of one inference, unless the user sets another

    def __post_init__(self) -> None:
        """Refuses a budget that no device can keep."""
        check_budget(self.epsilon)

    def describe(self) -> dict[str, Any]:
        """Entry `noise` of a manifest."""
        return {**RandomizedResponse(self.book.k, self.epsilon).describe(), "codebook": self.book.describe()}


def _check_code(code: Code, shape: list[int], tail: keras.Model, noise: Noise | None) -> None:
    names = sorted(tensor.name for tensor in tail.inputs)
    if noise is not None or shape != [len(code.book.kernel)] or names != sorted((SYMBOL_NAME, BUDGET_NAME)):
        raise ConfigError(
            f"A code of {len(code.book.kernel)} numbers does not fit a head that gives {shape} and a tail that takes "
            f"{', '.join(names)}; export a coded head and tail cut at the same layer, without noise."
        )


def _check_mixing(
    mixing: Mixing, tail: keras.Model, classes: Sequence[str], output: outputs.Output, others: bool
) -> None:
    if mixing.output != output:
        raise ConfigError(f"A last layer for {mixing.output} does not fit a network for {output}; export one network.")
    if others or tail.output_shape[1:] != (mixing.hidden,) or mixing.kernel.shape[1] != len(classes):
        raise ConfigError(
            f"A last layer from {mixing.hidden} numbers to {mixing.kernel.shape[1]} classes does not fit a tail that "
            f"gives {tail.output_shape[1:]} for {len(classes)}; export the three parts of one network, without noise."
        )


def weights_sha256(weights: Mapping[str, np.ndarray]) -> str:
    """Canonical hash of float weights: the same on every machine, regardless of order and float type.

    Args:
        weights: name -> array of any shape; hashed as float32.

    Returns:
        SHA-256 of names, shapes and little-endian bytes, in the order of the names; 64 hex digits.

    Example:
        >>> weights_sha256({"fc8/bias": np.zeros(2)})[:12]
        '5fe93293474f'
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], "<f4")
        digest.update(json.dumps([name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def model_sha256(model: keras.Model) -> str:
    """`weights_sha256` of a Keras model's float weights, under their paths `<layer>/<variable>`.

    Layers need explicit names: Keras numbers unnamed ones in the order in which a process creates them.
    """
    floats = [v for v in model.weights if "float" in str(v.dtype)]  # a dropout's seed state is not a weight
    return weights_sha256({v.path: np.asarray(v) for v in floats})


def build_manifest(
    head: keras.Model,
    tail: keras.Model,
    *,
    model: str,
    version: int,
    task: str,
    classes: Sequence[str],
    network: str,
    cut: str,
    embedding: str,
    input_size: int | None,
    multiply_adds: tuple[int, int],
    licence: str,
    noise: Noise | None = None,
    rounded: bool = False,
    kind: str = "full",
    code: Code | None = None,
    mixing: Mixing | None = None,
    output: outputs.Output = outputs.CLASS,
) -> dict[str, Any]:
    """Builds the manifest of a head and the tail that belongs to it.

    Args:
        head: `image` (N, S, S, 3), or `spectrogram`, -> features.
        tail: features -> probabilities (N, classes).
        model: name in the zoo.
        version: of the pair, 1 or more.
        task: primary label.
        classes: their names, in the order of the output.
        network: name of the trained network.
        cut: layer after which it is split.
        embedding: what happens at the cut.
        input_size: side of the face chips in pixels; None for speech.
        multiply_adds: of head and tail, for one image.
        licence: of the weights.
        noise: what the device must add to a feature; None for nothing.
        rounded: whether features are integers, which int8 heads only approximate.
        kind: which of the model's heads it is, "full" or "slim"; the tail is the same.
        code: of a coded model, whose tail takes `symbol` and `epsilon`; excludes noise.
        mixing: of a model whose features are mixed, and whose tail gives what the device's last layer takes; excludes
            noise.
        output: what the probabilities are of, classes or attributes.

    Returns:
        A JSON-compatible mapping; the exporters add the quantization and hash of what they write.

    Raises:
        ConfigError: tail and classes, or head and tail, do not match.
    """
    shape = [int(side) for side in head.output_shape[1:]]
    if code is not None:
        _check_code(code, shape, tail, noise)
    elif list(tail.input_shape[1:]) != shape:
        raise ConfigError(
            f"The head gives {shape} and the tail takes {tail.input_shape[1:]}; export a pair cut at the same layer."
        )
    if mixing is not None:
        _check_mixing(mixing, tail, classes, output, noise is not None or code is not None)
    elif tail.output_shape[1:] != (len(classes),):
        raise ConfigError(f"The tail gives {tail.output_shape[1:]}, but there are {len(classes)} classes; name each.")
    tail_hash = model_sha256(tail)
    return {
        "format": FORMAT,
        "model": model,
        "version": version,
        "task": task,
        "classes": list(classes),
        # Left out for classes, as earlier versions wrote it. Those refuse a reply about attributes: its probabilities
        # do not add up to 1.
        **({outputs.KEY: output} if output != outputs.CLASS else {}),
        "network": network,
        "cut": cut,
        "embedding": embedding,
        "input": inputs.of_size(input_size).manifest(),
        "feature": {
            "name": FEATURE_NAME,
            "shape": shape,
            "dtype": "float32",
            "bytes": math.prod(shape) * BYTES_OF_FLOAT32,
            "rounded": rounded,
            **({"name": SYMBOL_NAME, "budget": BUDGET_NAME, "bytes": 1} if code else {}),
            **({"packed": PACKED_NAME, "encodings": list(ENCODINGS), "output": HIDDEN_NAME} if mixing else {}),
        },
        # Under `noise`, so that versions of privzoo that cannot do it refuse the head instead of sending its feature.
        "noise": made.describe() if (made := code or mixing) else to_manifest(noise) if noise is not None else None,
        **({"post": mixing.post()} if mixing else {}),
        "head": {"kind": kind, "weights_sha256": model_sha256(head)},
        "tail": {"weights_sha256": tail_hash, "signature": f"tail_{tail_hash[:12]}"},
        "multiply_adds": {"head": int(multiply_adds[0]), "tail": int(multiply_adds[1])},
        "privzoo": __version__,
        "licence": licence,
    }


def build(
    card: Card,
    head: keras.Model,
    tail: keras.Model,
    noise: Noise | None = None,
    code: Code | None = None,
    mixing: Mixing | None = None,
) -> dict[str, Any]:
    """Builds the manifest of a model of the zoo from its card; with the card's noise by default."""
    if noise is None and card.model.noise is not None:
        noise = Noise(card.model.noise.sigma, card.model.noise.clip)
    return build_manifest(
        head,
        tail,
        model=card.model.name,
        version=card.model.version,
        task=card.network.task,
        classes=card.network.classes,
        network=card.model.network,
        cut=card.model.cut,
        embedding=card.model.embedding,
        input_size=card.network.input_size,
        multiply_adds=(card.cost.head_multiply_adds, card.cost.tail_multiply_adds),
        licence=card.network.licence,
        noise=noise,
        rounded=card.model.step is not None,
        kind=card.head,
        code=code,
        mixing=mixing,
        output=card.network.output,
    )


def check_weights(model: keras.Model, part: str, manifest: Mapping[str, Any]) -> None:
    """Refuses a manifest that was built for other weights.

    Args:
        model: the head or tail about to be exported.
        part: "head" or "tail".
        manifest: of `build_manifest`.

    Raises:
        ConfigError: the hash of the model's weights is not the manifest's.
    """
    if model_sha256(model) != manifest[part]["weights_sha256"]:
        raise ConfigError(f"The manifest was built for a {part} with other weights; build it from this {part}.")


def to_json(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as indented UTF-8 JSON text."""
    return (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def append_manifest(flatbuffer: bytes, manifest: Mapping[str, Any]) -> bytes:
    """Appends the manifest to a TFLite flatbuffer, as TFLite metadata's associated file.

    Args:
        flatbuffer: the converter's output.
        manifest: of `build_manifest`.

    Returns:
        The file's bytes; the manifest in them has hash and length of the flatbuffer.
    """
    head = {**manifest["head"], "sha256": hashlib.sha256(flatbuffer).hexdigest(), "bytes": len(flatbuffer)}
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER, _DATE), to_json({**manifest, "head": head}))
    return file.getvalue()
