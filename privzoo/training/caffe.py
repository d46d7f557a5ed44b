"""Networks of Caffe, read from their two files: the prototxt has the layers, the caffemodel their weights.

Protobuf's own parser reads both (`caffe_messages`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from privzoo import checks
from privzoo.errors import ConfigError, WeightsError
from privzoo.training.caffe_messages import ENUMS, TYPES, classes

# Layers that end a network, or that measure its output: the zoo has a softmax of its own.
_ENDS = {"Softmax", "SoftmaxWithLoss", "Accuracy", "Silence", "ArgMax"}
_SOURCES = {"Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData"}
Kind = Literal["convolution", "dense", "relu", "pool", "lrn"]


@dataclass(frozen=True)
class Pixels:
    """What Caffe did to an image before its first layer: scale * (image - mean)."""

    mean: tuple[float, float, float]  # pixel in BGR, grey levels 0..255
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raises ConfigError for numbers that make no sense."""
        for value in self.mean:
            checks.number("mean pixel", value)
        checks.number("scale", self.scale, above=0)


@dataclass(frozen=True)
class Step:
    """One layer that computes, in the order in which the network runs."""

    kind: Kind
    name: str
    shape: tuple[int, int, int]  # of its output: channels, height and width; of a dense layer (units, 1, 1)
    # Of a convolution: kernel, stride, pad; of a pool: kernel, stride; of an LRN: size, alpha, beta, k.
    numbers: dict[str, float] = field(default_factory=dict)
    kernel: np.ndarray | None = None  # float32: convolution (out, in, k, k), groups expanded; dense (out, in)
    bias: np.ndarray | None = None  # float32 (out,)


@dataclass(frozen=True)
class CaffeNetwork:
    """A network as Caffe runs it: on BGR images, channels first."""

    shape: tuple[int, int, int]  # of the input: channels, height and width
    steps: tuple[Step, ...]  # dropout and softmax left out
    scale: float | None  # of the input after the mean was taken off; None: the prototxt has none
    mean: tuple[float, ...]  # pixel in BGR, of the prototxt; empty: it has none
    mean_file: str | None  # that the prototxt names


def read(model: Path, prototxt: Path) -> CaffeNetwork:
    """Reads a network.

    Args:
        model: the `.caffemodel`, with layers of the old form (V1) or the new one.
        prototxt: the layers, for use (`deploy.prototxt`) or for training; in the latter, what Caffe's phase TEST has.

    Raises:
        WeightsError: a file is missing, damaged, truncated, or another.
        ConfigError: the network is not a chain of layers that the zoo's networks could have, or the files do not fit
            each other.
    """
    layers = _read_text(prototxt)
    return _Reader(_blobs(model), model, prototxt).network(layers)


def read_mean(path: Path) -> np.ndarray:
    """Reads a mean image (`.binaryproto`).

    Returns:
        float32 (channels, height, width), in BGR.

    Raises:
        WeightsError: the file is missing, damaged, or another.
    """
    blob = classes()["BlobProto"]()
    _parse(path, blob, "a mean image of Caffe")
    values = _values(blob)
    shape = _shape(blob)[-3:]
    if len(shape) != 3 or shape[0] != 3 or math.prod(shape) != len(values) or not np.isfinite(values).all():
        raise WeightsError(f"The file {path} is not a mean image of three channels; give a .binaryproto of Caffe.")
    return values.reshape(shape)


def reduced(image: np.ndarray, allowed: bool) -> tuple[float, float, float]:
    """The mean pixel of a mean image.

    Args:
        image: float32 (3, height, width), in BGR.
        allowed: whether the mean over all places may stand for an image whose pixels differ.

    Raises:
        ConfigError: they differ, and that is not allowed.
    """
    if not allowed and np.ptp(image, axis=(1, 2)).max() > 0:
        raise ConfigError(
            "The pixels of the mean image differ, and the zoo's networks take off one mean pixel; allow its mean over "
            "all places with --reduce_mean, which changes the answers somewhat."
        )
    first, second, third = (float(value) for value in image.mean(axis=(1, 2), dtype=np.float64))
    return first, second, third


def _content(path: Path) -> bytes:
    try:
        return checks.local_path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from None


def _parse(path: Path, message: Any, noun: str) -> None:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(_content(path))
    except (DecodeError, ValueError):  # the latter of text that is not UTF-8
        raise WeightsError(f"The file {path} is truncated, damaged or not {noun}; download or copy it again.") from None


def _read_text(path: Path) -> Any:
    from google.protobuf import text_format

    net, refusal = classes()["NetParameter"](), f"The file {path} is not a prototxt of Caffe"
    try:
        text_format.Parse(_content(path).decode("utf-8"), net, allow_unknown_field=True)
    except text_format.ParseError as error:
        place = f" (line {error.GetLine()})" if error.GetLine() else ""
        raise WeightsError(f"{refusal}{place}; give the text file with the network's layers.") from None
    except (ValueError, RecursionError):
        raise WeightsError(f"{refusal}; give the text file with the network's layers.") from None
    if not net.layer and not net.layers:
        raise WeightsError(f"{refusal}: it has no layers; give the text file with the network's layers.")
    return net


def _blobs(path: Path) -> dict[str, list[Any]]:
    """Layer -> the blobs of its weights."""
    net = classes()["NetParameter"]()
    _parse(path, net, "a caffemodel")
    try:
        found = {layer.name: list(layer.blobs) for layer in (*net.layers, *net.layer) if layer.blobs}
    except UnicodeDecodeError:
        found = {}
    if not found:
        raise WeightsError(f"The file {path} has no layers with weights; give the .caffemodel of the network.")
    return found


def _values(blob: Any) -> np.ndarray:
    data = blob.data if len(blob.data) else blob.double_data
    return np.fromiter(data, np.float32, len(data))


def _shape(blob: Any) -> tuple[int, ...]:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return (blob.num, blob.channels, blob.height, blob.width)


def _bare(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape without leading ones: the old form gives every blob four axes."""
    shape = tuple(shape)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


class _Reader:
    """Follows the layers from the input on."""

    def __init__(self, blobs: dict[str, list[Any]], model: Path, prototxt: Path) -> None:
        self.blobs, self.model, self.prototxt = blobs, model, prototxt
        self.steps: list[Step] = []
        self.shape: tuple[int, int, int] = (0, 0, 0)
        self.making: dict[str, Callable[[Any], None]] = {
            "Convolution": self.convolution,
            "InnerProduct": self.dense,
            "Pooling": self.pool,
            "LRN": self.lrn,
            "ReLU": self.relu,
        }

    def network(self, net: Any) -> CaffeNetwork:
        """The network of a parsed prototxt."""
        layers = [(_kind(layer), layer) for layer in (*net.layers, *net.layer) if _in_test(layer)]
        sources = [layer for kind, layer in layers if kind in _SOURCES]
        start = net.input[0] if net.input else (sources[0].top[0] if sources and sources[0].top else "data")
        transforms = [layer.transform_param for layer in sources if layer.HasField("transform_param")]
        transform = transforms[0] if transforms else classes()["TransformationParameter"]()
        shape = self.shape = self.input_shape(net, sources, transform)
        current, ended = start, ""
        for kind, layer in layers:
            if kind in _SOURCES:
                continue
            if kind in _ENDS and layer.bottom and (ended or layer.bottom[0] == current):
                ended = layer.name
                continue
            if list(layer.bottom) != [current] or len(layer.top) != 1 or ended:
                raise self.refusal(layer, f"one layer after the other, here one that reads {current!r} alone")
            if kind not in ("Dropout", "Flatten"):
                if kind not in self.making:
                    raise self.refusal(layer, f"{', '.join(self.making)}, Dropout or Softmax, not {kind or 'none'}")
                self.making[kind](layer)
            current = layer.top[0]
        means = tuple(transform.mean_value)
        return CaffeNetwork(
            shape=shape,
            steps=tuple(self.steps),
            scale=transform.scale if transform.HasField("scale") else None,
            mean=means * 3 if len(means) == 1 else means,
            mean_file=transform.mean_file or None,
        )

    def refusal(self, layer: Any, expected: str) -> ConfigError:
        return ConfigError(f"The layer {layer.name!r} of {self.prototxt} does not fit; expected is {expected}.")

    def input_shape(self, net: Any, sources: list[Any], transform: Any) -> tuple[int, int, int]:
        given = [tuple(shape.dim) for shape in net.input_shape] + [tuple(net.input_dim)]
        given += [
            tuple(shape.dim) for layer in sources if _has(layer, "input_param") for shape in layer.input_param.shape
        ]
        if transform.crop_size:
            given.append((1, 3, transform.crop_size, transform.crop_size))
        shape = next((shape for shape in given if shape), ())[-3:]
        if len(shape) != 3 or min(shape) < 1:
            raise ConfigError(
                f"{self.prototxt} does not say how large the input is; give the one for use, with input_dim or an "
                "Input layer."
            )
        return shape

    def take(self, layer: Any, shape: tuple[int, ...], biased: bool) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of a layer."""
        blobs, wanted = self.blobs.get(layer.name, []), 2 if biased else 1
        if len(blobs) < wanted:
            raise WeightsError(
                f"{self.model} lacks weights of the layer {layer.name!r} of {self.prototxt}; give the caffemodel that "
                "belongs to it, as a whole."
            )
        found = []
        for blob, expected in zip(blobs[:wanted], (shape, shape[:1]), strict=False):
            values, given = _values(blob), _shape(blob)
            if _bare(given) != _bare(expected):
                raise ConfigError(
                    f"The weights of the layer {layer.name!r} in {self.model} have shape {given}, but {self.prototxt} "
                    f"needs {expected}; give the files of one network."
                )
            if len(values) != math.prod(expected) or not np.isfinite(values).all():
                raise WeightsError(
                    f"The weights of the layer {layer.name!r} in {self.model} are damaged; download or copy it again."
                )
            found.append(values.reshape(expected))
        return found[0], found[1] if biased else np.zeros(shape[0], np.float32)

    def sides(self, layer: Any, settings: Any, name: str, default: int) -> int:
        """A setting that is the same for height and width."""
        short, given = name.removesuffix("_size"), getattr(settings, name)
        axes = (f"{short}_h", f"{short}_w")
        if any(settings.HasField(axis) for axis in axes):
            found = {getattr(settings, axis) for axis in axes}
        elif isinstance(given, int):
            found = {given} if settings.HasField(name) else {default}
        else:
            found = set(given) or {default}
        if len(found) != 1 or min(found) < (0 if name == "pad" else 1):
            raise self.refusal(layer, f"one {short} for height and width, {0 if name == 'pad' else 1} or more")
        return found.pop()

    def convolution(self, layer: Any) -> None:
        settings, (channels, *sides) = layer.convolution_param, self.shape
        kernel, stride = self.sides(layer, settings, "kernel_size", 0), self.sides(layer, settings, "stride", 1)
        pad, outputs = self.sides(layer, settings, "pad", 0), settings.num_output
        groups = settings.group if settings.HasField("group") else 1
        if set(settings.dilation) - {1}:
            raise self.refusal(layer, "a convolution without dilation")
        if outputs < 1 or groups < 1 or channels % groups or outputs % groups:
            raise self.refusal(layer, f"a num_output of 1 or more, and groups that divide it and {channels} channels")
        weights, bias = self.take(layer, (outputs, channels // groups, kernel, kernel), _biased(settings))
        height, width = ((side + 2 * pad - kernel) // stride + 1 for side in sides)
        numbers: dict[str, float] = {"kernel": kernel, "stride": stride, "pad": pad}
        self.add("convolution", layer, (outputs, height, width), numbers, ungrouped(weights, groups), bias)

    def dense(self, layer: Any) -> None:
        settings, units = layer.inner_product_param, layer.inner_product_param.num_output
        if settings.transpose or (settings.HasField("axis") and settings.axis != 1) or units < 1:
            raise self.refusal(layer, "an InnerProduct over all of an image's values, not transposed")
        weights, bias = self.take(layer, (units, math.prod(self.shape)), _biased(settings))
        self.add("dense", layer, (units, 1, 1), {}, weights, bias)

    def pool(self, layer: Any) -> None:
        settings, (channels, *sides) = layer.pooling_param, self.shape
        if settings.pool or settings.global_pooling or self.sides(layer, settings, "pad", 0):
            raise self.refusal(layer, "max pooling without padding, not over the whole image")
        kernel, stride = self.sides(layer, settings, "kernel_size", 0), self.sides(layer, settings, "stride", 1)
        rounded = math.floor if settings.round_mode else math.ceil
        height, width = (rounded((side - kernel) / stride) + 1 for side in sides)
        self.add("pool", layer, (channels, height, width), {"kernel": kernel, "stride": stride})

    def lrn(self, layer: Any) -> None:
        settings, defaults = layer.lrn_param, {"local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0}
        if settings.norm_region:
            raise self.refusal(layer, "an LRN across channels")
        numbers = {
            name: getattr(settings, name) if settings.HasField(name) else default for name, default in defaults.items()
        }
        self.add("lrn", layer, self.shape, numbers)

    def relu(self, layer: Any) -> None:
        if layer.relu_param.negative_slope:
            raise self.refusal(layer, "a ReLU without negative_slope")
        self.add("relu", layer, self.shape)

    def add(
        self,
        kind: Kind,
        layer: Any,
        shape: tuple[int, int, int],
        numbers: dict[str, float] | None = None,
        kernel: np.ndarray | None = None,
        bias: np.ndarray | None = None,
    ) -> None:
        if min(shape) < 1:
            raise self.refusal(layer, "a larger input")
        self.steps.append(Step(kind, layer.name, shape, numbers or {}, kernel, bias))
        self.shape = shape


def ungrouped(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a convolution without groups that computes the same: zeros where groups do not meet.

    Args:
        kernel: float32 (out, in / groups, k, k).
        groups: that divide its outputs.

    Returns:
        float32 (out, in, k, k).
    """
    outputs, inputs, *sides = kernel.shape
    dense = np.zeros((outputs, inputs * groups, *sides), kernel.dtype)
    for i in range(groups):
        rows = slice(i * outputs // groups, (i + 1) * outputs // groups)
        dense[rows, i * inputs : (i + 1) * inputs] = kernel[rows]
    return dense


def _biased(settings: Any) -> bool:
    return settings.bias_term if settings.HasField("bias_term") else True


def _has(layer: Any, name: str) -> bool:
    return name in layer.DESCRIPTOR.fields_by_name and layer.HasField(name)


def _kind(layer: Any) -> str:
    """Type of a layer, as the new form calls it."""
    if isinstance(layer.type, str):
        return layer.type
    return list(TYPES.values())[layer.type]


def _in_test(layer: Any) -> bool:
    """Whether Caffe's phase TEST has a layer."""
    test = ENUMS["Phase"]["TEST"]
    includes = not layer.include or any(not rule.HasField("phase") or rule.phase == test for rule in layer.include)
    return includes and not any(rule.HasField("phase") and rule.phase == test for rule in layer.exclude)
