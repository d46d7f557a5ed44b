"""Figures of codes: what is expected in closed form, calibration, and draws that can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from privzoo.evaluation.coded import calibration_error, measure


def bayes(k):
    def tail(symbols, epsilon):
        same = 1 / (1 + (k - 1) * math.exp(-epsilon))
        table = np.full((k, k), (1 - same) / (k - 1))
        np.fill_diagonal(table, same)
        return table[symbols]

    return tail


def test_a_perfect_network_is_answered_at_the_ceiling_and_calibrated():
    labels = np.arange(20_000) % 2
    one, same = measure(bayes(2), 2, labels, labels, labels, [1.0, 4.0]), 1 / (1 + math.exp(-1))
    assert one[0].ceiling == pytest.approx(same) and one[0].accuracy == pytest.approx(same, abs=0.005)
    assert one[0].lowest <= one[0].accuracy <= one[0].highest and 0.99 < one[0].share < 1.01
    assert all(figure.calibration_error < 0.005 for figure in one)
    assert one == measure(bayes(2), 2, labels, labels, labels, [1.0, 4.0])


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    sure = np.tile([0.9, 0.1], (100, 1))
    assert calibration_error(sure, np.zeros(100, int)) == pytest.approx(0.1)
    assert calibration_error(sure, np.arange(100) % 2) == pytest.approx(0.4)
    assert calibration_error(np.tile([1.0, 0.0], (9, 1)), np.zeros(9, int)) == 0.0
