"""VGG-16 (Simonyan and Zisserman 2015): thirteen 3x3 convolutions in five blocks; Osia et al. 2017, Figure 7."""

from __future__ import annotations

from privzoo.architectures.layers import Conv, Layer, Pool

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of each block

LAYERS: tuple[Layer, ...] = tuple(
    Conv(f"conv{block}_{i}", channels, 3) if i <= count else Pool(f"pool{block}", 2, 2)
    for block, (channels, count) in enumerate(_BLOCKS, start=1)
    for i in range(1, count + 2)
)
CUTS = ("conv5_1", "conv5_2", "conv5_3")
TRUNK = "pool4"
SMALLEST = 48
