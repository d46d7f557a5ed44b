"""ResNet-18 (He et al. 2016, Table 1): a convolution, a pool and eight residual blocks in four stages."""

from __future__ import annotations

from privzoo.architectures.layers import Conv, Layer, Pool, Residual

_STAGES = (64, 128, 256, 512)  # channels; each has two residual blocks, and all but the first halve the sides

LAYERS: tuple[Layer, ...] = (
    Conv("conv1", 64, 7, 2),
    Pool("pool1", 3, 2, same=True),
    *(
        block
        for stage, channels in enumerate(_STAGES, start=1)
        # The second one has the name of its stage, whose output it gives.
        for block in (Residual(f"block{stage}_1", channels, min(stage, 2)), Residual(f"block{stage}", channels))
    ),
)
CUTS = ("block1", "block2", "block3", "block4")
TRUNK = "block1_1"
SMALLEST = 32
