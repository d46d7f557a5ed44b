"""Decoders of features that are images, on an obfuscator that hides nothing and on one that hides all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_zoo
from PIL import Image

from privzoo import config, weights
from privzoo.audit.attacks import decoders, image_decoders, recogniser, reconstruction
from privzoo.errors import ConfigError

pytestmark = pytest.mark.training

SIDE, FEATURE = 16, 32
SMALL = decoders.Settings(side=SIDE, faces=160, epochs=10, width=16, batch_size=16, learning_rate=5e-3)


def faces(count: int, seed: int) -> np.ndarray:
    """Blobs of light, uint8 (count, SIDE, SIDE)."""
    small = np.random.default_rng(seed).integers(0, 255, (count, 4, 4)).astype(np.float32)
    return np.stack([np.asarray(Image.fromarray(s).resize((SIDE, SIDE))) for s in small]).clip(0, 255).astype(np.uint8)


def negative(images: np.ndarray) -> np.ndarray:
    """An image that looks like something else, and has it all: enlarged, mirrored, its colours turned around."""
    large = np.repeat(np.repeat(images, FEATURE // SIDE, 1), FEATURE // SIDE, 2)[..., None].astype(np.float32)
    return np.concatenate([255 - large, large / 2, 200 - large / 2], axis=-1)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def gallery() -> recogniser.Gallery:
    known = recogniser.fit(np.repeat(faces(30, seed=5), 2, axis=0), np.repeat(np.arange(30), 2))
    return known.gallery(faces(10, seed=6), np.arange(10))


def test_names_are_the_same_in_both_places():
    assert reconstruction.IMAGE_METHODS == image_decoders.METHODS
    assert set(reconstruction.IMAGE_METHODS) < set(reconstruction.METHODS)


@pytest.mark.parametrize("method", ["fresh deobfuscator", "u-net", "perceptual u-net", "adversarial u-net"])
def test_a_fresh_decoder_sees_through_an_image_that_only_looks_different(zoo, gallery, method, tmp_path, monkeypatch):
    seen = image_decoders.perceptual
    monkeypatch.setattr(image_decoders, "perceptual", lambda side: seen(48, tiny_zoo.PARENT.name, "conv1"))
    people = faces(10, seed=6)
    settings = dataclasses.replace(SMALL, side=48) if method.startswith("perceptual") else SMALL
    settings = dataclasses.replace(settings, epochs=2) if method[0] in "pa" else settings
    result = reconstruction.attack(
        (negative(faces(160, seed=7)), faces(160, seed=7)),
        (negative(people), people, np.arange(10)),
        gallery,
        methods=("image as sent", method),
        seeds=(1,),
        settings=settings,
        folder=tmp_path,
    )
    psnr = {name: result.figure(name, "PSNR").value for name in ("mean face", "image as sent", method)}
    assert np.isfinite(list(psnr.values())).all() and (tmp_path / f"{method}_1").is_dir()
    if method[0] in "fu":  # those that learnt long enough
        assert psnr[method] > max(psnr["mean face"], psnr["image as sent"]) + 1


@pytest.mark.parametrize("side", [16, 30, 64])
@pytest.mark.parametrize("build", [image_decoders.u_net, image_decoders.deobfuscator])
def test_networks_fit_any_side(build, side):
    network = build((FEATURE + 4, FEATURE + 4, 3), dataclasses.replace(SMALL, side=side))
    assert network.output_shape == (None, side, side, 1)


def test_the_own_deobfuscator_is_the_released_one(zoo):
    from privzoo.embeddings import obfuscated

    model = tiny_zoo.install_obfuscated(zoo)
    network = config.network(model.network)
    sent = tiny_zoo.chips(4)[0].astype(np.float32)
    rebuilt = np.asarray(obfuscated.deobfuscator(network, weights.load(network))(sent)).round().astype(np.uint8)
    seen = image_decoders.own(model.network, SIDE)(sent)
    assert np.array_equal(seen, reconstruction.grey_pictures(rebuilt, SIDE))
    known = (sent, tiny_zoo.chips(4)[0])
    with pytest.raises(ConfigError, match="No network is named"):
        image_decoders.learn("own deobfuscator", known, None, 1, SMALL)
