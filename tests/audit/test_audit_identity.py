"""The identity attack on synthetic features whose answer is known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from privzoo.audit.attacks import attackers, identity
from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.evaluation import drawn, intervals
from privzoo.mechanisms.gaussian import Noise, protect

pytestmark = pytest.mark.training

PEOPLE, TRAIN, TEST = 12, 9, 6
RNG = np.random.default_rng(5)


def faces(dimensions: int, spread: float, shape: tuple[int, ...] | None = None):
    """Features around one point for each person, (train, people, test, people)."""
    centres = np.random.default_rng(1).normal(size=(PEOPLE, dimensions)) * 3
    sides = []
    for count in (TRAIN, TEST):
        people = np.repeat(np.arange(PEOPLE), count)
        values = centres[people] + spread * RNG.normal(size=(len(people), dimensions))
        sides += [values.reshape(len(people), *(shape or (dimensions,))).astype(np.float32), people]
    return sides


def nothing(dimensions: int):
    """Features that know of nobody."""
    train, people, test, scored = faces(dimensions, 1.0)
    return [RNG.normal(size=train.shape), people, RNG.normal(size=test.shape), scored]


@pytest.mark.parametrize(("dimensions", "shape"), [(4, None), (72, (3, 3, 8)), (2000, None)])
def test_identity_that_is_there_is_found(dimensions, shape):
    result = identity.attack(*faces(dimensions, 0.05, shape), seeds=(1, 2))
    for outcome in result.outcomes:
        assert result.figure(outcome.attacker).value == 1.0, outcome.attacker
        assert result.figure(outcome.attacker, top=5).low > 0.75  # twelve people, all of them found
        assert outcome.top1.shape == (2, PEOPLE * TEST)
    assert result.chance == 1 / PEOPLE and result.seeds == (1, 2)


@pytest.mark.parametrize("dimensions", [1, 4, 300])
def test_identity_that_is_absent_is_not_found(dimensions):
    """Chance lies in the intervals, but for the one in twenty that must miss it, and then by little."""
    result = identity.attack(*nothing(dimensions), seeds=(1, 2, 3))
    inside = []
    for outcome in result.outcomes:
        for top in (1, 5):
            found, wanted = result.figure(outcome.attacker, top), top * result.chance
            width = found.high - found.low
            assert found.low - width < wanted < found.high + width, (outcome.attacker, top, found)
            inside.append(found.low <= wanted <= found.high)
    assert sum(inside) >= len(inside) - 2


@pytest.mark.parametrize(("noise", "times"), [(None, 1), (Noise(0.1, 10.0), 3)])
def test_seeds_share_components_where_none_differ(monkeypatch, noise, times):
    calls, prepare = [], identity.prepare
    monkeypatch.setattr(identity, "prepare", lambda *args: calls.append(args) or prepare(*args))
    data = faces(4, 2.0)
    together = identity.attack(*data, noise=noise, attackers=("lda", "mlp"), seeds=(1, 2, 3))
    assert len(calls) == times
    for i, seed in enumerate((1, 2, 3)):
        alone = identity.attack(*data, noise=noise, attackers=("lda", "mlp"), seeds=(seed,))
        for one, all_of_them in zip(alone.outcomes, together.outcomes, strict=True):
            np.testing.assert_array_equal(one.top1[0], all_of_them.top1[i])


def test_features_that_are_all_alike_leave_guessing():
    train, people, test, scored = faces(3, 0.1)
    result = identity.attack(np.zeros_like(train), people, np.zeros_like(test), scored, seeds=(1,))
    for outcome in result.outcomes:
        assert result.figure(outcome.attacker).value == pytest.approx(1 / PEOPLE, abs=0.05)


def test_people_may_be_names_and_results_are_the_same_again():
    train, people, test, scored = faces(4, 2.0)
    names = np.array([f"person {i}" for i in range(PEOPLE)])
    first, again = (
        identity.attack(train, names[people], test, names[scored], seeds=(7,), attackers=("lda", "mlp"))
        for _ in range(2)
    )
    for one, other in zip(first.outcomes, again.outcomes, strict=True):
        np.testing.assert_array_equal(one.top1, other.top1)
    assert first.best in ("lda", "mlp")


def test_noise_hides_and_averaging_undoes_it():
    data = faces(4, 0.05)
    noise = Noise(sigma=8.0, clip=8.0)
    shares = [
        identity.attack(*data, noise=noise, queries=q, seeds=(1, 2), attackers=("lda", "knn")).figure("lda").value
        for q in (1, 100)
    ]
    clean = identity.attack(*data, seeds=(1,), attackers=("lda",)).figure("lda").value
    assert shares[0] < shares[1] - 0.2 and shares[1] <= clean
    assert identity.averaged(noise, 100) == Noise(0.8, 8.0) and identity.averaged(None, 10) is None


def test_noise_is_that_of_the_device():
    """The quick draw has the moments of `protect`, on features that are clipped and others that are not."""
    rows, noise = np.repeat(np.array([[0.1, 0.2], [30.0, 40.0]]), 4000, axis=0), Noise(0.7, 2.0)
    quick, device = drawn.arrived(rows, noise, np.random.default_rng(1)), protect(rows, noise, random.Random(1))
    for part in (slice(4000), slice(4000, None)):
        np.testing.assert_allclose(quick[part].mean(0), device[part].mean(0), atol=0.06)
        np.testing.assert_allclose(quick[part].std(0), device[part].std(0), atol=0.05)


def test_noise_is_drawn_afresh():
    draws = []

    def spy(training):
        rows = np.arange(3)
        draws.extend([training.draw(rows), training.draw(rows)])
        return lambda x: np.zeros((len(x), training.classes))

    identity.attack(*faces(4, 0.1), noise=Noise(0.5, 8.0), seeds=(1,), attackers={"spy": spy})
    assert not np.array_equal(draws[0], draws[1])
    draws.clear()
    identity.attack(*faces(4, 0.1), seeds=(1,), attackers={"spy": spy})
    assert np.array_equal(draws[0], draws[1])


def test_other_people_teach_what_differs_within_a_person():
    """A nuisance thrice as strong as identity, which 40 other people reveal and two faces of each person do not."""
    rng = np.random.default_rng(3)
    nuisance = rng.normal(size=(40, 60))

    def of(people, centres):
        return centres[people] + 3 * rng.normal(size=(len(people), 40)) @ nuisance

    centres, others = rng.normal(size=(PEOPLE, 60)) * 4, rng.normal(size=(300, 60)) * 4
    people, scored, strangers = (np.repeat(np.arange(n), k) for n, k in ((PEOPLE, 2), (PEOPLE, 4), (300, 4)))
    data = of(people, centres), people, of(scored, centres), scored
    options = {"seeds": (1,), "attackers": ("lda",)}
    alone = identity.attack(*data, **options).figure("lda").value
    taught = identity.attack(*data, **options, background=(of(strangers, others), strangers)).figure("lda").value
    assert taught > alone + 0.1


def test_leaked_images_fail_the_run():
    train, people, test, scored = faces(4, 0.1)
    ids, others = [f"a{i}" for i in range(len(train))], [f"b{i}" for i in range(len(test))]
    identity.attack(train, people, test, scored, seeds=(1,), attackers=("lda",), train_ids=ids, test_ids=others)
    with pytest.raises(DataError, match="1 of 72 scored inputs are also training inputs, such as a3"):
        identity.attack(train, people, test, scored, train_ids=ids, test_ids=["a3", *others[1:]])
    with pytest.raises(ConfigError, match="only one side"):
        identity.attack(train, people, test, scored, train_ids=ids)
    train, people, test, scored = faces(64, 0.1)
    test[5] = train[7]
    with pytest.raises(DataError, match="must not train on what it is scored on"):
        identity.attack(train, people, test, scored)


def test_mirror_images_stay_on_one_side_of_the_held_out_part():
    labels = np.tile(np.repeat(np.arange(3), 5), 2)
    training = attackers.Training(lambda rows: rows[:, None], labels, 3, 1, False, 0, groups=np.tile(np.arange(15), 2))
    learnt, judged = training.parts()
    assert sorted([*learnt, *judged]) == list(range(30)) and not set(learnt % 15) & set(judged % 15)
    assert set(labels[learnt]) == set(labels[judged]) == {0, 1, 2}


def bad(change):
    train, people, test, scored = (a.copy() for a in faces(4, 0.1))
    values = dict(train_features=train, train_people=people, test_features=test, test_people=scored)
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: v["test_features"].__setitem__((0, 0), np.nan), FeatureError, "1 of 72 scored features hold NaN"),
        (lambda v: v.update(train_features=v["train_features"][:0]), FeatureError, "training features are float32"),
        (lambda v: v.update(train_features=np.array(["a"] * 108)), FeatureError, "give numbers"),
        (lambda v: v.update(test_features=v["test_features"][:, :3]), DataError, "4 values, scored ones 3"),
        (lambda v: v.update(train_people=v["train_people"][:-1]), DataError, "108 training features and labels"),
        (lambda v: v["train_people"].__setitem__(slice(9, 18), 0), DataError, "person 1 has scored features but no"),
        (lambda v: v["test_people"].__setitem__(slice(6, 12), 0), DataError, "person 1 has training features but none"),
        (lambda v: v["train_people"].__setitem__(slice(9, 17), 0), DataError, "person 1 has one training feature"),
        (lambda v: v["train_people"].fill(0), DataError, "all of one person"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, error, words):
    values = bad(change)
    with pytest.raises(error, match=words) as caught:
        identity.attack(values.pop("train_features"), **values)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"attackers": ("svm",)}, {"attackers": ()}, {"seeds": ()}, {"queries": 0}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError):
        identity.attack(*faces(4, 0.1), **options)


def test_ties_count_as_guesses():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(attackers.hits(scores, np.array([0, 2, 1]), 1), [0.5, 0, 1 / 3])
    np.testing.assert_allclose(attackers.hits(scores, np.array([0, 2, 1]), 2), [1, 1, 2 / 3])


def test_interval_is_of_the_mean_over_people():
    people = np.array([0] * 9 + [1])
    figure = intervals.over_people(np.array([[1.0] * 9 + [0.0]] * 2), people)
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.5, 0.0945, 0.9055), abs=0.01)


def test_two_classes_are_learnt_too():
    train, people, test, scored = faces(4, 0.05)
    result = identity.attack(train, people % 2, test, scored % 2, seeds=(1,))
    assert all(result.figure(o.attacker).value > 0.9 for o in result.outcomes if o.attacker != "lda")
