"""Keras graphs of the layer tables: building, splitting at a cut, folding batch norm away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from privzoo import architectures
from privzoo.architectures import bottleneck, obfuscator
from privzoo.architectures.layers import Conv, Pool, ceil_padding
from privzoo.architectures.residual import BATCH_NORM_EPSILON, ResidualBlock, convolution
from privzoo.errors import ConfigError, UnknownNameError
from privzoo.outputs import ATTRIBUTES, CLASS, Output

if TYPE_CHECKING:
    from keras import KerasTensor

    from privzoo.config import NetworkConfig

# Channels of the input -> its name, and the factor and offset of the first layer. RGB has values 0..255; decibels of a
# spectrogram have 0..80.
INPUTS = {3: ("image", 1 / 64, -2.0), 1: ("spectrogram", 1 / 20, -1.0)}


@keras.saving.register_keras_serializable(package="privzoo")
class LocalResponseNormalization(keras.layers.Layer):
    """x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ** beta, as in Caffe.

    Args:
        size: channels in the window, odd.
        alpha, beta, bias: constants of VGG-S's `norm1` by default.
    """

    def __init__(
        self, size: int = 5, alpha: float = 5e-4, beta: float = 0.75, bias: float = 2.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def call(self, x: Any) -> Any:
        """Normalises a (batch, height, width, channels) tensor."""
        half = self.size // 2
        squares = keras.ops.pad(keras.ops.square(x), [[0, 0], [0, 0], [0, 0], [half, half]])
        channels = x.shape[-1]
        total = sum(squares[..., i : i + channels] for i in range(self.size))
        return x / keras.ops.power(self.bias + self.alpha / self.size * total, self.beta)

    def get_config(self) -> dict:
        """Constructor arguments, for Keras."""
        return {
            **super().get_config(),
            **{"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias},
        }


def convolve(x: KerasTensor, layer: Conv, batch_norm: bool) -> KerasTensor:
    """One convolution with its ReLU, batch norm between the two while a network is trained."""
    if not batch_norm:
        return convolution(layer, activation="relu")(x)
    x = convolution(layer, use_bias=False)(x)
    x = keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{layer.name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{layer.name}_relu")(x)


def _pool(x: KerasTensor, layer: Pool) -> KerasTensor:
    if layer.same:
        return keras.layers.MaxPooling2D(layer.size, layer.stride, padding="same", name=layer.name)(x)
    if x.shape[1] is None:
        # As many rows as any side may need: those that complete no window are left out by the pool.
        padding = layer.stride - 1 if layer.ceil else 0
    else:
        padding = ceil_padding(x.shape[1], layer)
    if padding:
        # Zeros do for minus infinity: the pool's input comes from a ReLU.
        x = keras.layers.ZeroPadding2D(((0, padding), (0, padding)), name=f"{layer.name}_pad")(x)
    return keras.layers.MaxPooling2D(layer.size, layer.stride, name=layer.name)(x)


def build(
    architecture: str,
    classes: int,
    *,
    input_size: int | architectures.Shape | None = 96,
    classifier: Sequence[int] = (),
    batch_norm: bool = False,
    lrn: bool = False,
    dropout: float = 0.0,
    auxiliary: dict[str, int] | None = None,
    probabilities: bool = True,
    output: Output = CLASS,
    channels: Mapping[str, int] | None = None,
) -> keras.Model:
    """Builds a network with fresh weights.

    Args:
        architecture: one of `architectures.ARCHITECTURES`.
        classes: number of primary classes.
        input_size: side of the square RGB input in pixels, not too small; None for any size (compact classifier only);
            or height, width and channels of another input, which is a spectrogram if it has one channel.
        classifier: widths of `fc6` and `fc7`; (4096, 4096) as published, () for average pooling and `fc8` alone.
        batch_norm: batch norm after each convolution, for training; released networks have it folded away.
        lrn: VGG-S's local response norm after `conv1`, as published.
        dropout: rate before `fc8` and after each wider dense layer, for training.
        auxiliary: for training: further outputs (name -> units, maybe none) that share the last hidden layer; the
            model then gives a dict of logits.
        probabilities: softmax at the end; without it the network gives logits.
        output: of attributes, a sigmoid for each in place of softmax.
        channels: for slim heads: convolution -> its output channels, where they are others than the published ones.

    Returns:
        A model from `image`, float32 RGB 0..255 (N, input_size, input_size, 3), or `spectrogram`, float32 0..80
        (N, frames, bands, 1), to (N, classes); with `auxiliary`, to a dict of logits with the primary ones under `fc8`.

    Raises:
        UnknownNameError: unknown architecture.
        ConfigError: input too small, or any size asked for with a flattening classifier.
    """
    table = architectures.layers(architecture, channels)
    shape = architectures.shape_of(input_size)
    if None in shape and classifier:
        raise ConfigError(f"{architecture} with classifier {tuple(classifier)} needs a fixed input size; give one.")
    side = min(known) if (known := [side for side in shape[:2] if side is not None]) else None
    if side is not None and side < (least := architectures.smallest(architecture)):
        raise ConfigError(f"An input of {side} px is too small; use {least} or more.")
    name, factor, offset = INPUTS[shape[-1]]
    image = keras.Input(shape, name=name)
    x = keras.layers.Rescaling(factor, offset=offset, name="normalize")(image)
    for layer in table:
        if isinstance(layer, Conv):
            x = convolve(x, layer, batch_norm)
        else:
            x = _pool(x, layer) if isinstance(layer, Pool) else ResidualBlock(layer, batch_norm, name=layer.name)(x)
        if lrn and isinstance(layer, Conv) and layer.lrn:
            x = LocalResponseNormalization(name=layer.name.replace("conv", "norm"))(x)
    if classifier:
        x = keras.layers.Flatten(name="flatten")(x)
        for i, units in enumerate(classifier):
            x = keras.layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"fc{6 + i}")(x)
            if dropout:
                x = keras.layers.Dropout(dropout, name=f"drop{6 + i}")(x)
    else:
        x = keras.layers.GlobalAveragePooling2D(name="average")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name="drop")(x)
    # Logits stay float32 under mixed precision: the loss needs their small differences.
    logits = keras.layers.Dense(classes, name="fc8", dtype="float32")(x)
    if auxiliary is not None:
        outputs = {name: keras.layers.Dense(units, name=name, dtype="float32")(x) for name, units in auxiliary.items()}
        return keras.Model(image, {"fc8": logits, **outputs}, name=architecture)
    if probabilities:
        name = "probabilities"
        last = (
            keras.layers.Activation("sigmoid", name=name, dtype="float32")
            if output == ATTRIBUTES
            else keras.layers.Softmax(name=name, dtype="float32")
        )
        logits = last(logits)
    return keras.Model(image, logits, name=architecture)


def layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of a chain in their order, without its Input."""
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def chain(
    layers: Sequence[keras.layers.Layer], shape: tuple[int | None, ...], name: str, model_name: str
) -> keras.Model:
    """Replays layers, one after the other, on a new Input.

    Args:
        layers: in their order; they are shared with whatever model they come from.
        shape: of the input, without the batch.
        name: of the input: slicing a model would leave it with a generated one.
        model_name: of the model.
    """
    x = tensor = keras.Input(shape, name=name)
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(x, tensor, name=model_name)


def split(network: keras.Model, cut: str) -> tuple[keras.Model, keras.Model]:
    """Splits a network after the layer `cut`: tail(head(x)) is the network, with the same layer objects.

    Args:
        network: a model of `build` with one output.
        cut: name of a layer, whose ReLU ends the head; or of DataMix's cut, as "block1".

    Returns:
        head: the network's input -> `features`, and tail: `features` -> output.

    Raises:
        UnknownNameError: the network has no such layer.
    """
    chained = layers(network)
    names = [layer.name for layer in chained]
    cut = cut if cut in names else architectures.cut_layer(network.name, cut)
    if cut not in names:
        raise UnknownNameError(f"The network {network.name!r} has no layer {cut!r} to be cut after.")
    end = names.index(f"{cut}_relu" if f"{cut}_relu" in names else cut) + 1
    head = chain(chained[:end], network.input.shape[1:], network.input.name, "head")
    return head, chain(chained[end:], head.output.shape[1:], "features", "tail")


def split3(network: keras.Model, blocks: int) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Splits a network into DataMix's three parts (Liu et al. 2020, equation 2): post(main(pre(x))) is the network.

    Args:
        network: a model of `build` with one output.
        blocks: of convolution in pre, 1 or more: everything before the next convolution, ReLU and pool included.

    Returns:
        pre: `image` -> `features`, on the device; main: `features` -> `hidden`, in the cloud; and post: `hidden` ->
        output, the last layer with its softmax, on the device. They share the network's layers.

    Raises:
        ConfigError: the network does not have so many blocks and a convolution left for main.
    """
    first, middle, last = parts(network, blocks)
    pre = chain(first, network.input.shape[1:], network.input.name, "pre")
    main = chain(middle, pre.output.shape[1:], "features", "main")
    return pre, main, chain(last, main.output.shape[1:], "hidden", "post")


def parts(network: keras.Model, blocks: int) -> tuple[list[keras.layers.Layer], ...]:
    """The layers of `split3`'s three parts; of a network in training, post has its last dropout and auxiliary outputs.

    Raises:
        ConfigError: as `split3`.
    """
    found = layers(network)
    names, cut = [layer.name for layer in found], architectures.block_cut(network.name, blocks)
    # After the cut's batch norm and ReLU, where they are layers of their own.
    start = max(i for i, name in enumerate(names) if name in (cut, f"{cut}_bn", f"{cut}_relu")) + 1
    # Auxiliary outputs stand beside the last layer, in any order.
    ends = network.output if isinstance(network.output, dict) else {architectures.LAST}
    end = min(names.index(name) for name in ends)
    if isinstance(found[end - 1], keras.layers.Dropout):
        end -= 1
    return found[:start], found[start:end], found[end:]


def after(model: keras.Model, name: str, last: str | None = None) -> keras.Model:
    """The layers of a chain that follow one of them, as a model.

    Args:
        model: a chain, such as `build` and `split` return.
        name: of the layer before them.
        last: the name of the last of them; None: up to the end of the chain.
    """
    found = layers(model)
    names = [layer.name for layer in found]
    start, end = names.index(name) + 1, names.index(last) + 1 if last else None
    return chain(found[start:end], found[start - 1].output.shape[1:], name, f"after_{name}")


def fold_batch_norm(weights: dict[str, np.ndarray], epsilon: float = BATCH_NORM_EPSILON) -> dict[str, np.ndarray]:
    """Folds batch norm into the convolutions before it, in float64.

    Args:
        weights: `<layer>/kernel`, `<layer>/bias` and `<layer>_bn/{gamma,beta,moving_mean,moving_variance}` (or
            the same four under `<layer>/`) -> array.
        epsilon: the one that the batch norm was trained with.

    Returns:
        `<layer>/kernel` and `<layer>/bias` -> float32 array, for every layer.
    """
    folded = {}
    for key, kernel in weights.items():
        layer, _, part = key.rpartition("/")
        if part != "kernel":
            continue
        bias = weights.get(f"{layer}/bias", np.zeros(kernel.shape[-1]))
        norm = next((p for p in (f"{layer}_bn", layer) if f"{p}/gamma" in weights), None)
        kernel = kernel.astype(np.float64)
        if norm:
            gamma, beta, mean, variance = (
                weights[f"{norm}/{part}"].astype(np.float64)
                for part in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            scale = gamma / np.sqrt(variance + epsilon)
            # A depthwise kernel, (3, 3, channels, 1), has its channels before the last axis.
            kernel = kernel * (scale if kernel.shape[-1] == len(scale) else scale[:, None])
            bias = beta + (bias - mean) * scale
        folded[f"{layer}/kernel"], folded[f"{layer}/bias"] = (
            kernel.astype(np.float32),
            bias.astype(np.float32),
        )
    return folded


def unfold_batch_norm(network: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Weights with batch norm for a network that has it folded away, so that it can be trained further.

    Args:
        network: of `inference_network`, on whose convolutions batch norm is to follow.
        images: float32 (N, S, S, 3), on which each convolution's mean and variance are measured.

    Returns:
        As `get_weights` of the same network with batch norm: it computes the same, and `fold_batch_norm` undoes it.
    """
    weights, x = get_weights(network), images
    for layer in layers(network):
        if not isinstance(layer, keras.layers.Conv2D):
            x = layer(x)
            continue
        bias = weights.pop(f"{layer.name}/bias")
        values = keras.ops.conv(x, layer.kernel, layer.strides, layer.padding)
        mean, variance = (keras.ops.convert_to_numpy(v) for v in keras.ops.moments(values, axes=(0, 1, 2)))
        weights |= {
            f"{layer.name}_bn/gamma": np.sqrt(variance + BATCH_NORM_EPSILON),
            f"{layer.name}_bn/beta": mean + bias,
            f"{layer.name}_bn/moving_mean": mean,
            f"{layer.name}_bn/moving_variance": variance,
        }
        x = keras.ops.relu(values + bias)
    return weights


def norms(layer: keras.layers.Layer) -> list[keras.layers.BatchNormalization]:
    """The layer itself if it is batch norm, or those in a residual block."""
    inside = layer.norms() if isinstance(layer, ResidualBlock) else [layer]
    return [one for one in inside if isinstance(one, keras.layers.BatchNormalization)]


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Weights of a model as `<layer>/<variable>` -> array."""
    return {
        key: keras.ops.convert_to_numpy(v)
        for layer in model.layers
        for v in layer.weights
        if (key := _key(layer, v)) is not None
    }


def _key(layer: keras.layers.Layer, variable: Any) -> str | None:
    """`<layer>/<variable>`, where of a block its inner layer counts; None for a random source's state."""
    if "seed_generator" in variable.path:
        return None
    inner = variable.path.rpartition("/")[0].rpartition("/")[2] if isinstance(layer, ResidualBlock) else layer.name
    return f"{inner}/{variable.name}"


def set_weights(model: keras.Model, weights: dict[str, np.ndarray], *, missing_ok: bool = False) -> list[str]:
    """Assigns weights by name.

    Args:
        model: the model to fill.
        weights: `<layer>/<variable>` -> array; keys that the model lacks are ignored.
        missing_ok: leave variables that have no key as they are, rather than raise.

    Returns:
        Names of the variables that were left as they are.

    Raises:
        ConfigError: a variable has no key (unless `missing_ok`), or another shape.
    """
    missing = []
    for layer in model.layers:
        for variable in layer.weights:
            key = _key(layer, variable)
            if key is None:
                continue
            if key not in weights:
                missing.append(key)
            elif tuple(weights[key].shape) != tuple(variable.shape):
                raise ConfigError(f"{key} has shape {weights[key].shape}, but {model.name} needs {variable.shape}.")
            else:
                variable.assign(weights[key].astype(np.float32))
    if missing and not missing_ok:
        raise ConfigError(f"{model.name} lacks weights for {', '.join(missing[:3])} ({len(missing)} in all).")
    return missing


def inference_network(config: NetworkConfig, weights: dict[str, np.ndarray]) -> keras.Model:
    """The network as it is released: in float32, without batch norm or dropout, filled with folded weights.

    Args:
        config: the network.
        weights: `<layer>/kernel` and `<layer>/bias` -> array.

    Returns:
        The input, as of `build`, -> probabilities (N, classes); by way of the obfuscated image, if it is obfuscated.

    Raises:
        ConfigError: weights are missing, or have another shape.
    """
    network = build(
        config.architecture,
        len(config.classes),
        input_size=config.input_shape,
        classifier=config.classifier,
        lrn=config.lrn,
        output=config.output,
    )
    if config.obfuscation:
        front = bottleneck.layers(obfuscator.OBFUSCATOR, config.chip_side, config.obfuscation.width)
        network = chain([*front, *layers(network)], network.input.shape[1:], network.input.name, network.name)
    set_weights(network, weights)
    return network
