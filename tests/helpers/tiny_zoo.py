"""A zoo of one small network with random weights, on 64 faces of noise: all that embeddings and recipes need."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privzoo import config, weights, zoo
from privzoo.config import (
    CodeConfig,
    MixingConfig,
    ModelConfig,
    NetworkConfig,
    NoiseConfig,
    ObfuscationConfig,
    SiameseConfig,
    Stage,
    TrainingConfig,
)

ROOT = Path(__file__).resolve().parents[2]
SIZE, FACES, DIMENSIONS = 48, 64, 3
PARENT = NetworkConfig(
    name="vgg_s_tiny",
    architecture="vgg_s",
    task="gender",
    classes=("male", "female"),
    input_size=SIZE,
    description="A network for the tests.",
    licence="none",
    training=TrainingConfig(
        dataset="utkface",
        stages=(Stage(SIZE, 2),),
        batch_size=16,
        peak_learning_rate=0.001,
        precision="float32",
        dropout=0.2,
    ),
)
CHILD = dataclasses.replace(
    PARENT,
    name="vgg_s_tiny_siamese_conv5",
    parent="vgg_s_tiny",
    siamese=SiameseConfig(cut="conv5", trained_from="conv5", copies=2, within=0.1, information=0.01),
)
MIXED = dataclasses.replace(
    PARENT,
    name="vgg_s_tiny_datamix_block1",
    parent="vgg_s_tiny",
    mixing=MixingConfig(blocks=1, group=4),
    training=dataclasses.replace(PARENT.training, batch_size=18),
)
OBFUSCATED = dataclasses.replace(
    PARENT,
    name="vgg_s_tiny_obfuscated",
    parent="vgg_s_tiny",
    obfuscation=ObfuscationConfig(width=0.25, decoder_width=0.25, decoder_steps=2, catch_up=2),
)
NOISE = NoiseConfig(sigma=0.3, clip=2.0)


def model(embedding: str, **changed) -> ModelConfig:
    """A model of the parent, or of the child."""
    network = CHILD.name if embedding in ("siamese", "reduced_siamese", "advanced") else PARENT.name
    if embedding == "datamix":
        return ModelConfig(MIXED.name, MIXED.name, "block1", embedding, **changed)
    if embedding == "obfuscated":
        return ModelConfig(f"{OBFUSCATED.name}_image", OBFUSCATED.name, "image", embedding, **changed)
    if embedding not in ("simple", "siamese"):
        changed = {"dimensions": DIMENSIONS, **changed}
    if embedding in ("noisy_reduced_simple", "advanced"):
        changed = {"noise": NOISE, "relevance": 1.0, "refit": True, **changed}
    if embedding == "coded":
        base = "vgg_s_tiny_noisy_reduced_simple_conv5"
        changed = {"code": CodeConfig(base=base, epsilon=3.0, faces=FACES), "relevance": 1.0, **changed}
    if embedding == "label":
        classes = len(PARENT.classes)
        changed = {"code": CodeConfig(base=None, epsilon=3.0, faces=FACES), **changed, "dimensions": classes}
    cut = "fc8" if embedding == "label" else "conv5"
    return ModelConfig(f"vgg_s_tiny_{embedding}_{cut}", network, cut, embedding, **changed)


def chips(count: int = FACES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth random pictures, uint8 (count, SIZE, SIZE, 3), the second class brighter; and their classes."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    small = rng.integers(0, 150, (count, 6, 6, 3)) + 100 * classes[:, None, None, None]
    return np.stack([np.asarray(Image.fromarray(c.astype(np.uint8)).resize((SIZE, SIZE))) for c in small]), classes


def write_faces(folder: Path) -> Path:
    """The same pictures in UTKFace's layout."""
    (folder / "UTKFace").mkdir()
    for i, (chip, gender) in enumerate(zip(*chips(), strict=True)):
        Image.fromarray(chip).save(folder / "UTKFace" / f"{20 + i}_{gender}_0_2017{i:04d}.jpg.chip.jpg", quality=95)
    return folder


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Puts an own `zoo_configs` in place of the checkout's, with the parent released."""
    from privzoo.architectures import graph

    for part in ("networks", "models", "cards", "weights", "planned/networks", "planned/models"):
        (folder / part).mkdir(parents=True)
    import keras

    keras.utils.set_random_seed(3)
    network = graph.build(PARENT.architecture, 2, input_size=SIZE)
    entry = weights.save(graph.get_weights(network), folder / "weights" / "vgg_s_tiny.npz")
    config.write(dataclasses.replace(PARENT, weights=entry), folder / "networks" / "vgg_s_tiny.yaml")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config, "config_folder", lambda: folder)
            patch.setattr(zoo, "_networks", {})
            forget()
            yield folder
    finally:
        forget()


def install_obfuscated(folder: Path) -> ModelConfig:
    """Releases an obfuscated model with random weights into a zoo of `installed`."""
    from privzoo.architectures import bottleneck, graph
    from privzoo.architectures.obfuscator import DEOBFUSCATOR, OBFUSCATOR

    arrays = {}
    for part in (OBFUSCATOR, DEOBFUSCATOR):
        made = graph.chain(bottleneck.layers(part, SIZE, 0.25, seed=1), (SIZE, SIZE, 3), "image", part)
        arrays |= graph.get_weights(made)
    entry = weights.save(arrays, folder / "weights" / f"{OBFUSCATED.name}.npz")
    config.write(dataclasses.replace(OBFUSCATED, weights=entry), folder / "networks" / f"{OBFUSCATED.name}.yaml")
    made = model("obfuscated")
    config.write(made, folder / "models" / f"{made.name}.yaml")
    forget()
    return made


def forget() -> None:
    """Makes the registry read its files again."""
    config.networks.cache_clear()
    config.models.cache_clear()


def parent_network():
    """The network of the installed zoo's models, for inference."""
    from privzoo.architectures.graph import inference_network

    released = config.network(PARENT.name)
    return inference_network(released, weights.load(released))


def tool(name: str, zoo: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs a tool on the tests' own zoo, in an environment with some variables set."""
    code = (
        "import runpy, sys, pathlib; from privzoo import config; "
        f"config.config_folder = lambda: pathlib.Path({str(zoo)!r}); "
        f"sys.argv = [{name!r}, *sys.argv[1:]]; runpy.run_path({str(ROOT / 'tools' / name)!r}, run_name='__main__')"
    )
    # A command finds the package beside it, as Python does for a file that it runs.
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tools")))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
