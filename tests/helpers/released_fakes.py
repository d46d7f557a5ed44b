"""Small folders of released heads, as `tools/export.py --released` writes them: plain, with noise, with a code."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path

import numpy as np
import tiny_zoo
from export_fakes import folder

from privzoo import costs
from privzoo.card import Card
from privzoo.config import CodeConfig, ModelConfig, NoiseConfig
from privzoo.export import released
from privzoo.export.calibration import default_calibration
from privzoo.measurement import Measurement
from privzoo.mechanisms.codebook import levels
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.model import SplitModel

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "tflite" / "web"
PLAIN, NOISY = "vgg_s_tiny_reduced_simple_conv5", "vgg_s_tiny_advanced_conv5"
CODED = "vgg_s_tiny_coded_conv5"
DIMENSIONS = 4
EPSILON = 3.0
JOINT = np.array([[0.45, 0.05], [0.1, 0.4]])  # chance of a class and the true symbol
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


def _card(name: str, noise: NoiseConfig | None, code: CodeConfig | None = None) -> Card:
    embedding = "coded" if code else "reduced_simple"
    model = ModelConfig(name, "vgg_s_tiny", "conv5", embedding, dimensions=DIMENSIONS, noise=noise, code=code)
    measurements = (ANSWER, IDENTITY) if noise else ()
    return Card(model, tiny_zoo.PARENT, costs.cost(model, tiny_zoo.PARENT), measurements, None)


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
def coded() -> SplitModel:
    """The first model's head with a code of two symbols."""
    from privzoo.embeddings.coded import tail_of

    plain, _ = models()
    card = _card(CODED, None, CodeConfig(PLAIN, EPSILON, symbols=2))
    scores = np.asarray(plain.head(default_calibration(plain.input_size, 32).astype(np.float32)))[:, 0]
    book = levels(np.array([1.0] + [0.0] * (DIMENSIONS - 1)), 0.0, np.array([float(np.median(scores))]))
    return SplitModel(card, plain.network, plain.head, tail_of(JOINT), RandomizedResponse(2, EPSILON), book)


def _released(chosen: tuple[SplitModel, ...], name: str) -> Path:
    made = folder() / name
    released.release(chosen, made)
    (made / "web").mkdir()
    for path in WEB.iterdir():
        if path.is_dir():
            (made / "web" / path.name).symlink_to(path)
        else:
            shutil.copy(path, made / "web")
    return made


@functools.cache
def heads() -> Path:
    """Folder of the two released heads, with the page and its runtime beside them where npm's packages are there."""
    return _released(models(), "tflite")


@functools.cache
def coded_heads() -> Path:
    """As `heads`, of the coded model alone."""
    return _released((coded(),), "tflite_coded")
