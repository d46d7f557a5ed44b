"""Reconstruction of faces that are smooth random pictures, from heads with known answers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from data_fakes import picture
from PIL import Image

from privzoo.audit.attacks import decoders, recogniser, reconstruction
from privzoo.errors import ConfigError, DataError, FeatureError, ImageError, WeightsError
from privzoo.mechanisms.gaussian import Noise

pytestmark = pytest.mark.training

SIDE = 16
SMALL = decoders.Settings(side=SIDE, faces=400, epochs=12, width=16, batch_size=16, learning_rate=3e-3)


def faces(count: int, seed: int) -> np.ndarray:
    """Blobs of light, uint8 (count, SIDE, SIDE)."""
    small = np.random.default_rng(seed).integers(0, 255, (count, 4, 4)).astype(np.float32)
    return np.stack([np.asarray(Image.fromarray(s).resize((SIDE, SIDE))) for s in small]).clip(0, 255).astype(np.uint8)


def whole(images: np.ndarray) -> np.ndarray:
    """The identity head: everything leaves the device."""
    return images[..., None].astype(np.float32)


def packed(images: np.ndarray) -> np.ndarray:
    """All pixels too, but as 4x4 positions with 16 channels, as a convolutional network has them."""
    return images.reshape(-1, 4, 4, 4, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 16).astype(np.float32)


@pytest.fixture(scope="module")
def gallery() -> recogniser.Gallery:
    """Of 10 people whose scored photographs are `PEOPLE[2]`."""
    known = recogniser.fit(np.repeat(faces(30, seed=5), 2, axis=0), np.repeat(np.arange(30), 2))
    return known.gallery(faces(10, seed=6), np.arange(10))


def scored(head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three darker photographs of each person."""
    originals = np.concatenate([(faces(10, seed=6) * light).astype(np.uint8) for light in (0.95, 0.9, 0.85)])
    return head(originals), originals, np.tile(np.arange(10), 3)


def known(head, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return head(faces(count, seed=7)), faces(count, seed=7)


@pytest.mark.parametrize("head", [whole, packed])
def test_identity_head_is_reconstructed(head, gallery, tmp_path):
    """All attackers get a near perfect picture, and the recogniser the right person."""
    methods = ("linear", "up-convolution")
    result = reconstruction.attack(
        known(head), scored(head), gallery, methods=methods, seeds=(1,), settings=SMALL, shown=known(head, 3)
    )
    assert result.figure("linear", "PSNR").value > 40
    assert result.figure("up-convolution", "PSNR").value > 24
    for method in methods:
        assert result.figure(method, "recognised").value > 0.8
        assert result.figure(method, "SSIM").value > 0.9
        assert result.outcome(method).shown.shape == (3, SIDE, SIDE)
    assert result.figure("originals", "PSNR").value == reconstruction.HIGHEST_PSNR
    assert result.figure("originals", "photograph found").value == 1
    assert result.figure("mean face", "recognised").value == pytest.approx(0.1)
    assert np.array_equal(result.originals, faces(3, seed=7))


def test_feature_without_identity_shows_nobody(gallery):
    def brightness(images):
        return np.random.default_rng(len(images)).normal(size=(len(images), 3))

    result = reconstruction.attack(known(brightness), scored(brightness), gallery, methods=("linear",))
    found = result.figure("linear", "recognised")
    assert found.low <= 0.1 <= found.high + 0.1
    assert result.seeds == (1, 2, 3)


def test_noise_hides(gallery):
    def found(noise):
        result = reconstruction.attack(
            known(whole), scored(whole), gallery, noise=noise, methods=("linear",), settings=SMALL
        )
        return result.figure("linear", "SSIM").value

    assert found(None) > found(Noise(sigma=200.0, clip=1e6)) > found(Noise(sigma=1e5, clip=1e6))


def test_adversarial_decoder_learns(gallery):
    result = reconstruction.attack(
        known(packed), scored(packed), gallery, methods=("adversarial",), seeds=(1,), settings=SMALL
    )
    assert result.figure("adversarial", "PSNR").value > result.figure("mean face", "PSNR").value + 1
    rows = reconstruction.figures(result, {"variant": "float head", "noise": None, "data": "d", "sha256": "s"})
    assert {row["attacker"] for row in rows} == {"adversarial", "mean face", "originals"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


class Killed(Exception):
    pass


@pytest.mark.parametrize("adversarial", [False, True])
def test_goes_on_where_it_was_killed(tmp_path, monkeypatch, adversarial):
    settings = decoders.Settings(SIDE, 64, 3, 8, 32, adversarial=adversarial)
    noise = Noise(sigma=5.0, clip=1e6)
    features, images = known(packed, 64)
    straight = decoders.train(features, images, noise, 1, settings)(features)

    end = decoders._Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        end(self, epoch, logs)
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(decoders._Checkpoint, "on_epoch_end", killed)
        decoders.train(features, images, noise, 1, settings, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["epoch_002.weights.h5"]
    resumed = decoders.train(features, images, noise, 1, settings, tmp_path)(features)
    assert np.abs(resumed.astype(int) - straight).max() <= 1
    # Finished: nothing is left to train.
    assert np.array_equal(decoders.train(features, images, noise, 1, settings, tmp_path)(features), resumed)

    (tmp_path / "epoch_003.weights.h5").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="damaged"):
        decoders.train(features, images, noise, 1, settings, tmp_path)


def test_runs_on_jax():
    code = """
import numpy as np
from privzoo.audit.attacks import decoders
images = np.random.default_rng(0).integers(0, 255, (32, 16, 16)).astype(np.uint8)
for adversarial in (False, True):
    settings = decoders.Settings(16, 32, 1, 8, 16, adversarial=adversarial)
    print(decoders.train(images[..., None], images, None, 1, settings)(images[..., None]).shape)
"""
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=580)
    assert done.stdout.split("\n")[:2] == ["(32, 16, 16)"] * 2, done.stderr


@pytest.mark.parametrize(
    ("shape", "side"), [((4,), 64), ((6, 6, 8), 64), ((1, 1, 8), 64), ((64, 64, 3), 64), ((5,), 50)]
)
def test_network_fits_every_feature(shape, side):
    model = decoders.network(shape, decoders.Settings(side=side, width=16))
    assert model.output_shape == (None, side, side, 1)


def test_likeness():
    image = picture(32)[None, ..., 0]
    psnr, ssim = reconstruction.likeness(np.concatenate([image, image + 10 % 256]), np.concatenate([image, image]))
    assert (psnr[0], ssim[0]) == (reconstruction.HIGHEST_PSNR, 1)
    assert ssim[1] < 1
    assert reconstruction.likeness(np.zeros((1, 8, 8), np.uint8), np.full((1, 8, 8), 255, np.uint8))[0] == 0


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"methods": ("magic",)}, ConfigError, "magic"),
        ({"seeds": ()}, ConfigError, "seed"),
        ({"known": (np.full((5, 3), np.nan), faces(5, 1))}, FeatureError, "NaN"),
        ({"known": (np.ones((4, 3)), faces(5, 1))}, FeatureError, "for 5 images"),
        ({"known": (np.ones((5, 2)), faces(5, 1))}, FeatureError, "two heads"),
        ({"known": (np.ones((5, 3)), faces(5, 6))}, DataError, "5 of 5 scored images"),
        ({"known": (np.ones((5, 3)), np.ones(5))}, ImageError, "give finite numbers"),
        ({"scored": (np.ones((5, 3)), faces(5, 6), np.arange(5) + 90)}, DataError, "gallery has 10"),
    ],
)
def test_refuses(change, error, says, gallery):
    arguments = {"known": (np.ones((5, 3)), faces(5, 1)), "scored": (np.ones((5, 3)), faces(5, 6), np.arange(5))}
    with pytest.raises(error, match=says):
        reconstruction.attack(gallery=gallery, **(arguments | change))
