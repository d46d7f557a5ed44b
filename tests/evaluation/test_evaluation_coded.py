"""Figures of codes: what is expected in closed form, calibration, and draws that can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from privzoo.evaluation.coded import calibration_error, measure, measure_noise


def bayes(k):
    def tail(symbols, epsilon):
        same = 1 / (1 + (k - 1) * math.exp(-epsilon))
        table = np.full((k, k), (1 - same) / (k - 1))
        np.fill_diagonal(table, same)
        return table[symbols]

    return tail


@pytest.mark.slow
def test_a_perfect_network_is_answered_at_the_ceiling_and_calibrated():
    labels = np.arange(20_000) % 2
    one, same = measure(bayes(2), 2, labels, labels, labels, [1.0, 4.0]), 1 / (1 + math.exp(-1))
    assert one[0].ceiling == pytest.approx(same) and one[0].accuracy == pytest.approx(same, abs=0.005)
    assert one[0].lowest <= one[0].accuracy <= one[0].highest and 0.99 < one[0].share().value < 1.01
    assert all(figure.calibration_error < 0.005 for figure in one)
    assert one == measure(bayes(2), 2, labels, labels, labels, [1.0, 4.0])


@pytest.mark.slow
def test_intervals_count_people_and_not_their_photographs():
    labels, people = np.repeat(np.arange(200) % 2, 30), np.repeat(np.arange(200), 30)
    network = np.where(np.isin(people, range(0, 200, 10)), 1 - labels, labels)  # wrong about some people each time
    alone = measure(bayes(2), 2, network, labels, network, [3.0])[0]
    known = measure(bayes(2), 2, network, labels, network, [3.0], people=people)[0]
    assert (alone.accuracy, alone.share_of_ceiling) == (known.accuracy, known.share_of_ceiling)
    assert known.people == 200 and alone.people == known.faces == 6000
    assert known.high - known.low > 3 * (alone.high - alone.low)
    # The network's errors are the ceiling's too: the share is as sure as the draws are.
    assert known.share_high - known.share_low < 0.2 * (known.high - known.low)
    assert known.share().value == pytest.approx(known.accuracy / known.ceiling) == pytest.approx(1, abs=0.005)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    sure = np.tile([0.9, 0.1], (100, 1))
    assert calibration_error(sure, np.zeros(100, int)) == pytest.approx(0.1)
    assert calibration_error(sure, np.arange(100) % 2) == pytest.approx(0.4)
    assert calibration_error(np.tile([1.0, 0.0], (9, 1)), np.zeros(9, int)) == 0.0


def test_noise_is_drawn_from_seeds_at_each_budget():
    rng, labels = np.random.default_rng(0), np.arange(2000) % 2
    features = rng.normal(2.0 * labels[:, None] - 1, 0.3, (2000, 1)).astype(np.float32)

    def classify(arrived):
        return np.concatenate([arrived < 0, arrived >= 0], axis=1)

    found = measure_noise(classify, features, labels, 1.5, [1.0, 8.0, 64.0], (1, 2, 3), labels)
    assert [one.epsilon for one in found] == [1.0, 8.0, 64.0] and {one.delta for one in found} == {1e-5}
    assert 0.5 < found[0].accuracy < found[1].accuracy < found[2].accuracy
    assert all(one.low <= one.accuracy <= one.high and one.people == 2 and one.faces == 2000 for one in found)
    assert found == measure_noise(classify, features, labels, 1.5, [1.0, 8.0, 64.0], (1, 2, 3), labels)
