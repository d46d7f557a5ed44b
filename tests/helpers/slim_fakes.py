"""A zoo of a narrow network and a noisy reduced model of it, small enough to be made slim within seconds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_zoo

from privzoo import architectures, config, weights
from privzoo.architectures import vgg_s
from privzoo.architectures.layers import Conv
from privzoo.config import ModelConfig, NoiseConfig
from privzoo.data import Dataset, Sample
from privzoo.slim.distil import Distillation
from privzoo.slim.fit import Pruning

NARROW = 4  # the network's layers have so much fewer channels
MODEL = tiny_zoo.model("noisy_reduced_simple", refit=False, noise=NoiseConfig(sigma=0.001, clip=2.0))
NAME, SIMPLE = MODEL.name, tiny_zoo.model("simple").name
CODED = tiny_zoo.model("coded")  # of the model's feature
EPOCHS = 4
PRUNING = Pruning(budget=0.4, images=32)
TRAINING = Distillation(
    steps=EPOCHS * 10, steps_per_epoch=10, batch_size=16, peak_learning_rate=1e-3, copies=2, divergence=0.1
)


def vgg16_model() -> ModelConfig:
    """A reduced model of VGG-16, for its cost."""
    return ModelConfig("vgg16_gender_reduced_simple_conv5_3", "vgg16_gender", "conv5_3", "reduced_simple", dimensions=4)


def faces() -> tuple[Dataset, Dataset]:
    """Training and validation faces."""
    sets = []
    for name, count, seed in (("train", 64, 0), ("validation", 32, 1)):
        chips, classes = tiny_zoo.chips(count, seed)
        samples = [
            Sample(f"{name}/{i}.jpg", lambda chip=chip: chip, {"gender": int(label)})
            for i, (chip, label) in enumerate(zip(chips, classes, strict=True))
        ]
        sets.append(Dataset(name, samples, {"gender": ("male", "female")}))
    return sets[0], sets[1]


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """As `tiny_zoo.installed`, with narrow layers and a fitted model."""
    from privzoo import zoo
    from privzoo.architectures import graph
    from privzoo.training import reduction

    narrow = tuple(
        dataclasses.replace(layer, filters=layer.filters // NARROW) if isinstance(layer, Conv) else layer
        for layer in vgg_s.LAYERS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg_s, "LAYERS", narrow)
        assert architectures.layers("vgg_s") == narrow
        with tiny_zoo.installed(folder):
            network = zoo.load_network(config.network(tiny_zoo.PARENT.name))
            head, tail = graph.split(network, MODEL.cut)
            chips, classes = tiny_zoo.chips(64)
            activations = np.asarray(head(chips.astype(np.float32)))
            arrays, _ = reduction.fit(MODEL, activations, classes, tail, 1)
            entry = weights.save(arrays, folder / "weights" / f"{NAME}.npz", "int16")
            config.write(dataclasses.replace(MODEL, weights=entry), folder / "models" / f"{NAME}.yaml")
            config.write(tiny_zoo.model("simple"), folder / "models" / f"{SIMPLE}.yaml")
            config.write(CODED, folder / "models" / f"{CODED.name}.yaml")
            tiny_zoo.forget()
            yield folder
