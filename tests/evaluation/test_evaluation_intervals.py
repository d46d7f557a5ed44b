"""Intervals hold the truth as often as they say, also where faces come in clusters, and behave as intervals must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from privzoo.errors import DataError
from privzoo.evaluation import intervals

SETTINGS = settings(max_examples=60, deadline=None)
RUNS = 400
HITS = st.lists(st.booleans(), min_size=2, max_size=60)


def people(rng: np.random.Generator, count: int = 60) -> np.ndarray:
    """Numbers of photographs as LFW's: most people have few, one has many."""
    sizes = np.minimum(rng.geometric(0.35, count), 20)
    sizes[0] = 40
    return np.repeat(np.arange(count), sizes)


def covered(runs: int, draw) -> float:
    """Share of simulated samples whose interval holds the truth; `draw` gives an estimate and the truth."""
    return float(np.mean([found.low <= truth <= found.high for found, truth in (draw(seed) for seed in range(runs))]))


def one_mans_photographs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    whose = people(rng)
    own = rng.beta(4.5, 0.5, whose.max() + 1)  # some people are nearly always told wrongly; 0.9 in the mean
    return rng.random(len(whose)) < own[whose], whose


def test_shares_over_people_hold_the_truth():
    def with_people(seed):
        hits, whose = one_mans_photographs(seed)
        return intervals.share(hits, whose), 0.9

    def without(seed):
        return intervals.share(one_mans_photographs(seed)[0]), 0.9

    assert covered(RUNS, with_people) >= 0.9
    assert covered(RUNS, without) < 0.87  # what was published before: as if faces were independent


def test_means_and_paired_differences_hold_the_truth():
    def mean(seed):
        rng = np.random.default_rng(seed)
        whose = people(rng)
        values = 5 + rng.normal(size=whose.max() + 1)[whose] + rng.normal(size=len(whose))
        return intervals.mean(values, whose), 5

    def paired(seed):
        rng = np.random.default_rng(seed)
        whose = people(rng)
        difficulty = 3 * rng.normal(size=len(whose))  # cancels
        gain = 0.2 + 0.3 * rng.normal(size=whose.max() + 1)[whose]
        return intervals.difference(difficulty + gain, difficulty, whose), 0.2

    assert covered(RUNS, mean) >= 0.9
    assert covered(RUNS, paired) >= 0.9


def test_ratios_over_people_hold_the_truth_and_are_surer_than_their_parts():
    def draw(seed):
        rng = np.random.default_rng(seed)
        who = people(rng, 80)
        able = rng.beta(8, 2, who.max() + 1)[who]  # of one person's photographs alike
        return intervals.ratio(rng.random(len(who)) < 0.9 * able, able, who), 0.9

    assert covered(RUNS, draw) > 0.91
    able = np.repeat([0.2, 0.9], 100)
    found, part = intervals.ratio(0.9 * able, able), intervals.mean(able)
    assert found.value == pytest.approx(0.9) and found.high - found.low < 1e-9 < part.high - part.low
    for bad in ((np.ones(3), np.zeros(3)), (np.ones(3), np.ones(4))):
        with pytest.raises(DataError, match="have no ratio"):
            intervals.ratio(*bad)


def test_means_over_seeds_and_people_hold_the_truth():
    def draw(seed):
        rng = np.random.default_rng(seed)
        whose = np.repeat(np.arange(40), 8)
        own, luck = rng.normal(0, 0.08, 40), rng.normal(0, 0.05, (3, 1))
        return intervals.over_people(rng.random((3, len(whose))) < 0.3 + own[whose] + luck, whose), 0.3

    assert covered(RUNS, draw) >= 0.93


def test_balanced_accuracy_and_rare_classes_hold_the_truth():
    def draw(seed):
        rng = np.random.default_rng(seed)
        whose = people(rng, 100)
        classes = (np.arange(100) % 5 == 1)[whose].astype(int)
        right = np.array([0.95, 0.8])[classes]
        return intervals.balanced(rng.random(len(whose)) < right, classes, whose), 0.875

    assert covered(RUNS, draw) >= 0.92


def test_draws_are_part_of_the_luck():
    rng = np.random.default_rng(0)
    luck = 0.2 * np.array([[-1], [0], [1]])
    table = rng.random((3, 500)) < 0.5 + luck
    assert intervals.share(table).high - intervals.share(table).low > 0.3
    assert intervals.share(table[:1]).high - intervals.share(table[:1]).low < 0.1


@SETTINGS
@given(HITS)
def test_without_clusters_it_is_wilsons(hits):
    found = intervals.share(np.array(hits))
    wanted = binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert found.count == found.clusters == len(hits) and found.method == "Wilson"


@SETTINGS
@given(HITS, st.randoms(use_true_random=False), st.integers(2, 9))
def test_ends_lie_around_the_value_and_order_does_not_matter(hits, random, groups):
    whose = [random.randrange(groups) for _ in hits]
    classes = [random.randrange(2) for _ in hits]
    order = random.sample(range(len(hits)), len(hits))
    values = np.array(hits, float)
    for make in (
        lambda v, w, c: intervals.share(v, w),
        lambda v, w, c: intervals.mean(v, w),
        lambda v, w, c: intervals.difference(v, 1 - v, w),
        lambda v, w, c: intervals.balanced(v, c, w),
    ):
        found = make(values, whose, classes)
        again = make(values[order], [whose[i] for i in order], [classes[i] for i in order])
        assert found.low <= found.value <= found.high
        assert again.ends() == pytest.approx(found.ends(), abs=1e-9)
    share = intervals.share(values, whose)
    assert 0 <= share.low and share.high <= 1


@SETTINGS
@given(HITS, st.integers(2, 5))
def test_more_people_make_it_narrower_and_more_photographs_of_them_do_not(hits, times):
    values, whose = np.array(hits), np.arange(len(hits))

    def width(found):
        return found.high - found.low

    one = intervals.share(values, whose)
    more = intervals.share(np.tile(values, times), np.arange(len(hits) * times))
    same = intervals.share(np.tile(values, times), np.tile(whose, times))
    assert width(more) < width(one)
    assert width(same) == pytest.approx(width(one), rel=0.3) or width(same) > width(one)


def test_one_person_says_nothing():
    found = intervals.share([True, False, True], [7, 7, 7])
    assert (found.low, found.high, found.clusters) == (0, 1, 1)


def test_the_best_of_equal_attackers_looks_too_good():
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(100), 8)
    tables = [rng.random((3, 800)) < 0.1 for _ in range(4)]
    luck = intervals.best_of(tables, whose)
    deviation = np.std([intervals.by_person(t, whose).mean() for t in tables])
    assert 0.3 * deviation < luck < 3 * deviation and 0.002 < luck < 0.02  # 1.03 deviations for four normal ones
    assert intervals.best_of(tables[:1], whose) == pytest.approx(0, abs=1e-12)
    assert intervals.best_of([tables[0]] * 3, whose) == pytest.approx(0, abs=1e-12)  # no choice, no luck


def test_medians_and_independent_differences():
    found = intervals.median([3.0, 1.0, 2.0])
    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)
    apart = intervals.apart(intervals.Estimate(0.5, 0.4, 0.6), intervals.Estimate(0.2, 0.1, 0.4))
    assert apart.value == pytest.approx(0.3)
    assert apart.low == pytest.approx(0.3 - np.hypot(0.1, 0.2)) and apart.high == pytest.approx(
        0.3 + np.hypot(0.1, 0.1)
    )


@pytest.mark.parametrize(
    "bad",
    [
        lambda: intervals.share([]),
        lambda: intervals.share([0.5, 1.5]),
        lambda: intervals.mean([np.nan]),
        lambda: intervals.share([True, False], ["a"]),
        lambda: intervals.difference([1, 2], [1, 2, 3]),
    ],
)
def test_what_has_no_interval_is_refused(bad):
    with pytest.raises(DataError) as caught:
        bad()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_what_intervals_are_over_is_what_was_stored_with_them():
    over_people = intervals.share(np.repeat([1, 0], [30, 10]), np.repeat(np.arange(20), 2))
    assert intervals.over([over_people]) == "Intervals are over people (20) where the data set says who they are."
    stored = intervals.Estimate(0.75, 0.6, 0.86, count=40)  # before clusters were recorded
    assert intervals.over([stored]) == intervals.UNKNOWN
    assert intervals.over([over_people, stored]).endswith(f"they are. {intervals.UNKNOWN}")
    # As many independent as faces: the data set knows no people, and there is nothing to say. Nor of an exact figure.
    assert intervals.over([intervals.share(np.repeat([1, 0], [30, 10])), intervals.exact(0.5)]) == ""
