"""A zoo of one ResNet-18 for three made-up words, with random weights, and recordings for it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_zoo

from privzoo import config, weights, zoo
from privzoo.audio.synthesis import words
from privzoo.config import CodeConfig, ModelConfig, NetworkConfig, SpeechAugmentation, Stage, TrainingConfig

KEYWORDS = ("yes", "no", "stop")
NETWORK = NetworkConfig(
    name="resnet18_tiny",
    architecture="resnet18",
    task="keyword",
    classes=KEYWORDS,
    input="speech",
    description="A network for the tests.",
    licence="none",
    training=TrainingConfig("arabic_speech", (Stage(None, 1),), speech=SpeechAugmentation()),
)
SIMPLE, REDUCED, CODED = (
    f"resnet18_tiny_{kind}" for kind in ("simple_block2", "reduced_simple_block4", "coded_block4")
)
DIMENSIONS = 6


def recording(seed: int = 0, kind: str = "WAV") -> bytes:
    """A made-up word as the bytes of a file."""
    file = io.BytesIO()
    options = {"format": "OGG", "subtype": "OPUS"} if kind == "OPUS" else {"format": kind}
    soundfile.write(file, words(1, seed)[0], 16_000, **options)
    return file.getvalue()


def written(folder: Path) -> list[str]:
    """Paths of three recordings, in three formats."""
    paths = []
    for seed, kind in enumerate(("WAV", "FLAC", "OPUS")):
        paths.append(str(folder / f"word{seed}.{kind.lower()}"))
        Path(paths[-1]).write_bytes(recording(seed, kind))
    return paths


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Puts an own `zoo_configs` in place of the checkout's, with the network and three models released."""
    import keras

    from privzoo.architectures import graph
    from privzoo.training import codes
    from privzoo.training.release import release_model

    for part in ("networks", "models", "cards", "weights", "planned/networks", "planned/models"):
        (folder / part).mkdir(parents=True)
    keras.utils.set_random_seed(3)
    network = graph.build("resnet18", len(KEYWORDS), input_size=NETWORK.input_shape)
    entry = weights.save(graph.get_weights(network), folder / "weights" / "resnet18_tiny.npz")
    config.write(dataclasses.replace(NETWORK, weights=entry), folder / "networks" / "resnet18_tiny.yaml")
    size = int(np.prod(graph.split(network, "block4")[0].output_shape[1:]))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(size, DIMENSIONS)) / size**0.5
    arrays = {"reduce/kernel": kernel, "reduce/bias": np.zeros(DIMENSIONS)}
    arrays |= {"reconstruct/kernel": kernel.T, "reconstruct/bias": np.zeros(size)}
    labels = np.arange(120) % 3
    book = codes.fit(rng.normal(size=(120, DIMENSIONS)) + labels[:, None], labels, 8.0)
    from privzoo.embeddings import coded

    models = (
        (ModelConfig(SIMPLE, NETWORK.name, "block2", "simple"), {}),
        (ModelConfig(REDUCED, NETWORK.name, "block4", "reduced_simple", dimensions=DIMENSIONS), arrays),
        (
            ModelConfig(
                CODED, NETWORK.name, "block4", "coded", dimensions=DIMENSIONS, code=CodeConfig(REDUCED, 8.0, faces=120)
            ),
            coded.arrays_of(book.book, book.joint),
        ),
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config, "config_folder", lambda: folder)
            patch.setattr(zoo, "_networks", {})
            tiny_zoo.forget()
            for model, own in models:
                release_model(model, {key: np.float32(value) for key, value in own.items()}, {})
            yield folder
    finally:  # else one test that fails spoils those after it
        tiny_zoo.forget()
