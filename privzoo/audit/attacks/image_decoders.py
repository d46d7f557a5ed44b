"""Decoders of features that are images: what an obfuscator hides from people, is it hidden from a fresh decoder?

- "image as sent": nobody decodes; the recogniser looks at the obfuscated image itself.
- "own deobfuscator": the one that the obfuscator was trained against, as released: the published evidence.
- "fresh deobfuscator": the same network (Leroux et al. 2018, Table 4), trained afresh on the finished obfuscator's
  output.
- "u-net": a larger network, with shortcuts between equal resolutions (Ronneberger et al. 2015), by squared error;
  "perceptual u-net" adds the error in a frozen layer of one of the zoo's networks; "adversarial u-net" has pix2pix's
  loss.

They are trained by `decoders.train`, like those of other features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from privzoo import config, weights
from privzoo.architectures import bottleneck, graph, obfuscator
from privzoo.audit.attacks import decoders
from privzoo.audit.attacks.decoders import BATCH, Decode, Settings
from privzoo.audit.attacks.recogniser import grey
from privzoo.embeddings import obfuscated
from privzoo.mechanisms.gaussian import Noise

AS_SENT, OWN, FRESH = "image as sent", "own deobfuscator", "fresh deobfuscator"
U_NET, PERCEPTUAL, ADVERSARIAL = "u-net", "perceptual u-net", "adversarial u-net"
UNTRAINED = (AS_SENT, OWN)  # nothing is drawn in these
METHODS = (*UNTRAINED, FRESH, U_NET, PERCEPTUAL, ADVERSARIAL)
EYES, LAYER = "vgg16_gender", "conv2_2"  # whose outputs the perceptual loss compares
PERCEPTUAL_WEIGHT = 0.1  # of that error as a share, beside the squared error of pixels in -1..1
SCALES = 4  # resolutions of the u-net


def learn(
    method: str,
    known: tuple[np.ndarray, np.ndarray],
    noise: Noise | None,
    seed: int,
    settings: Settings,
    folder: Path | None = None,
    progress: bool = False,
    network: str | None = None,
) -> Decode:
    """Trains a decoder of images, or takes one as it is.

    Args:
        method: of `METHODS`.
        known: the attacker's features before noise, images (N, S, S, 3), and its N images, as for `recogniser.grey`.
        noise, seed, settings, folder, progress: as of `decoders.train`.
        network: the obfuscated network, whose released deobfuscator `OWN` is.

    Raises:
        FeatureError, WeightsError, ConfigError: as of `decoders.train`; or the network has no obfuscator.
    """
    if method == AS_SENT:
        return lambda received: _grey(received, settings.side)
    if method == OWN:
        return own(config.given(network, "No network is named whose own deobfuscator decodes"), settings.side)
    settings = dataclasses.replace(settings, adversarial=method == ADVERSARIAL)
    build = deobfuscator if method == FRESH else u_net
    loss = perceptual(settings.side) if method == PERCEPTUAL else "mean_squared_error"
    return decoders.train(*known, noise, seed, settings, folder, progress, build, loss)


def own(network: str, side: int) -> Decode:
    """The released deobfuscator of an obfuscated network, whose pictures are made grey."""
    described = config.network(network)
    model = obfuscated.deobfuscator(described, weights.load(described))

    def decode(received: np.ndarray) -> np.ndarray:
        parts = [
            _grey(ops.convert_to_numpy(model(received[i : i + BATCH], training=False)), side)
            for i in range(0, len(received), BATCH)
        ]
        return np.concatenate(parts)

    return decode


def _grey(images: np.ndarray, side: int) -> np.ndarray:
    return grey(np.asarray(images).round().clip(0, 255).astype(np.uint8), side).round().clip(0, 255).astype(np.uint8)


def deobfuscator(shape: tuple[int, ...], settings: Settings) -> keras.Model:
    """Table 4's network with fresh weights: standardised images (N, *shape) -> images (N, side, side, 1).

    Args:
        shape: of one feature, (S, S, 3).
        settings: side counts.
    """
    # Without its own scaling at both ends: features come standardised, and decoders' images are -1..1.
    layers = bottleneck.layers(obfuscator.DEOBFUSCATOR, shape[0], batch_norm=True)[1:-2]
    x = inputs = keras.Input(shape, name="features")
    for layer in layers:
        x = layer(x)
    x = keras.layers.Conv2D(1, 1, name="grey")(x)
    return keras.Model(inputs, _sized(x, settings.side, "image"), name="decoder")


def u_net(shape: tuple[int, ...], settings: Settings) -> keras.Model:
    """A u-net: standardised images (N, *shape) -> images (N, side, side, 1).

    Args:
        shape: of one feature, (S, S, channels).
        settings: side and width count; the first resolution has half the width as channels, each next one twice those.
    """

    def convolved(x: Any, count: int) -> Any:
        for _ in range(2):
            x = keras.layers.LeakyReLU(0.2)(keras.layers.Conv2D(count, 3, padding="same")(x))
        return x

    inputs = keras.Input(shape, name="features")
    # A side that can be halved as often as there are scales.
    multiple = 2 ** (SCALES - 1)
    x = _sized(inputs, -(-settings.side // multiple) * multiple)
    counts = [max(4, settings.width // 2 << scale) for scale in range(SCALES)]
    kept = []
    for count in counts[:-1]:
        kept.append(x := convolved(x, count))
        x = keras.layers.AveragePooling2D(2)(x)
    x = convolved(x, counts[-1])
    for count, same in zip(counts[-2::-1], reversed(kept), strict=True):
        x = keras.layers.Concatenate()([keras.layers.UpSampling2D(2)(x), same])
        x = convolved(x, count)
    x = keras.layers.Conv2D(1, 3, padding="same", name="grey")(x)
    return keras.Model(inputs, _sized(x, settings.side, "image"), name="decoder")


def _sized(x: Any, side: int, name: str | None = None) -> Any:
    if x.shape[1] == side:
        return keras.layers.Identity(name=name)(x)
    return keras.layers.Resizing(side, side, interpolation="bilinear", name=name)(x)


def perceptual(side: int, eyes: str = EYES, layer: str = LAYER) -> Callable[[Any, Any], Any]:
    """Squared error of pixels, and of a frozen layer's outputs as a share of their mean square.

    Args:
        side: of the images in pixels.
        eyes: network of the zoo.
        layer: of it.

    Returns:
        A loss of images (N, side, side, 1) in -1..1 and what was decoded.

    Raises:
        WeightsError: the network's weights are missing or damaged.
    """
    described = config.network(eyes)
    whole = graph.build(described.architecture, len(described.classes), input_size=None, lrn=described.lrn)
    graph.set_weights(whole, weights.load(described))
    seen, _ = graph.split(whole, layer)
    seen.trainable = False

    def loss(true: Any, decoded: Any) -> Any:
        wanted, got = (seen(ops.repeat((image + 1) * 127.5, 3, axis=-1)) for image in (true, decoded))
        share = ops.mean(ops.square(got - wanted)) / (ops.mean(ops.square(wanted)) + 1e-12)
        return ops.mean(ops.square(decoded - true)) + PERCEPTUAL_WEIGHT * share

    return loss
