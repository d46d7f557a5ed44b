"""Decoders from a feature back to the face (Osia et al. 2017, section IV.B; DataMix, section 5, `Recovering Face`).

- `train`: the up-convolutional network of Dosovitskiy and Brox (2016), in which each step doubles the side; its loss is
  the squared error, or pix2pix's, which DataMix's attacker uses: absolute error, and a discriminator of patches.
- `fit_linear`: ridge regression from the feature to the principal components of pixels; fast, and hard to beat on
  features that preserve the image.

Images are grey, since LFW is, and float32 -1..1. Everything runs on any backend of Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from privzoo.audit.attacks.recogniser import grey
from privzoo.errors import FeatureError, WeightsError
from privzoo.evaluation.drawn import arrived
from privzoo.files import replacing
from privzoo.mechanisms.gaussian import Noise

LINEAR_FACES = 4_000  # that ridge regression learns from, where features are wider than this
PIXEL_COMPONENTS = 256
ABSOLUTE_ERROR = 100.0  # weight in pix2pix's loss
BATCH = 256  # images that are reconstructed at once

Decode = Callable[[np.ndarray], np.ndarray]  # features as they arrive (N, ...) -> uint8 images (N, side, side)


@dataclass(frozen=True)
class Settings:
    """How a decoder learns."""

    side: int = 64  # of the reconstruction in pixels
    faces: int = 4_500  # maximum number to learn from, the first ones
    epochs: int = 6
    width: int = 64  # channels before the first up-convolution; each halves them
    batch_size: int = 64
    learning_rate: float = 1e-3
    adversarial: bool = False  # pix2pix's loss


QUICK = Settings(faces=1_000, epochs=3, width=32)


def targets(images: np.ndarray, side: int) -> np.ndarray:
    """Images as targets of a decoder, float32 (N, side, side, 1) in -1..1; for `images` see `recogniser.grey`."""
    return grey(images, side)[..., None] / 127.5 - 1


def pictures(decoded: np.ndarray) -> np.ndarray:
    """A decoder's output, as uint8 (N, side, side)."""
    return ((np.asarray(decoded)[..., 0] + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def check(features: np.ndarray, images: np.ndarray) -> None:
    """Raises FeatureError unless the features are finite numbers, one for each image."""
    values = np.asarray(features)
    if values.dtype.kind not in "fiu" or values.ndim < 2 or len(values) != len(images) or not len(values):
        raise FeatureError(
            f"The features are {values.dtype} of shape {values.shape} for {len(images)} images; give numbers of shape "
            "(N, ...) and N images."
        )
    if not np.isfinite(values).all():
        raise FeatureError("The features hold NaN or infinity; give finite numbers.")


class _Scale:
    """Standardises each channel of a feature to mean 0 and standard deviation 1 on the attacker's own faces."""

    def __init__(self, features: np.ndarray):
        axes = tuple(range(features.ndim - 1))
        self.mean = features.mean(axis=axes, dtype=np.float64).astype(np.float32)
        self.deviation = np.maximum(features.std(axis=axes, dtype=np.float64), 1e-6).astype(np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (np.asarray(features, np.float32) - self.mean) / self.deviation


def fit_linear(features: np.ndarray, images: np.ndarray, noise: Noise | None, seed: int, side: int = 64) -> Decode:
    """Ridge regression from features to the principal components of pixels.

    Args:
        features: before noise, (N, ...); of wide ones the first `LINEAR_FACES` are used: give those most like the
            scored ones first.
        images: N originals, as for `recogniser.grey`.
        noise: what the device adds; one draw is learnt from.
        seed: of the noise.
        side: of the reconstruction in pixels.

    Raises:
        FeatureError: features that are not finite, or not one for each image.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeCV

    check(features, images)
    rng = np.random.default_rng(seed)
    features = np.asarray(features)
    width = math.prod(features.shape[1:])
    if width > LINEAR_FACES:
        features, images = features[:LINEAR_FACES], images[:LINEAR_FACES]
    pixels = targets(images, side).reshape(len(images), -1)
    pca = PCA(min(PIXEL_COMPONENTS, *pixels.shape), svd_solver="randomized", random_state=0).fit(pixels)
    learnt = np.float32(arrived(features, noise, rng)).reshape(len(features), -1)
    scale = _Scale(learnt)
    # Strengths relative to the number of columns, each of which has standard deviation 1.
    ridge = RidgeCV(alphas=width * np.logspace(-7, 1, 17)).fit(scale(learnt), pca.transform(pixels))

    def decode(received: np.ndarray) -> np.ndarray:
        found = pca.inverse_transform(ridge.predict(scale(np.reshape(received, (len(received), -1)))))
        return pictures(found.reshape(-1, side, side, 1))

    return decode


def network(shape: tuple[int, ...], settings: Settings) -> keras.Model:
    """The up-convolutional network: features (N, *shape) -> images (N, side, side, 1).

    Args:
        shape: of one feature, (height, width, channels) or (dimensions,).
        settings: side and width count.
    """
    x = inputs = keras.Input(shape, name="features")
    grid, width = settings.side, settings.width
    smallest = max(4, *shape[:2]) if len(shape) == 3 else 4
    steps = 0
    while grid % 2 == 0 and grid // 2 >= smallest:
        grid, steps = grid // 2, steps + 1
    if len(shape) == 3:
        x = keras.layers.Conv2D(2 * width, 1)(x)
        x = keras.layers.LeakyReLU(0.2)(x)
        if shape[:2] != (grid, grid):
            x = keras.layers.Resizing(grid, grid, interpolation="bilinear")(x)
        x = keras.layers.Conv2D(width, 3, padding="same")(x)
    else:
        x = keras.layers.Flatten()(x)
        x = keras.layers.LeakyReLU(0.2)(keras.layers.Dense(4 * width)(x))
        x = keras.layers.LeakyReLU(0.2)(keras.layers.Dense(4 * width)(x))
        x = keras.layers.Reshape((grid, grid, width))(keras.layers.Dense(grid * grid * width)(x))
    x = keras.layers.LeakyReLU(0.2)(x)
    for step in range(1, steps + 1):
        x = keras.layers.Conv2DTranspose(max(8, width >> step), 4, strides=2, padding="same")(x)
        x = keras.layers.LeakyReLU(0.2)(x)
    return keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same", name="image")(x), name="decoder")


def discriminator(settings: Settings) -> keras.Model:
    """pix2pix's discriminator of patches: images (N, side, side, 1) -> one logit for each patch."""
    x = inputs = keras.Input((settings.side, settings.side, 1))
    for step, strides in enumerate((2, 2, 1)):
        x = keras.layers.Conv2D((settings.width // 4) << step, 4, strides=strides, padding="same")(x)
        if step:
            x = keras.layers.GroupNormalization(groups=-1)(x)  # of each image and channel alone
        x = keras.layers.LeakyReLU(0.2)(x)
    return keras.Model(inputs, keras.layers.Conv2D(1, 4, padding="same")(x), name="discriminator")


class Adversarial(keras.Model):
    """A decoder that learns with its discriminator, under pix2pix's loss.

    Args:
        decoder: of `network`.
        judge: of `discriminator`.
    """

    def __init__(self, decoder: keras.Model, judge: keras.Model):
        super().__init__(name="adversarial")
        self.decoder, self.judge = decoder, judge

    def call(self, features: Any, training: bool | None = None) -> Any:
        """Decodes."""
        return self.decoder(features, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Both losses in one step: what should not learn from a term is held fixed in it."""
        fixed = [ops.stop_gradient(v) for v in self.judge.trainable_variables]
        believed, _ = self.judge.stateless_call(fixed, self.judge.non_trainable_variables, y_pred)
        real, fake = self.judge(y), self.judge(ops.stop_gradient(y_pred))
        judge = ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))
        return judge / 2 + ops.mean(ops.softplus(-believed)) + ABSOLUTE_ERROR * ops.mean(ops.abs(y - y_pred))


class _Batches(keras.utils.PyDataset):
    """Shuffled batches with fresh noise in each epoch; seed and epoch decide both, so that a resumed run repeats them.

    There is no augmentation: mirrored faces are faces too, but a feature cannot be mirrored.
    """

    def __init__(
        self,
        features: np.ndarray,
        images: np.ndarray,
        noise: Noise | None,
        scale: _Scale,
        seed: int,
        batch_size: int,
        epoch: int,
    ) -> None:
        super().__init__()
        self.features, self.images, self.noise, self.scale, self.seed = features, images, noise, scale, seed
        self.batch_size, self.epoch = batch_size, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.features))

    def __len__(self) -> int:
        return -(-len(self.features) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        return self.scale(np.float32(arrived(self.features[chosen], self.noise, rng))), self.images[chosen]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._shuffle()


class _Checkpoint(keras.callbacks.Callback):
    """Keeps the last finished epoch, `epoch_003.weights.h5`, written atomically."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self, model: keras.Model) -> int:
        """Restores it, and returns the number of finished epochs."""
        kept = sorted(self.folder.glob("epoch_???.weights.h5"))
        if not kept:
            return 0
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(kept[-1])
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(
                f"The decoder's checkpoint {kept[-1]} is damaged ({error}); delete it to start over."
            ) from None
        return int(kept[-1].name[6:9])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        old = list(self.folder.glob("epoch_*.weights.h5"))
        path = self.folder / f"epoch_{epoch + 1:03d}.weights.h5"
        with replacing(path, suffix=".weights.h5") as temporary:
            self.model.save_weights(temporary)
        for file in set(old) - {path}:
            file.unlink(missing_ok=True)


def train(
    features: np.ndarray,
    images: np.ndarray,
    noise: Noise | None,
    seed: int,
    settings: Settings = QUICK,
    folder: Path | None = None,
    progress: bool = False,
    build: Callable[[tuple[int, ...], Settings], keras.Model] = network,
    loss: Callable[[Any, Any], Any] | str = "mean_squared_error",
) -> Decode:
    """Trains a decoder, by default the up-convolutional one.

    Args:
        features: before noise, (N, ...).
        images: N originals, as for `recogniser.grey`.
        noise: what the device adds; drawn afresh in each epoch.
        seed: of start values, order and noise.
        settings: how it learns.
        folder: for its checkpoints, its own for each head, seed and settings; a killed run resumes after its
            last finished epoch. None: no checkpoints.
        progress: show Keras's progress bar.
        build: makes the network from the shape of a feature and the settings.
        loss: of an image and what was decoded; an adversarial decoder has its own.

    Raises:
        FeatureError: features that are not finite, or not one for each image.
        WeightsError: the checkpoint is damaged.
    """
    check(features, images)
    features, wanted = features[: settings.faces], targets(images[: settings.faces], settings.side)
    scale = _Scale(np.float32(arrived(features, noise, np.random.default_rng(seed))))
    keras.utils.set_random_seed(seed)
    decoder = model = build(features.shape[1:], settings)
    if settings.adversarial:
        model = Adversarial(decoder, discriminator(settings))
        optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)  # pix2pix's
    else:
        batches = -(-len(features) // settings.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * batches, alpha=0.02)
        optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, loss=loss)
    model(np.zeros((1, *features.shape[1:]), np.float32))  # a subclass is built by its first call
    checkpoint = _Checkpoint(Path(folder)) if folder else None
    done = checkpoint.resume(model) if checkpoint else 0
    if done < settings.epochs:
        how = {"batch_size": settings.batch_size, "epoch": done}
        model.fit(
            _Batches(features, wanted, noise, scale, seed, **how),
            epochs=settings.epochs,
            initial_epoch=done,
            shuffle=False,
            callbacks=[checkpoint] if checkpoint else [],
            verbose="auto" if progress else 0,
        )

    def decode(received: np.ndarray) -> np.ndarray:
        parts = [
            pictures(ops.convert_to_numpy(decoder(scale(received[i : i + BATCH]), training=False)))
            for i in range(0, len(received), BATCH)
        ]
        return np.concatenate(parts)

    return decode
