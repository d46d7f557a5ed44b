"""The identity attack, protocol 3: which of the known people sent this feature? (Osia et al. 2017, section IV.A)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from privzoo.audit.attacks import attackers as methods
from privzoo.audit.attacks.attackers import Fit, Training, hits
from privzoo.audit.attacks.preparation import Preparation, as_rows, prepare
from privzoo.audit.attacks.scored import scored
from privzoo.errors import ConfigError, DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.drawn import Coded, arrived, averaged
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.gaussian import Noise

SEEDS = (1, 2, 3)
QUERIES = (1, 10, 100)
TOP = (1, 5)


@dataclass(frozen=True)
class Outcome:
    """One attacker's result: for each seed and scored face, the chance that the right person is among the first."""

    attacker: str
    top1: np.ndarray  # float64 (seeds, faces), 0..1; between only where scores tie
    top5: np.ndarray


@dataclass(frozen=True)
class Result:
    """The results of an identity attack."""

    outcomes: tuple[Outcome, ...]
    people: np.ndarray  # int (faces,): the right person of each scored face, 0..P-1
    seeds: tuple[int, ...]
    queries: int
    seconds: float

    def figure(self, attacker: str, top: int = 1) -> Estimate:
        """Mean over seeds and people of an attacker's hits, with its interval over both."""
        outcome = next(o for o in self.outcomes if o.attacker == attacker)
        return intervals.over_people(outcome.top1 if top == 1 else outcome.top5, self.people)

    @property
    def best(self) -> str:
        """The attacker with the highest top-1: picked on the faces it is scored on, so it errs on the high side."""
        return max(self.outcomes, key=lambda o: intervals.by_person(o.top1, self.people).mean()).attacker

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / (int(self.people.max()) + 1)


def check_apart(train_ids: Sequence[str], test_ids: Sequence[str]) -> None:
    """Refuses an attack that would train on what it is scored on.

    Args:
        train_ids: identifiers of the training images, such as hashes of their pixels.
        test_ids: likewise of the scored images.

    Raises:
        DataError: an image is on both sides.
    """
    leaked = set(train_ids) & set(test_ids)
    if leaked:
        raise DataError(
            f"{len(leaked)} of {len(set(test_ids))} scored inputs are also training inputs, such as {min(leaked)}: an "
            "attack must not train on what it is scored on."
        )


def attack(
    train_features: np.ndarray,
    train_people: np.ndarray,
    test_features: np.ndarray,
    test_people: np.ndarray,
    *,
    noise: Noise | Coded | None = None,
    queries: int = 1,
    seeds: Sequence[int] = SEEDS,
    attackers: Sequence[str] | Mapping[str, Fit] = tuple(methods.ATTACKERS),
    train_ids: Sequence[str] | None = None,
    test_ids: Sequence[str] | None = None,
    background: tuple[np.ndarray, np.ndarray] | None = None,
    prepared: bool = True,
    kind: str = "person",
) -> Result:
    """Trains attackers to recognise people by features, and scores them on other features of the same people.

    Args:
        train_features: before noise, numbers (N, ...). May hold several rows of one photograph, e.g. its mirror image.
        train_people: person of each, integers or strings (N,).
        test_features: before noise, (M, ...), of other photographs.
        test_people: person of each (M,), all among the training people.
        noise: what the device adds to each feature, or its code; drawn afresh at each of the attackers' epochs.
        queries: how many features of one image the attacker has, in training and when it is scored; of a code it
            counts the symbols, and of noisy features it takes the mean.
        seeds: of noise, start values and held-out parts.
        attackers: names in `attackers.ATTACKERS`, or such functions by name.
        train_ids: identifiers of the training photographs, such as hashes of their pixels (N,); rows of one photograph
            share theirs. Without ids, features that are equal on both sides count as leaked.
        test_ids: likewise (M,).
        background: features before noise and people of other photographs, to learn from which differences are between
            people and which between photographs.
        prepared: attackers get whitened principal components; False: features as rows, for networks.
        kind: what the labels are, for messages.

    Returns:
        For each attacker, seed and scored face whether the right person came first, or among the first five.

    Raises:
        FeatureError: features without rows, of different lengths, or with NaN.
        DataError: a person with fewer than two training features or no scored one, or a scored image that is a training
            image too.
        ConfigError: an attacker that does not exist, no seed, or fewer than one query.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> people = np.repeat(np.arange(5), 6)
        >>> train, test = (np.eye(5)[people] + rng.normal(0, 0.01, (30, 5)) for _ in range(2))
        >>> attack(train, people, test, people, seeds=(1,)).figure("lda").value
        1.0
    """
    started = time.monotonic()
    fits = _fits(attackers, seeds, queries)
    train, test = as_rows(train_features, "training"), as_rows(test_features, "scored")
    labels, truth = _people(train, train_people, test, test_people, kind)
    if train_ids is None and test_ids is None:
        _check_rows_apart(train, test)
    elif train_ids is None or test_ids is None:
        raise ConfigError("Ids of only one side were given; give those of the training and of the scored images.")
    else:
        check_apart(train_ids, test_ids)
    groups = None if train_ids is None else np.unique(np.asarray(train_ids), return_inverse=True)[1]
    left = averaged(noise, queries)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in fits}
    preparation: Preparation | None = None
    for seed in seeds:
        rng = np.random.default_rng(seed)
        # Without noise each seed would find the same components again, which takes the most time.
        if prepared and (preparation is None or left):
            others = background and (arrived(as_rows(background[0], "background"), left, rng), background[1])
            preparation = prepare(arrived(train, left, rng), seed, others)
        spread = preparation.spread if preparation else None
        prepare_rows = preparation or plain
        draw = drawer(train, left, rng, prepare_rows)
        judged = scored(test, left, rng)
        unseen = prepare_rows(judged.rows)
        training = Training(
            draw, labels, int(labels.max()) + 1, unseen.shape[1], left is not None, seed, spread, groups
        )
        for name, fit in fits.items():
            scores = fit(training)(unseen)
            top1, top5 = (judged.by_class(functools.partial(_among, scores, k), truth) for k in TOP)
            found[name].append((top1, top5))
    outcomes = tuple(
        Outcome(name, *(np.stack(column) for column in zip(*rows, strict=True))) for name, rows in found.items()
    )
    return Result(outcomes, truth, tuple(seeds), queries, time.monotonic() - started)


def _among(scores: np.ndarray, k: int, labels: np.ndarray) -> np.ndarray:
    return hits(scores, labels, k)


def plain(rows: np.ndarray) -> np.ndarray:
    """Rows as they are."""
    return rows


def drawer(
    rows: np.ndarray,
    noise: Noise | Coded | None,
    rng: np.random.Generator,
    preparation: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray], np.ndarray]:
    """Function that gives prepared features of chosen rows, with fresh noise at each call."""
    if noise is None:
        return preparation(rows).__getitem__
    return lambda wanted: preparation(arrived(rows[wanted], noise, rng))


def _fits(attackers: Sequence[str] | Mapping[str, Fit], seeds: Sequence[int], queries: int) -> dict[str, Fit]:
    if not isinstance(attackers, Mapping):
        unknown = [name for name in attackers if name not in methods.ATTACKERS]
        if unknown:
            raise ConfigError(f"There is no attacker {unknown[0]!r}; there are {', '.join(methods.ATTACKERS)}.")
        attackers = {name: methods.ATTACKERS[name] for name in attackers}
    if not attackers or not seeds or queries < 1:
        raise ConfigError(
            f"An attack with {len(attackers)} attackers, {len(seeds)} seeds and {queries} queries is invalid; give one "
            "of each or more."
        )
    return dict(attackers)


def _people(
    train: np.ndarray, train_people: np.ndarray, test: np.ndarray, test_people: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0..P-1 of both sides."""
    train_people, test_people = np.asarray(train_people), np.asarray(test_people)
    for rows, people, name in ((train, train_people, "training"), (test, test_people, "scored")):
        if people.shape != (len(rows),):
            raise DataError(f"There are {len(rows)} {name} features and labels of shape {people.shape}; give one each.")
    if train.shape[1] != test.shape[1]:
        raise DataError(f"Training features have {train.shape[1]} values, scored ones {test.shape[1]}; use one head.")
    known, labels, counts = np.unique(train_people, return_inverse=True, return_counts=True)
    if len(known) < 2:
        raise DataError(f"The training features are all of one {kind}; an attack needs two or more.")
    if strangers := sorted(set(test_people.tolist()) - set(known.tolist())):
        raise DataError(f"The {kind} {strangers[0]!r} has scored features but no training feature; drop or add some.")
    if missing := sorted(set(known.tolist()) - set(test_people.tolist())):
        raise DataError(f"The {kind} {missing[0]!r} has training features but none that is scored; drop or add some.")
    if counts.min() < 2:
        person = known[counts.argmin()]
        raise DataError(f"The {kind} {person.item()!r} has one training feature; an attack needs two or more of each.")
    return labels, np.searchsorted(known, test_people)


def _check_rows_apart(train: np.ndarray, test: np.ndarray) -> None:
    # Short features may be equal by chance, above all rounded ones.
    if train.shape[1] <= methods.SMALL:
        return
    check_apart(*([str(hash(row.tobytes())) for row in side] for side in (train, test)))
