"""A small folder of released heads, as `tools/export.py --released` writes it: one head without noise, one with."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path

import tiny_zoo
from export_fakes import folder

from privzoo import card
from privzoo.card import Card, Measurement
from privzoo.config import ModelConfig, NoiseConfig
from privzoo.export import released
from privzoo.mechanisms.gaussian import Noise
from privzoo.model import SplitModel

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "tflite" / "web"
PLAIN, NOISY = "vgg_s_tiny_reduced_simple_conv5", "vgg_s_tiny_advanced_conv5"
DIMENSIONS = 4
NOISE = NoiseConfig(sigma=0.5, clip=2.0)
IDENTITY = Measurement(
    metric="identity attack, top-1",
    variant="float head, feature, epsilon 2, 1 query",
    data="lfw100-test",
    value=0.021,
    low=0.012,
    high=0.034,
    count=816,
    seeds=(1,),
    date="2026-11-21",
    git="test",
    command="test",
    sha256="",
)
# Whom the answer alone gives away is not the feature's.
ANSWER = dataclasses.replace(IDENTITY, variant="float head, class probabilities alone", value=0.5, high=0.6)


def _card(name: str, noise: NoiseConfig | None) -> Card:
    model = ModelConfig(name, "vgg_s_tiny", "conv5", "reduced_simple", dimensions=DIMENSIONS, noise=noise)
    measurements = (ANSWER, IDENTITY) if noise else ()
    return Card(model, tiny_zoo.PARENT, card.cost(model, tiny_zoo.PARENT), measurements, None)


@functools.cache
def models() -> tuple[SplitModel, SplitModel]:
    """The two models; their networks are much smaller than their cards say."""
    import keras

    keras.utils.set_random_seed(5)
    size = tiny_zoo.SIZE
    image = x = keras.Input((size, size, 3), name="image")
    for layer in (
        keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize"),
        keras.layers.Conv2D(8, 3, strides=4, activation="relu", kernel_initializer="he_normal", name="conv1"),
        keras.layers.Conv2D(DIMENSIONS, 12, kernel_initializer="he_normal", name="reduce"),
        keras.layers.Reshape((DIMENSIONS,), name="vector"),
    ):
        x = layer(x)
    features = y = keras.Input((DIMENSIONS,), name="features")
    for layer in (keras.layers.Dense(2, name="fc8"), keras.layers.Softmax(name="probabilities")):
        y = layer(y)
    head, tail = keras.Model(image, x, name="head"), keras.Model(features, y, name="tail")
    network = keras.Model(image, tail(x))
    return (
        SplitModel(_card(PLAIN, None), network, head, tail),
        SplitModel(_card(NOISY, NOISE), network, head, tail, Noise(NOISE.sigma, NOISE.clip)),
    )


@functools.cache
def heads() -> Path:
    """Folder of the released heads, with the page and its runtime beside them where npm's packages are there."""
    made = folder() / "tflite"
    released.release(models(), made)
    (made / "web").mkdir()
    for path in WEB.iterdir():
        if path.is_dir():
            (made / "web" / path.name).symlink_to(path)
        else:
            shutil.copy(path, made / "web")
    return made
