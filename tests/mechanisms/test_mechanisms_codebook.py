"""Codebooks: any feature has a valid symbol, thresholds are kept, and a manifest gives the same book."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from privzoo.errors import ConfigError, FeatureError
from privzoo.mechanisms.codebook import Codebook, from_manifest, levels

FLOATS = st.floats(-1e3, 1e3)


@st.composite
def books(draw):
    d, k, extra = draw(st.integers(1, 5)), draw(st.integers(2, 8)), draw(st.integers(0, 3))
    symbols = draw(st.permutations([*range(k), *(draw(st.integers(0, k - 1)) for _ in range(extra))]))
    row = st.lists(FLOATS, min_size=k + extra, max_size=k + extra).map(tuple)
    return Codebook(tuple(draw(row) for _ in range(d)), draw(row), tuple(symbols))


@given(books(), st.data())
def test_any_feature_has_a_valid_symbol(book, data):
    shape = (data.draw(st.integers(0, 5)), len(book.kernel))
    features = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False)))
    features[np.isinf(features)] = np.finfo(np.float32).max
    symbols = book.encode(features)
    assert symbols.shape == (len(features),) and symbols.dtype == np.int64
    assert ((symbols >= 0) & (symbols < book.k)).all()


@given(books())
def test_a_manifest_gives_the_same_book(book):
    entry = json.loads(json.dumps(book.describe()))
    assert from_manifest(entry, "head.tflite") == book


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=15, unique=True), st.integers(-60, 60))
def test_levels_are_those_of_the_thresholds(thresholds, score):
    """Whole numbers: nothing is rounded, so that a score on a threshold is exactly on it."""
    thresholds = np.sort(np.array(thresholds, float))
    book = levels(np.array([2.0, -1.0]), 3.0, thresholds)
    feature = np.array([[score, 2 * score + 3 - score]])  # 2 a - b + 3 = score for b = a + 3
    assert book.encode(feature).tolist() == [int(np.searchsorted(thresholds, score, side="right"))]


@pytest.mark.parametrize("features", [[[np.nan]], [[np.inf]], [[1.0, 2.0]], [1.0], [["a"]], [[1j]]])
def test_features_of_another_code_are_refused(features):
    with pytest.raises(FeatureError, match="features"):
        levels(np.ones(1), 0.0, np.zeros(1)).encode(features)


def test_books_that_cannot_be_are_refused():
    good = levels(np.ones(2), 0.0, np.zeros(1)).describe()
    changes = (
        ("kernel", []),
        ("kernel", [[1.0, 2.0], [1.0]]),
        ("kernel", [[1.0, 2.0], [1.0, float("nan")]]),
        ("bias", [0.0, 1.0]),  # not the book of that name
        ("symbols", [0, 0]),
        ("symbols", [0, 2]),
        ("symbols", [0.5, 1]),
        ("symbols", None),
        ("k", 3),
        ("name", "0" * 12),
    )
    for key, value in changes:
        with pytest.raises(ConfigError, match="codebook"):
            from_manifest({**copy.deepcopy(good), key: value}, "head.tflite")
    for entry in (None, [], {}, "book"):
        with pytest.raises(ConfigError, match="codebook"):
            from_manifest(entry, "head.tflite")
