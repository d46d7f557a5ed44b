"""The calibration chips that need no data set."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from privzoo.errors import MissingExtraError
from privzoo.export.calibration import default_calibration

pytestmark = pytest.mark.all_models


def test_chips_are_varied_and_the_same_each_time():
    pytest.importorskip("skimage")
    chips = default_calibration(48, 8)
    assert chips.shape == (8, 48, 48, 3) and chips.dtype == np.uint8
    assert np.array_equal(chips, default_calibration(48, 8))
    assert len({chip.tobytes() for chip in chips}) == 8
    assert np.array_equal(chips[:4], default_calibration(48, 4))


def test_missing_scikit_image_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingExtraError, match=r"privzoo\[detect\]"):
        default_calibration(48, 2)
