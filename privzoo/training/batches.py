"""Batches of chips for Keras on any backend: numpy in, numpy out, the same order for the same seed."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from privzoo import activations
from privzoo.config import Augmentation, SpeechAugmentation, Stage
from privzoo.training.augment import augment


def steps(count: int, batch_size: int) -> int:
    """Training batches in an epoch of `count` images, 1 or more."""
    return count // min(batch_size, count)


def remaining_stages(stages: tuple[Stage, ...], done: int) -> Iterator[tuple[Stage, int, int]]:
    """Each stage, its first epoch and its end, that is not over after `done` epochs; epochs count from 0."""
    end = 0
    for stage in stages:
        end += stage.epochs
        if done < end:
            yield stage, max(done, end - stage.epochs), end


def prefetched(batches: keras.utils.PyDataset, threads: int = 2) -> Iterator[Any]:
    """All batches in their order, the next ones prepared by threads meanwhile, as Keras's `fit` does."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = collections.deque(pool.submit(batches.__getitem__, i) for i in range(min(threads, len(batches))))
        for following in range(len(waiting), len(batches) + len(waiting)):
            ready = waiting.popleft().result()
            if following < len(batches):
                waiting.append(pool.submit(batches.__getitem__, following))
            yield ready


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches; order and augmentation depend only on seed and epoch, so a resumed run repeats them.

    Args:
        chips: uint8 (N, side, side, 3), or clips, int16 (N, 16000).
        labels: output name -> array (N,).
        batch_size: images per batch, or all if there are fewer; the remainder of an epoch is
            left out.
        size: side of the images in pixels; None for clips.
        augmentation: of the chips.
        seed: of the run.
        epoch: the first one, counted from 0.
    """

    def __init__(
        self,
        chips: np.ndarray,
        labels: dict[str, np.ndarray],
        batch_size: int,
        size: int | None,
        augmentation: Augmentation | SpeechAugmentation,
        seed: int,
        epoch: int = 0,
    ):
        super().__init__(workers=2)  # threads that prepare the next batches during training
        self.chips, self.labels, self.batch_size = chips, labels, min(batch_size, len(chips))
        self.size, self.augmentation, self.seed, self.epoch = size, augmentation, seed, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.chips))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return steps(len(self.chips), self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Batch `index` of the current epoch."""
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        images = np.stack([augment(self.chips[i], self.size, self.augmentation, rng) for i in chosen])
        return images, {name: values[chosen] for name, values in self.labels.items()}

    def on_epoch_end(self) -> None:
        """Reshuffles."""
        self.epoch += 1
        self._shuffle()


class PlainBatches(keras.utils.PyDataset):
    """Whole chips in order, resized and otherwise unchanged; or clips.

    Args:
        chips: uint8 (N, side, side, 3), or int16 (N, 16000).
        size: side of the network's input in pixels; None for clips.
        batch_size: images in a batch.
        labels: output name -> array (N,), or None to predict.
    """

    def __init__(
        self,
        chips: np.ndarray,
        size: int | None,
        batch_size: int = 64,
        labels: dict[str, np.ndarray] | None = None,
    ):
        super().__init__()
        self.chips, self.size, self.batch_size, self.labels = chips, size, batch_size, labels

    def __len__(self) -> int:
        """Batches in all, the last one shorter."""
        return -(-len(self.chips) // self.batch_size)

    def __getitem__(self, index: int) -> np.ndarray | tuple[np.ndarray, dict[str, np.ndarray]]:
        """Batch `index`: images, with labels if any."""
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        images = activations.prepared(self.chips[chosen], self.size)
        return images if self.labels is None else (images, {k: v[chosen] for k, v in self.labels.items()})
