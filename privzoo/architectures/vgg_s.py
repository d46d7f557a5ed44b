"""VGG-S (Chatfield et al. 2014, CNN-S): five convolutions with Caffe's ceiling pools; Osia et al. 2017, Figure 8."""

from __future__ import annotations

from privzoo.architectures.layers import Conv, Layer, Pool

LAYERS: tuple[Layer, ...] = (
    Conv("conv1", 96, 7, stride=2, padding="valid", lrn=True),
    Pool("pool1", 3, 3, ceil=True),
    Conv("conv2", 256, 5, padding="valid"),
    Pool("pool2", 2, 2, ceil=True),
    Conv("conv3", 512, 3),
    Conv("conv4", 512, 3),
    Conv("conv5", 512, 3),
    Pool("pool5", 3, 3, ceil=True),
)
CUTS = ("conv5",)
TRUNK = "pool2"
SMALLEST = 48
