"""One class of several, or many attributes: how outputs are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privzoo import outputs
from privzoo.errors import ConfigError
from privzoo.outputs import ATTRIBUTES, CLASS

LOGITS = st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=4)


@given(LOGITS)
def test_probabilities_are_those_of_keras(logits):
    values = np.array(logits, np.float32)
    with np.errstate(all="raise", under="ignore"):
        classes, attributes = (outputs.probabilities(values, kind) for kind in (CLASS, ATTRIBUTES))
    np.testing.assert_allclose(classes.sum(1), 1, atol=1e-6)
    expected = np.where(values >= 0, 1 / (1 + np.exp(-np.abs(values))), 1 - 1 / (1 + np.exp(-np.abs(values))))
    np.testing.assert_allclose(attributes, expected, atol=1e-6)
    assert attributes.dtype == classes.dtype == np.float32


def test_softmax_of_no_rows():
    assert outputs.probabilities(np.zeros((0, 3)), CLASS).shape == (0, 3)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_the_label_has_what_is_decided(row):
    names = ("a", "b", "c")
    present = outputs.decided([row], ATTRIBUTES)[0]
    label = outputs.label(row, names, ATTRIBUTES)
    assert label == ", ".join(name for name, one in zip(names, present, strict=True) if one)
    assert outputs.label(row, names, CLASS) == names[outputs.decided([row], CLASS)[0]]


def test_an_attribute_at_one_half_is_not_present():
    assert outputs.label([0.5, 0.25], ("a", "b"), ATTRIBUTES) == outputs.NONE == ""


def test_manifests():
    assert outputs.of_manifest({}, "x") == CLASS
    assert outputs.of_manifest({"output": "attributes"}, "x") == ATTRIBUTES
    with pytest.raises(ConfigError, match="unknown kind of output, 'numbers'; update privzoo"):
        outputs.of_manifest({"output": "numbers"}, "x")
