"""The recogniser on faces made of a few random patterns."""

from __future__ import annotations

import numpy as np
import pytest
from data_fakes import jpeg, place

from privzoo.audit.attacks import recogniser
from privzoo.errors import DataError, ImageError


def people(count: int, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth patterns, one for each person, with another light and some noise in each image; uint8 (N, 50, 50)."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), images)
    patterns = gaussian_filter(rng.normal(size=(count, 50, 50)), (0, 3, 3)) * 300
    faces = patterns[labels] * rng.uniform(0.7, 1.2, (len(labels), 1, 1)) + rng.normal(0, 12, (len(labels), 50, 50))
    return (faces + rng.uniform(100, 150, (len(labels), 1, 1))).clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def fitted() -> recogniser.Recogniser:
    return recogniser.fit(*people(20, 3, seed=0))


@pytest.mark.slow
def test_recognises_people_it_never_saw(fitted):
    images, labels = people(10, 6, seed=1)
    first = np.arange(len(labels)) % 2 == 0
    gallery = fitted.gallery(images[first], labels[first])
    assert gallery.recognised(images[~first], labels[~first]).mean() > 0.95


def test_light_does_not_count(fitted):
    images, _ = people(3, 1, seed=2)
    darker = images.astype(np.float32) * 0.5 + 20
    assert np.allclose(fitted.embed(images), fitted.embed(darker), atol=1e-3)


def test_knows_noise_as_nobody(fitted):
    """Random images are spread over the gallery: an accuracy near chance."""
    images, labels = people(20, 5, seed=1)
    rng = np.random.default_rng(0)
    found = fitted.gallery(images, labels).recognised(rng.integers(0, 255, (100, 50, 50)), labels)
    assert found.mean() < 0.2


def test_same_images_same_embedding():
    images, labels = people(4, 2, seed=0)
    assert np.array_equal(recogniser.fit(images, labels).matrix, recogniser.fit(images, labels).matrix)


def test_grey_takes_every_shape():
    grey = np.full((2, 20, 20), 77, np.uint8)
    for images in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=3)):
        assert recogniser.grey(images, 10).shape == (2, 10, 10)
        assert np.allclose(recogniser.grey(images, 10), 77)


def test_refuses_bad_input(fitted):
    with pytest.raises(ImageError, match=r"\(2, 3\)"):
        fitted.embed(np.zeros((2, 3)))
    with pytest.raises(ImageError, match="finite"):
        fitted.embed(np.full((2, 5, 5), np.nan))
    with pytest.raises(DataError, match="two images"):
        recogniser.fit(np.zeros((3, 50, 50)), [0, 1, 2])
    with pytest.raises(DataError, match="each person an image"):
        fitted.gallery(np.zeros((2, 50, 50)), [0, 2])


def test_outside_leaves_people_out(tmp_path):
    files = {f"{p}/{p}_{n:04d}.jpg": jpeg(144, seed=n) for p in ("Ann_A", "Bob_B", "Cid_C") for n in (1, 2)}
    root = place(files, tmp_path, "parent", "lfw")
    images, labels = recogniser.outside(root, ["Bob_B"], 32)
    assert images.shape == (4, 32, 32, 3)
    assert labels.tolist() == [0, 0, 2, 2]
    with pytest.raises(DataError, match="All 3 people"):
        recogniser.outside(root, ["Ann_A", "Bob_B", "Cid_C"])


@pytest.mark.slow
def test_recognises_lfw(data_dir):
    """The yardstick on real faces: far above chance, or its judgement of reconstructions would say nothing."""
    from privzoo.data import arrays, lfw

    train, test = lfw.lfw100(data_dir)
    images, labels = recogniser.outside(data_dir, train.classes["identity"], recogniser.SIDE)
    many = np.bincount(labels)[labels] > 4  # a part of them, to save time
    gallery = recogniser.fit(images[many], labels[many]).gallery(*arrays(train, recogniser.SIDE, "identity"))
    images, labels = arrays(test, recogniser.SIDE, "identity")
    hits = gallery.recognised(images, labels)
    by_person = np.bincount(labels, hits) / np.bincount(labels)
    print(f"recogniser on LFW-100 originals: {by_person.mean():.1%}")
    assert by_person.mean() > 0.5
