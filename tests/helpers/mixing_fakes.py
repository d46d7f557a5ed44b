"""A small network in DataMix's three parts, linear or not, and its exports, made once for all tests."""

from __future__ import annotations

import functools

import numpy as np
from export_fakes import CLASSES, SIZE, chips, folder, manifest_of

NAME = "vgg16_gender_datamix_block1"
GROUP, HIDDEN = 4, 6


@functools.cache
def parts(linear: bool):
    """pre, main, and what the device does around main; a linear main has neither bias nor ReLU."""
    import keras

    from privzoo.mechanisms.mixing import Mixing

    keras.utils.set_random_seed(11)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize")(image)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="conv1_1")(x)
    features = keras.Input(x.shape[1:], name="features")
    options = {} if linear else {"activation": "relu", "bias_initializer": "normal"}
    y = keras.layers.Conv2D(HIDDEN, 3, padding="same", use_bias=not linear, name="conv1_2", **options)(features)
    y = keras.layers.GlobalAveragePooling2D(name="average")(y)
    pre, main = keras.Model(image, x, name="pre"), keras.Model(features, y, name="main")
    kernel = np.random.default_rng(5).normal(size=(HIDDEN, 2))
    middle = np.asarray(main(pre(chips().astype(np.float32)))).mean(0)  # both classes occur among the chips
    return pre, main, Mixing(GROUP, "orthogonal", kernel, -middle @ kernel)


def expected(faces: np.ndarray, linear: bool = True) -> np.ndarray:
    """The answers of the network itself, without mixing."""
    pre, main, mixing = parts(linear)
    return mixing.answers(np.asarray(main(pre(faces.astype(np.float32)))))


@functools.cache
def exported(linear: bool = True, quantization: str = "float32"):
    """The head's file, and the folder of served models."""
    from privzoo.export import saved_model, tflite

    pre, main, mixing = parts(linear)
    base = folder() / f"mixing-{linear}"
    manifest = manifest_of(pre, main, model=NAME, embedding="datamix", cut="block1", mixing=mixing)
    rng = np.random.default_rng(0)
    calibration = rng.integers(0, 256, (8, SIZE, SIZE, 3)).astype(np.uint8)
    path = tflite.export_head(pre, folder() / f"{linear}-{quantization}.tflite", quantization, manifest, calibration)
    if not (base / NAME).exists():
        saved_model.export_tail(main, base, NAME, 1, manifest)
    assert len(CLASSES) == 2
    return path, base
