"""dlib's recogniser, where the extra is installed, and what happens where it is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from privzoo.audit import raw_pixels
from privzoo.audit.attacks import descriptor, recogniser
from privzoo.errors import ImageError, MissingExtraError


@pytest.fixture
def dlib():
    return pytest.importorskip("dlib", reason="the extra recogniser is not installed")


def chips(astronaut) -> np.ndarray:
    """A face chip, darker, moved a little, and one of noise; uint8 (4, 150, 150, 3)."""
    from PIL import Image

    def cut(left: int, top: int) -> np.ndarray:
        picture = Image.fromarray(astronaut).crop((left, top, left + 150, top + 150))
        return np.asarray(picture.resize((150, 150)))

    face = cut(150, 20)
    noise = np.random.default_rng(0).integers(0, 255, face.shape)
    return np.stack([face, face * 0.7, cut(147, 23), noise]).astype(np.uint8)


def test_knows_a_face_again(dlib, astronaut):
    images = chips(astronaut)
    vectors = descriptor.Descriptor().embed(images)
    assert vectors.shape == (4, 128) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors[0]
    assert alike[1] > 0.97 and alike[2] > 0.97 and alike[3] < min(alike[1], alike[2])
    gallery = descriptor.Descriptor().gallery(images[[0, 3]], np.array([0, 1]))
    assert gallery.identify(images).tolist() == [0, 0, 0, 1]


def test_grey_faces_of_any_size_are_taken(dlib, astronaut):
    images = chips(astronaut)[:1]
    small = recogniser.grey(images, 96)
    one, other, same = (descriptor.Descriptor().embed(x)[0] for x in (small, small[..., None], images))
    assert np.array_equal(one, other) and one @ same > 0.95
    with pytest.raises(ImageError):
        descriptor.Descriptor().embed(np.full((1, 20, 20), np.nan))


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    descriptor._loaded.cache_clear()
    with pytest.raises(MissingExtraError, match=r"privzoo\[recogniser\]"):
        descriptor.Descriptor().embed(np.zeros((1, 20, 20), np.uint8))
    descriptor._loaded.cache_clear()


def test_colour_takes_every_shape():
    grey = np.full((2, 20, 20), 77, np.uint8)
    for images in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=3), grey.astype(np.float32)):
        found = recogniser.colour(images, 10)
        assert found.shape == (2, 10, 10, 3) and found.dtype == np.uint8 and (found == 77).all()
    assert recogniser.colour(grey[:0], 10).shape == (0, 10, 10, 3)


def test_people_are_named_by_photograph_and_by_mean():
    known = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    asked = np.array([[0.9, 0.436], [0.1, 0.995], [1.0, 0.0]])
    found = raw_pixels.named((known, np.array([0, 0, 1])), (asked, np.array([0, 1, 1])))
    assert {judge: hits.tolist() for judge, hits in found.items()} == {
        "nearest photograph": [True, True, False],
        "nearest mean": [True, True, False],
    }
