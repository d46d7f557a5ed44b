"""Crop and resize: the code in docs/face_chip.md, Pillow's output and the golden chips are the same pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

from privzoo.errors import ConfigError, ImageError
from privzoo.faces import Box, centre, crop, decode, resize
from privzoo.faces.chip import MAX_BOX_RATIO

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "chips"
CASES = json.loads((GOLDEN / "cases.json").read_text())


def documented() -> dict:
    """Names that the Python in docs/face_chip.md defines."""
    names: dict = {}
    exec("\n".join(block.text for block in blocks("docs/face_chip.md", "python")), names)
    return names


SPECIFICATION = documented()


def specified(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The chip by the specification's own code, pure Python integers."""
    channel = SPECIFICATION["turned_chip_channel" if box.angle else "chip_channel"]
    turn = [box.angle] if box.angle else []
    planes = [channel(image[:, :, c].tolist(), box.x, box.y, box.size, size, *turn) for c in range(3)]
    return np.array(planes).transpose(1, 2, 0)


def in_floating_point(square: np.ndarray, size: int) -> np.ndarray:
    """The same filter with exact weights, rounded once at the end."""
    side = len(square)
    scale = side / size
    support = max(scale, 1.0)
    distance = (np.arange(side)[None, :] + 0.5 - (np.arange(size)[:, None] + 0.5) * scale) / support
    weights = np.maximum(0.0, 1.0 - np.abs(distance))
    weights /= weights.sum(axis=1, keepdims=True)
    planes = square.transpose(2, 0, 1).astype(np.float64)
    return np.floor(weights @ planes @ weights.T + 0.5).transpose(1, 2, 0)


@st.composite
def images(draw, largest: int = 40) -> np.ndarray:
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@st.composite
def boxes_over(draw, image: np.ndarray) -> Box:
    """Any box that crop takes: inside the image, over its border, larger than it."""
    height, width = image.shape[:2]
    side = draw(st.integers(1, MAX_BOX_RATIO * min(height, width)))
    return Box(draw(st.integers(1 - side, width - 1)), draw(st.integers(1 - side, height - 1)), side)


@given(data=st.data(), image=images(), size=st.integers(1, 40))
@settings(max_examples=60)
def test_specification_gives_the_same_pixels(data, image, size):
    box = data.draw(boxes_over(image))
    assert (crop(image, box, size) == specified(image, box, size)).all()


@given(data=st.data(), image=images(largest=20), size=st.integers(1, 20), angle=st.floats(-180, 180))
@settings(max_examples=60)
def test_specification_gives_the_same_turned_pixels(data, image, size, angle):
    box = dataclasses.replace(data.draw(boxes_over(image)), angle=angle)
    assert (crop(image, box, size) == specified(image, box, size)).all()


@given(data=st.data(), image=images(), size=st.integers(1, 50), angle=st.floats(-180, 180))
def test_a_turned_chip_has_no_new_extremes(data, image, size, angle):
    chip = crop(image, dataclasses.replace(data.draw(boxes_over(image)), angle=angle), size)
    assert chip.shape == (size, size, 3) and image.min() <= chip.min() and chip.max() <= image.max()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_one(astronaut, quarters):
    """A square inside the photograph, at its own size: the same pixels, but for the half that a turn may shift."""
    box = Box(150, 60, 120)
    turned = crop(astronaut, dataclasses.replace(box, angle=90.0 * quarters), 120).astype(int)
    assert np.abs(np.rot90(crop(astronaut, box, 120), quarters).astype(int) - turned).max() == 0


@pytest.mark.parametrize("angle", [float("nan"), float("inf")])
def test_an_angle_that_cannot_be(angle):
    with pytest.raises(ImageError, match="not an angle"):
        crop(np.zeros((9, 9, 3), np.uint8), Box(0, 0, 5, angle=angle), 4)


@given(image=images(largest=80), size=st.integers(1, 80))
@settings(max_examples=60)
def test_floating_point_differs_by_one_grey_level_at_most(image, size):
    box = centre(image)
    square = image[box.y : box.y + box.size, box.x : box.x + box.size]
    assert np.abs(resize(image, size) - in_floating_point(square, size)).max() <= 1


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["file"])
def test_golden_chip(case):
    source = decode(GOLDEN / CASES["source"])
    assert hashlib.sha256(source.tobytes()).hexdigest() == CASES["source_rgb_sha256"]
    box = Box(**case["box"])
    chip = crop(source, box, case["size"])
    assert (chip == decode(GOLDEN / case["file"])).all()
    assert hashlib.sha256(chip.tobytes()).hexdigest() == case["rgb_sha256"]
    assert (chip == specified(source, box, case["size"])).all()


def test_golden_source_is_the_astronaut(astronaut):
    source = decode(GOLDEN / CASES["source"])
    assert (astronaut[30 : 30 + len(source), 130 : 130 + len(source)] == source).all()


@given(data=st.data(), image=images(), size=st.integers(1, 50))
@settings(deadline=None)
def test_any_box_gives_a_chip_of_the_size_asked_for(data, image, size):
    chip = crop(image, data.draw(boxes_over(image)), size)
    assert chip.shape == (size, size, 3) and chip.dtype == np.uint8


@given(data=st.data(), colour=st.tuples(*[st.integers(0, 255)] * 3), size=st.integers(1, 300))
@settings(deadline=None)
def test_a_constant_image_stays_constant(data, colour, size):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    image = np.full((height, width, 3), colour, np.uint8)
    assert (crop(image, data.draw(boxes_over(image)), size) == colour).all()


@given(data=st.data(), image=images(), size=st.integers(1, 50))
@settings(deadline=None)
def test_mirroring_before_and_after_agree(data, image, size):
    box = data.draw(boxes_over(image))
    mirrored = Box(image.shape[1] - box.x - box.size, box.y, box.size)
    assert (crop(image[:, ::-1], mirrored, size)[:, ::-1] == crop(image, box, size)).all()


@given(data=st.data(), image=images(), size=st.integers(1, 50))
@settings(deadline=None)
def test_no_new_extremes(data, image, size):
    chip = crop(image, data.draw(boxes_over(image)), size)
    assert image.min() <= chip.min() and chip.max() <= image.max()


@given(image=images(), size=st.integers(1, 50), channels=st.permutations(range(3)))
@settings(deadline=None)
def test_channels_do_not_mix(image, size, channels):
    assert (resize(image[:, :, channels], size) == resize(image, size)[:, :, channels]).all()


@given(image=images())
def test_the_same_size_is_a_copy(image):
    box = centre(image)
    chip = crop(image, box, box.size)
    assert (chip == image[box.y : box.y + box.size, box.x : box.x + box.size]).all()
    assert not np.shares_memory(chip, image)


def test_resize_takes_the_centre_square():
    image = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)
    assert (resize(image, 5) == image[:, 1:6]).all()
    assert (resize(image.transpose(1, 0, 2), 5) == image.transpose(1, 0, 2)[1:6]).all()


def test_border_pixels_repeat():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    chip = crop(image, Box(-2, 2, 4), 4)
    assert (chip[:, 0] == chip[:, 2]).all() and (chip[2] == chip[3]).all()
    assert (chip[0, 2] == image[2, 0]).all()


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        (Box(10, 0, 5), "no pixel in the image of 10x8"),
        (Box(-5, 0, 5), "no pixel in the image of 10x8"),
        (Box(0, 8, 5), "no pixel in the image of 10x8"),
        (Box(0, 0, 0), "no pixel in the image of 10x8"),
        (Box(0, 0, -3), "no pixel in the image of 10x8"),
        (Box(0, 0, 33), "far larger than the image"),
        (Box(0, 0, 10**12), "far larger than the image"),
        (Box(0.5, 0, 4), "x=0.5 is not a whole number"),
        (Box(0, float("nan"), 4), "y=nan is not a whole number"),
        (Box(0, 0, True), "size=True is not a whole number"),
    ],
)
def test_impossible_boxes_are_refused(box, sentence):
    with pytest.raises(ImageError, match=re.escape(sentence)):
        crop(np.zeros((8, 10, 3), np.uint8), box, 4)


@pytest.mark.parametrize("size", [0, -1, 4097, 1.5, "96", None, True])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ConfigError, match="whole number of pixels from 1 to 4096"):
        resize(np.zeros((8, 10, 3), np.uint8), size)


def test_numpy_integers_are_whole_numbers():
    image = np.zeros((8, 10, 3), np.uint8)
    assert crop(image, Box(np.int64(1), np.int32(1), np.uint8(4)), np.int64(2)).shape == (2, 2, 3)
