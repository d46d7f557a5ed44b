"""Packs of data sets: what comes out is what went in, as far as compression keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from privzoo.data import Dataset, Sample
from privzoo.errors import DataError
from privzoo.training import packs

pytestmark = pytest.mark.training


def smooth(seed: int, grey: bool) -> np.ndarray:
    """A chip without sharp edges, 32 pixels a side."""
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(-2, 2, (2, 1 if grey else 3))
    x, y = np.mgrid[:32, :32]
    image = 128 + (x[..., None] - 16) * slopes[0] + (y[..., None] - 16) * slopes[1]
    return np.broadcast_to(image, (32, 32, 3)).astype(np.uint8)


@pytest.fixture(params=[True, False], ids=["grey", "colour"])
def parts(request):
    chips = [smooth(seed, request.param) for seed in range(12)]
    samples = [
        Sample(f"{i}.png", lambda chip=chip: chip, {"gender": i % 2, "age": 20 + i}) for i, chip in enumerate(chips)
    ]
    classes = {"gender": ("male", "female")}
    return Dataset("few", samples[:8], classes), Dataset("few", samples[8:], classes)


def test_a_pack_holds_images_and_labels(parts, tmp_path):
    path = packs.path_of(tmp_path, "few")
    size = packs.write(parts, path, 32, quality=95)
    assert size == path.stat().st_size
    found = packs.read(path)
    for part, data in zip(packs.PARTS, parts, strict=True):
        chips, labels = found[part]
        wanted = np.stack([sample.image() for sample in data.samples]).astype(int)
        assert chips.shape == wanted.shape and chips.dtype == np.uint8
        assert np.abs(chips - wanted).mean() < 3
        assert labels["gender"].tolist() == [sample.labels["gender"] for sample in data.samples]
        assert labels["age"].tolist() == [sample.labels["age"] for sample in data.samples]


def test_images_are_resized(parts, tmp_path):
    packs.write(parts, tmp_path / "few", 24)
    assert packs.read(tmp_path / "few")["train"][0].shape == (8, 24, 24, 3)


def test_a_pack_that_is_too_large_is_not_written(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST", 100)
    with pytest.raises(DataError, match="smaller side or a lower quality"):
        packs.write(parts, tmp_path / "few", 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip", b"text"])
def test_a_damaged_pack_is_named(content, tmp_path):
    path = tmp_path / "few.pack.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="few.pack.npz cannot be read .*--pack"):
        packs.read(path)
