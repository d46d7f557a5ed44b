"""A zoo of a small network that tells three attributes, from the tiny one, and faces for it in CelebA's formats."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tiny_zoo
from PIL import Image
from tiny_zoo import SIZE

from privzoo import config, weights
from privzoo.config import MixingConfig, ModelConfig

NAMES = ("Bright", "Male", "Young")
PEOPLE, EACH = 16, 4
NETWORK = dataclasses.replace(
    tiny_zoo.PARENT,
    name="vgg_s_traits",
    task="attributes",
    classes=NAMES,
    output="attributes",
    parent=tiny_zoo.PARENT.name,
    training=dataclasses.replace(tiny_zoo.PARENT.training, dataset="celeba", frozen="conv2", peak_learning_rate=0.01),
)
MIXED = dataclasses.replace(
    NETWORK,
    name="vgg_s_traits_datamix_block1",
    parent=NETWORK.name,
    mixing=MixingConfig(blocks=1, group=4),
    training=dataclasses.replace(NETWORK.training, frozen=None),
)
SIMPLE = ModelConfig("vgg_s_traits_simple_conv5", NETWORK.name, "conv5", "simple")
DATAMIX = ModelConfig(MIXED.name, MIXED.name, "block1", "datamix")


def truth(image: int) -> tuple[int, ...]:
    """Attributes of a face: two decide its picture, the third nothing."""
    return image // 2 % 2, image % 2, image // 4 % 2


def chips() -> np.ndarray:
    """Faces, uint8 (PEOPLE * EACH, SIZE, SIZE, 3): brighter, and redder, by their first two attributes."""
    rng = np.random.default_rng(0)
    found = []
    for image in range(PEOPLE * EACH):
        bright, male, _ = truth(image)
        small = rng.integers(0, 80, (6, 6, 3)) + 90 * bright + np.array([80, 0, 0]) * male
        found.append(np.asarray(Image.fromarray(small.astype(np.uint8)).resize((SIZE, SIZE))))
    return np.stack(found)


def write_faces(folder: Path) -> Path:
    """The faces in CelebA's official formats, square; the last quarter of the people are the test part."""
    images = folder / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(1, PEOPLE * EACH + 1)]
    for name, chip in zip(names, chips(), strict=True):
        Image.fromarray(chip).save(images / name, quality=95)
    lines = [f"{name} " + " ".join(str(2 * one - 1) for one in truth(i)) for i, name in enumerate(names)]
    lists = {
        "list_attr_celeba.txt": [str(len(names)), " ".join(NAMES), *lines],
        "identity_CelebA.txt": [f"{name} {1 + i // EACH}" for i, name in enumerate(names)],
        "list_eval_partition.txt": [f"{name} {2 * (i >= 3 * len(names) // 4)}" for i, name in enumerate(names)],
    }
    for file, text in lists.items():
        (folder / "celeba" / file).write_text("\n".join(text) + "\n")
    return folder


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """The tiny zoo with both networks and both models released, with random weights."""
    import keras

    from privzoo.architectures import graph
    from privzoo.training.release import release_model

    with tiny_zoo.installed(folder):
        keras.utils.set_random_seed(4)
        network = graph.build(NETWORK.architecture, len(NAMES), input_size=SIZE, output="attributes")
        # Large enough that answers differ from face to face.
        kernel, bias = network.get_layer("fc8").get_weights()
        hidden = keras.Model(network.input, network.get_layer("fc8").input).predict(chips(), verbose=0)
        kernel *= 2 / (hidden @ kernel).std()
        network.get_layer("fc8").set_weights([kernel, bias - hidden.mean(0) @ kernel])
        for one in (NETWORK, MIXED):
            entry = weights.save(graph.get_weights(network), folder / "weights" / f"{one.name}.npz")
            config.write(dataclasses.replace(one, weights=entry), folder / "networks" / f"{one.name}.yaml")
        tiny_zoo.forget()
        for model in (SIMPLE, DATAMIX):
            release_model(model, {}, {})
        yield folder
