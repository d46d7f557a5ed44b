"""The head on the device."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from export_fakes import CLASSES, NAME, SIZE, chips, exported
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from privzoo.edge import Head
from privzoo.errors import ConfigError, FaceNotFoundError, ImageError, MissingExtraError
from privzoo.inputs import as_chips


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(exported("int8"))


def test_what_a_head_says_of_itself(head):
    assert (head.input_size, head.classes, head.feature_shape) == (SIZE, CLASSES, (12, 12, 16))
    assert head.manifest["model"] == NAME and NAME in repr(head)


def test_batches_are_loops(head):
    together = head.features(chips())
    assert np.array_equal(together, np.concatenate([head.features(chip[None]) for chip in chips()]))
    assert np.array_equal(together, head.features(chips().astype(np.float32)))
    assert np.array_equal(together, head.features(chips().astype(np.float64)))
    assert head.features(chips()[:0]).shape == (0, 12, 12, 16)


def test_tensors_are_allocated_once(monkeypatch):
    from ai_edge_litert.interpreter import Interpreter

    path = exported("int8")  # first: the export opens the file too
    calls, allocate = [], Interpreter.allocate_tensors
    monkeypatch.setattr(Interpreter, "allocate_tensors", lambda self: calls.append(self) or allocate(self))
    opened = Head(path)
    for _ in range(3):
        opened.features(chips()[:2])
    assert len(calls) == 1


def test_threads(head):
    expected = head.features(chips())
    assert np.array_equal(Head(exported("int8"), threads=2).features(chips()), expected)
    with ThreadPoolExecutor(4) as pool:  # of the caller's, sharing one head
        for features in pool.map(head.features, [chips()] * 8):
            assert np.array_equal(features, expected)
    for threads in (0, -1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match="threads="):
            Head(exported("int8"), threads=threads)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((SIZE, SIZE, 3), np.uint8), r"shape \(24, 24, 3\); give \(N, 24, 24, 3\)"),
        (np.zeros((1, SIZE, SIZE, 1), np.uint8), "shape"),
        (np.zeros((1, 32, 32, 3), np.uint8), "shape"),
        (np.zeros((1, SIZE, SIZE, 3), np.int32), "type int32"),
        (np.zeros((1, SIZE, SIZE, 3), bool), "type bool"),
        (np.full((1, SIZE, SIZE, 3), np.nan), "finite"),
        (np.full((1, SIZE, SIZE, 3), np.inf), "finite"),
        (np.full((1, SIZE, SIZE, 3), -1.0), "from 0 to 255"),
        (np.full((1, SIZE, SIZE, 3), 256.0), "from 0 to 255"),
        (np.full((1, SIZE, SIZE, 3), 0.5), "multiply them by 255"),
        ("photograph.jpg", "shape"),
        (None, "shape"),
    ],
)
def test_wrong_chips(head, wrong, sentence):
    with pytest.raises(ImageError, match=sentence):
        head.features(wrong)


def test_one_nan_among_many(head):
    wrong = chips().astype(np.float32)
    wrong[7, 3, 3, 1] = np.nan
    with pytest.raises(ImageError, match="finite"):
        head.features(wrong)


@settings(max_examples=100)
@given(
    stn.arrays(np.float32, (2, 2, 2, 3), elements=st.floats(width=32) | st.floats(0, 255, width=32)),
)
def test_what_passes_is_in_range(array):
    try:
        passed = as_chips(array, 2)
    except ImageError:
        assert not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 255 and array.max() > 1)
    else:
        assert passed.dtype == np.float32 and np.array_equal(passed, array)
        assert array.min() >= 0 and array.max() <= 255


def test_photographs_to_chips(head, astronaut):
    [box, *_] = head.detect(astronaut)
    found, [face], skipped = head.prepare(astronaut)
    assert found.shape == (1, SIZE, SIZE, 3) and face.box == box and not skipped
    given_chip, _, _ = head.prepare(chips()[:2], face="given")
    assert np.array_equal(given_chip, chips()[:2])
    blank = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(FaceNotFoundError):
        head.prepare(blank)
    found, faces, skipped = head.prepare([blank, astronaut], bulk=True)
    assert len(found) == len(faces) == 1 and [one.faceless for one in skipped] == [True]


def test_no_interpreter(monkeypatch):
    for package in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="pip install ai-edge-litert"):
        Head(exported("int8"))
