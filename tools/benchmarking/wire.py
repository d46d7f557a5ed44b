"""Bytes and time on the wire of what a device could send: the photograph, activations at cuts, reduced features.

DataMix (Liu et al. 2020), Table 1 and equation 1. The paper's figures are reproduced with its units: float32 values,
and mega meaning 2^20 for bytes and bits. At conv1_1 equation 1 gives 6.6 s where the table prints 6.5, which is the
time for 12.25 MiB without the network's delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from privzoo import architectures
from privzoo.architectures.layers import LayerCost

MEGA = 2**20
UPLOAD_BITS, DOWNLOAD_BITS = 15 * MEGA, 30 * MEGA  # per second, on the 4G network of DataMix's section 2.3
DELAY_SECONDS = 0.025  # each way
BYTES_OF_FLOAT32 = 4
CHANNELS = 3
PUBLISHED_CLASSIFIER, PUBLISHED_CLASSES = (4096, 4096), 1000
DIMENSIONS = {  # of the zoo's reduced features
    **{"conv5_1": 8, "conv5_2": 6, "conv5_3": 4, "conv5": 10},
    **{"block1": 64, "block2": 64, "block3": 48, "block4": 40},
}
# DataMix's Table 1 at 224 px: percentage of the computation on the edge, megabytes sent, seconds.
DATAMIX_SIZE = 224
DATAMIX = {
    "image as float32": (0, 0.6, 0.4),
    "conv5_1": (93, 0.4, 0.3),
    "conv1_1": (1, 12.3, 6.5),
    "pool1": (13, 3.1, 1.7),
}


@dataclass(frozen=True)
class Transfer:
    """The cost of sending one thing, and the device's share of the computation."""

    sent: str  # "image as float32", "conv5_3", "conv5_3 reduced to 4", ...
    size: int  # side of the network's input in pixels
    bytes: int  # per image
    seconds: float  # equation 1
    device_share: float  # of the multiply-adds of head and tail, 0..1
    paper: tuple[float, float, float] | None  # percentage on the edge, megabytes and seconds in DataMix's Table 1


def seconds(sent: int, received: int) -> float:
    """Time on the wire by equation 1.

    Args:
        sent: bytes to the cloud.
        received: bytes from it.

    Returns:
        Seconds, including the delay in both directions.

    Example:
        >>> round(seconds(224 * 224 * 3 * 4, 4), 1)
        0.4
    """
    return 8 * sent / UPLOAD_BITS + 8 * received / DOWNLOAD_BITS + 2 * DELAY_SECONDS


def transfers(
    architecture: str,
    input_size: int,
    classes: int = PUBLISHED_CLASSES,
    classifier: tuple[int, ...] = PUBLISHED_CLASSIFIER,
) -> list[Transfer]:
    """Costs of everything that a device could send, from the layer tables.

    Args:
        architecture: "vgg16" or "vgg_s".
        input_size: side of the network's square input in pixels.
        classes: number of probabilities that are returned, as float32.
        classifier: widths of `fc6` and `fc7`, which affect the share of the multiply-adds.

    Returns:
        The image, DataMix's cuts (VGG-16), each cut of the zoo, and its reduced feature.
    """
    layers = architectures.costs(architecture, input_size, classes, classifier)
    ends = {layer.name: index for index, layer in enumerate(layers)}
    total = sum(layer.multiply_adds for layer in layers)
    pixels = input_size * input_size * CHANNELS
    rows = [("image, 8 bits per channel", pixels, 0, 0), ("image as float32", pixels * BYTES_OF_FLOAT32, 0, 0)]
    for name in (*(n for n in ("conv1_1", "pool1") if n in ends), *architectures.cuts(architecture)):
        done = layers[: ends[name] + 1]
        values, products = math.prod(done[-1].shape), _products(done)
        rows.append((name, values * BYTES_OF_FLOAT32, products, 0))
        if name in architectures.cuts(architecture):
            count = DIMENSIONS[name]
            added = values * count  # on the device, and once more in the cloud
            rows.append((f"{name} reduced to {count}", count * BYTES_OF_FLOAT32, products + added, 2 * added))
    comparable = (architecture, input_size, classifier) == ("vgg16", DATAMIX_SIZE, PUBLISHED_CLASSIFIER)
    return [
        Transfer(
            name,
            input_size,
            size,
            seconds(size, classes * BYTES_OF_FLOAT32),
            products / (total + added),
            DATAMIX.get(name) if comparable else None,
        )
        for name, size, products, added in rows
    ]


def _products(layers: list[LayerCost]) -> int:
    return sum(layer.multiply_adds for layer in layers)
