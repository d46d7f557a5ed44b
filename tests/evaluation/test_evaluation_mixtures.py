"""Answers by way of mixtures: every face has one in each draw, and a linear main gives the network's own."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from export_fakes import chips
from mixing_fakes import expected, parts

from privzoo.evaluation import mixtures


def labels(linear: bool, faces: np.ndarray, seeds, encoding=None):
    pre, main, mixing = parts(linear)
    of = functools.partial(pre, training=False)
    return mixtures.labels(lambda some: np.asarray(of(some.astype(np.float32))), lambda m: np.asarray(main(m)), mixing,
                           faces, seeds, encoding)  # fmt: skip


@pytest.mark.parametrize("count", [1, 4, 15])
@pytest.mark.parametrize("encoding", [None, "int16"])
def test_a_linear_main_gives_the_networks_classes(count, encoding):
    found = labels(True, chips()[:count], (1, 2), encoding)
    assert found.shape == (2, count)
    assert (found == expected(chips()[:count]).argmax(1)).all()


def test_draws_repeat_by_their_seeds_and_differ_between_them():
    one, two = (labels(False, chips(), (1, 2, 3)) for _ in range(2))
    assert np.array_equal(one, two) and len({row.tobytes() for row in one}) > 1
