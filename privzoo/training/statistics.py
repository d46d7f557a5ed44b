"""Batch norm's statistics in a short run, which the moving averages do not reach."""

from __future__ import annotations

import keras
import numpy as np

from privzoo import faces

# From so many steps on, moving averages (momentum 0.99) have forgotten their initial values: 0.99^1000 is 4e-5.
LONG_RUN = 1000


class TrainingStatistics(keras.callbacks.Callback):
    """Sets batch norm's statistics to those of the training images before each validation, and so before each release.

    Moving averages start at mean 0 and variance 1. After a dozen steps they are mostly still there, and even when they
    are not, they are those of earlier weights: the network, which was trained with each batch's own statistics, then
    gives one answer for all images. Here the statistics are means over the training images, unaugmented, with the
    weights as they are. Layers that are not trained keep theirs.

    Args:
        chips: uint8 (N, side, side, 3), of the training set.
        size: side of the network's input in pixels.
        batch_size: images per batch.
        seed: of their order, in which classes are mixed.
    """

    def __init__(self, chips: np.ndarray, size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.chips, self.size = chips, size
        order = np.random.default_rng(seed).permutation(len(chips))
        self.parts = np.array_split(order, -(-len(chips) // batch_size))

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Computes and sets the statistics."""
        network = self.model
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        usual = [layer.momentum for layer in norms]
        try:
            for number, part in enumerate(self.parts):
                for layer in norms:
                    layer.momentum = number / (number + 1)  # the mean of all batches so far
                images = np.stack([faces.resize(self.chips[i], self.size) for i in part]).astype(np.float32)
                network(images, training=True)
        finally:
            for layer, momentum in zip(norms, usual, strict=True):
                layer.momentum = momentum
