"""From a network of Caffe to one of the zoo: its weights in the zoo's order, mean and scale in conv1."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo import architectures, checks, weights
from privzoo import config as configs
from privzoo.architectures import graph
from privzoo.architectures.layers import Conv, Pool
from privzoo.config import NetworkConfig
from privzoo.errors import ConfigError, PrivzooError
from privzoo.provenance import write_json
from privzoo.training.caffe import CaffeNetwork, Pixels, Step

IMAGES, SMOOTH = 8, 8  # images on which changes are measured, and the side of the noise that they are enlarged from
LRN = {"local_size": "size", "alpha": "alpha", "beta": "beta", "k": "bias"}  # Caffe's names -> the zoo's


@dataclass(frozen=True)
class Imported:
    """A network of the zoo that computes what Caffe's did."""

    weights: dict[str, np.ndarray]  # as `graph.inference_network` takes them, float32
    classifier: tuple[int, ...]  # widths of fc6, fc7
    lrn: bool
    input_size: int  # pixels
    outputs: int


def fit(network: CaffeNetwork, architecture: str, pixels: Pixels) -> Imported:
    """Puts the weights of a network in the places of one of the zoo's architectures.

    Args:
        network: of `caffe.read`.
        architecture: "vgg16" or "vgg_s".
        pixels: what was done to its input.

    Returns:
        The network. It computes the same but at the border of a first layer with zero padding, see `border`.

    Raises:
        ConfigError: a layer is another than the architecture has at its place, or one is missing or too many.
    """
    channels, height, width = network.shape
    if channels != 3 or height != width:
        raise ConfigError(f"The input is {channels} x {height} x {width}; expected is a square image of 3 channels.")
    if height < (least := architectures.smallest(architecture)):
        raise ConfigError(f"An input of {height} px is too small for {architecture}; it takes {least} or more.")
    table, waiting = architectures.layers(architecture), _Waiting(network.steps, architecture)
    values: dict[str, np.ndarray] = {}
    costs = architectures.costs(architecture, height, 2)
    shapes = {cost.name: (cost.shape[-1], *cost.shape[:-1]) for cost in costs[: len(table)]}
    lrn = False
    shape: tuple[int, ...] = network.shape
    for place in table:
        shape = shapes[place.name]
        if isinstance(place, Conv):
            pad = (place.kernel - 1) // 2 if place.padding == "same" else 0
            step = waiting.take("convolution", place.name, shape, kernel=place.kernel, stride=place.stride, pad=pad)
            kernel, bias = _given(step)
            values |= {f"{place.name}/kernel": kernel.transpose(2, 3, 1, 0), f"{place.name}/bias": bias}
            waiting.take("relu", place.name, shape)
            if place.lrn and waiting.kind == "lrn":
                _check_lrn(waiting.take("lrn", place.name, shape))
                lrn = True
        elif isinstance(place, Pool):
            waiting.take("pool", place.name, shape, kernel=place.size, stride=place.stride)
    widths: list[int] = []
    while True:
        name = f"fc{6 + len(widths)}"
        kernel, bias = _given(waiting.take("dense", name, None))
        values |= {name: kernel, f"{name}/bias": bias}
        widths.append(len(bias))
        if waiting.kind is None:
            break
        waiting.take("relu", name, None)
    if len(widths) < 2:
        raise ConfigError(f"The network has one dense layer; expected are fc6 and more before {architectures.LAST}.")
    last = f"fc{5 + len(widths)}"
    for i in range(len(widths)):
        name = f"fc{6 + i}"
        kernel = values.pop(name)
        if i == 0:  # channels came first in the feature that it reads, and now come last
            kernel = kernel.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        target = architectures.LAST if name == last else name
        values |= {f"{target}/kernel": kernel.T, f"{target}/bias": values.pop(f"{name}/bias")}
    first = table[0].name
    folded = folded_input(values[f"{first}/kernel"], values[f"{first}/bias"], pixels)
    values |= dict(zip((f"{first}/kernel", f"{first}/bias"), folded, strict=True))
    values = {key: np.ascontiguousarray(value, np.float32) for key, value in values.items()}
    return Imported(values, tuple(widths[:-1]), lrn, height, widths[-1])


def ordered(imported: Imported, classes: Sequence[str], wanted: Sequence[str]) -> Imported:
    """Puts the outputs of a network in another order.

    Args:
        imported: of `fit`.
        classes: in the order of its outputs.
        wanted: in the order that they shall have, such as that of a data set's labels.

    Raises:
        ConfigError: these are not the same classes, or not as many as the network's outputs.
    """
    if sorted(classes) != sorted(wanted):
        raise ConfigError(f"The classes are {', '.join(classes)}; the data set has {', '.join(wanted)}.")
    check_count(imported, classes)
    places = [list(classes).index(name) for name in wanted]
    keys = [f"{architectures.LAST}/{part}" for part in ("kernel", "bias")]
    moved = {key: np.ascontiguousarray(imported.weights[key][..., places]) for key in keys}
    return dataclasses.replace(imported, weights=imported.weights | moved)


def check_count(imported: Imported, classes: Sequence[str]) -> None:
    """Raises ConfigError unless there are two classes or more, as many as the network has outputs."""
    if len(classes) < 2:
        raise ConfigError("One class was given; a network needs two or more.")
    if len(classes) != imported.outputs:
        raise ConfigError(f"The network has {imported.outputs} outputs, but {len(classes)} classes were given.")


class _Waiting:
    """The steps of a network that have no place yet."""

    def __init__(self, steps: tuple[Step, ...], architecture: str) -> None:
        self.steps, self.architecture = list(steps), architecture

    @property
    def kind(self) -> str | None:
        """Of the next one; None after the last."""
        return self.steps[0].kind if self.steps else None

    def take(self, kind: str, place: str, shape: tuple[int, ...] | None, **numbers: float) -> Step:
        """The next step, which must be of a kind and shape, with such numbers."""
        wanted = {"relu": f"a ReLU after {place}", "lrn": f"an LRN after {place}"}.get(kind, f"a {kind} layer")
        wanted += "".join(f", {name} {number}" for name, number in numbers.items())
        beyond = f"{self.architecture} has {wanted} at the place of {place}"
        if not self.steps:
            raise ConfigError(f"The network ends too early: {beyond}.")
        step = self.steps.pop(0)
        if step.kind != kind or any(step.numbers[name] != number for name, number in numbers.items()):
            found = "".join(f", {name} {number:g}" for name, number in step.numbers.items())
            raise ConfigError(f"The layer {step.name!r} ({step.kind}{found}) does not fit: {beyond}.")
        if shape is not None and step.shape != shape:
            raise ConfigError(
                f"The layer {step.name!r} gives {' x '.join(map(str, step.shape))} values (channels x height x width); "
                f"{place} of {self.architecture} gives {' x '.join(map(str, shape))}."
            )
        return step


def _given(step: Step) -> tuple[np.ndarray, np.ndarray]:
    assert step.kernel is not None and step.bias is not None, "a convolution or dense layer has weights"
    return step.kernel, step.bias


def _check_lrn(step: Step) -> None:
    layer = graph.LocalResponseNormalization()
    wanted = {name: getattr(layer, zoo_name) for name, zoo_name in LRN.items()}
    if any(not math.isclose(step.numbers[name], value, rel_tol=1e-6) for name, value in wanted.items()):
        found = ", ".join(f"{name} {value:g}" for name, value in step.numbers.items())
        expected = ", ".join(f"{name} {value:g}" for name, value in wanted.items())
        raise ConfigError(f"The layer {step.name!r} does not fit: it has {found}; expected is {expected}.")


def folded_input(kernel: np.ndarray, bias: np.ndarray, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution for the zoo's input: RGB, in the units of its layer `normalize`.

    Args:
        kernel: float32 (k, k, 3, out), on BGR.
        bias: float32 (out,).
        pixels: what was done to the image before it.

    Returns:
        Kernel and bias, float64. Where no padding is in its window, the convolution gives the same.
    """
    _, factor, offset = graph.INPUTS[3]
    rgb = kernel[:, :, ::-1].astype(np.float64)
    # With z = factor * image + offset: scale * (image - mean) = scale / factor * z - scale * (offset / factor + mean).
    shift = -pixels.scale * (offset / factor + np.array(pixels.mean[::-1]))
    return rgb * (pixels.scale / factor), bias + np.einsum("hwio,i->o", rgb, shift)


def border(network: keras.Model, pixels: Pixels) -> dict[str, float] | None:
    """What the first layer's zero padding changes: in Caffe a padded zero is the mean pixel, in the zoo grey 128.

    Args:
        network: of `graph.inference_network`, with folded weights.
        pixels: what was done to the input of Caffe's.

    Returns:
        Measured on `images`: the largest change of a probability, and how many labels change. None without padding or
        with a mean of 128, where nothing changes.
    """
    first = architectures.layers(network.name)[0]
    assert isinstance(first, Conv), "each of the architectures begins with a convolution"
    _, factor, offset = graph.INPUTS[3]
    mean = (np.array(pixels.mean[::-1]) * factor + offset).astype(np.float32)
    if first.padding == "valid" or not mean.any():
        return None
    faces, layer, pad = images(network.input.shape[1]), network.get_layer(first.name), (first.kernel - 1) // 2
    inside = np.pad(faces * np.float32(factor) + np.float32(offset) - mean, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    x = keras.ops.relu(keras.ops.conv(inside + mean, layer.kernel, first.stride, "valid") + layer.bias)
    rest = graph.after(network, first.name)
    return _changes(np.asarray(rest(x)), np.asarray(network(faces)))


def images(side: int) -> np.ndarray:
    """Smooth images of seeded noise on which changes are measured, float32 (IMAGES, side, side, 3), 0..255 in RGB."""
    coarse = np.random.default_rng(1).uniform(0, 255, (IMAGES, SMOOTH, SMOOTH, 3)).astype(np.float32)
    return np.clip(np.asarray(keras.ops.image.resize(coarse, (side, side), "bicubic")), 0, 255)


def _changes(wanted: np.ndarray, found: np.ndarray) -> dict[str, float]:
    return {
        "images": len(wanted),
        "largest_probability_change": float(np.abs(wanted - found).max()),
        "labels_changed": int((wanted.argmax(1) != found.argmax(1)).sum()),
    }


def write(config: NetworkConfig, imported: Imported, pixels: Pixels, folder: Path, facts: dict[str, Any]) -> dict:
    """Writes a network's weights, its config and a record of the import; the layout is that of `zoo_configs`.

    Args:
        config: without what comes from the files, which is entered here.
        imported: of `fit`.
        pixels: that it was made with.
        folder: created if missing: `networks/<name>.yaml`, `weights/<name>.npz`, `weights/<name>.caffe.json`.
        facts: for the record.

    Returns:
        The record: `facts` with what the border (see `border`) and the coding of the weights change.

    Raises:
        ConfigError: the classes are not as many as the network's outputs, the folder has such a network, or it cannot
            be written to.
        WeightsError: a weight is not finite.
    """
    check_count(imported, config.classes)
    path = checks.local_path(folder) / "weights" / f"{config.name}.npz"
    yaml, record = path.parent.parent / "networks" / f"{config.name}.yaml", path.with_suffix(".caffe.json")
    if taken := next((file for file in (path, yaml, record) if file.exists()), None):
        raise ConfigError(f"{taken} exists; give another --name or --out_dir, or delete it.")
    config = dataclasses.replace(
        config, classifier=imported.classifier, lrn=imported.lrn, input_size=imported.input_size
    )
    network = graph.inference_network(config, imported.weights)
    faces = images(config.chip_side)
    exact = np.asarray(network(faces))
    changed = border(network, pixels)
    try:
        config = dataclasses.replace(config, weights=weights.save(imported.weights, path, config.coding))
        graph.set_weights(network, weights.read(path))
        coded = _changes(exact, np.asarray(network(faces)))
        found = {**facts, "mean_bgr": list(pixels.mean), "scale": pixels.scale, "border": changed, "coding": coded}
        write_json(record, found)
        configs.write(config, yaml)
    except BaseException as error:  # a network is there as a whole or not at all
        for file in (path, record, yaml):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, PrivzooError):
            raise ConfigError(f"The network cannot be written to {folder}: {error.strerror or error}.") from None
        raise
    return found
