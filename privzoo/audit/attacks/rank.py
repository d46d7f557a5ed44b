"""Rank privacy: how many people are more likely than the right one, given a feature (Osia et al. 2017, section IV.C).

Equations 2 to 4: the cloud knows the features of every person, and the density of the noise. For a noisy feature z,
the likelihood of a person is the mean of the density of z around that person's features, and the privacy of z is the
rank of the right person, 1 for the most likely, over the number of people T. Tied people share the mean of their ranks.

- 1 / T: the right person is always the most likely. 0.5 + 1 / (2 T): on average, z says nothing about the person.
- Without noise, the ranks are those in the limit of ever less noise: the person with the nearest feature is the
  most likely, and among equally near ones the person with the larger share of features there.
- As in the paper, z was made from one of the features that the cloud knows: without noise, that alone identifies the
  person. `queries` asks the harder question, whether features of *other* photographs identify the people.
- The authors' published code counts each feature as a separate person: `per_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.evaluation import intervals
from privzoo.mechanisms.gaussian import clip

CHUNK = 4_000_000  # distances in memory at a time
FEW = 64  # dimensions up to which distances come from differences; beyond, from dot products, which are faster
ROUNDING = 1e-12  # relative difference up to which two figures count as tied


@dataclass(frozen=True)
class RankPrivacy:
    """Rank privacy of a set of features."""

    value: float  # Privacy_total: mean of rank / T over the noisy features; 1 / T to 1
    low: float  # 95% interval over people, noise included
    high: float
    people: int  # T, the number of sensitive classes
    count: int  # noisy features for each seed
    seeds: tuple[int, ...]  # of the noise; empty without
    by_person: np.ndarray  # float64 (T,): mean over each person's noisy features, NaN for a person without

    @property
    def blind(self) -> float:
        """The average for features that say nothing about the person: 0.5 + 1 / (2 T)."""
        return 0.5 + 0.5 / self.people


def rank_privacy(
    features: np.ndarray,
    people: Sequence | np.ndarray,
    sigma: float,
    *,
    radius: float | None = None,
    queries: tuple[np.ndarray, Sequence | np.ndarray] | None = None,
    classes: Sequence | None = None,
    per_sample: bool = False,
    seeds: Sequence[int] = (1, 2, 3),
) -> RankPrivacy:
    """Rank privacy under Gaussian noise, equations 2 to 4 of Osia et al. 2017.

    Args:
        features: what the cloud knows before noise, floats (N, ...).
        people: N labels of any sortable type.
        sigma: standard deviation of the noise on each component, in the features' units; 0: the limit.
        radius: clip all features to this Euclidean norm first, as a noisy head does; None: not at all.
        queries: other features (M, ...) and their people, from which the noisy ones are made; None: `features`.
        classes: all people there should be; None: those of `people`.
        per_sample: the authors' variant, in which each of `features` is a separate class; takes no `queries`.
        seeds: of the noise; ranks are averaged over them.

    Raises:
        FeatureError: features that are not numbers, not finite, or whose number or shape does not fit.
        DataError: a person without a feature, or no feature at all.
        ConfigError: an invalid sigma, no seed, or `per_sample` with `queries`.

    Example:
        >>> rank_privacy(np.zeros((6, 4)), [0, 0, 1, 1, 2, 2], sigma=1.0).value  # 0.5 + 1 / (2 * 3)
        0.6666666666666666
    """
    if not 0 <= sigma < math.inf or not seeds or (per_sample and queries is not None):
        raise ConfigError(
            f"sigma={sigma}, seeds={tuple(seeds)}, per_sample={per_sample} are invalid: give a sigma of 0 or more, one "
            "or more seeds, and no queries with per_sample."
        )
    known = _rows(features, people, "features")
    asked = known if queries is None else _rows(*queries, "queries")
    if asked.shape[1] != known.shape[1]:
        raise FeatureError(f"The queries have {asked.shape[1]} numbers each and the features {known.shape[1]}.")
    names, own = _classes(np.asarray(people), classes)
    askers = own if queries is None else _places(names, np.asarray(queries[1]))
    if radius is not None:
        known, asked = clip(known, radius), clip(asked, radius)
    groups, right = (np.arange(len(known)),) * 2 if per_sample else (own, askers)
    seeds = tuple(seeds) if sigma else ()
    ranks = np.zeros(len(asked))
    for seed in seeds or (None,):
        drawn = 0 if seed is None else np.random.default_rng(seed).normal(0, sigma, asked.shape)
        ranks += _ranks(asked + drawn, right, known, groups, sigma)
    total = int(groups.max()) + 1
    return _summary(ranks / max(1, len(seeds)) / total, askers, len(names), total, seeds)


def _rows(features: np.ndarray, people: Sequence | np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(features)
    if values.dtype.kind not in "fiu" or values.ndim < 2 or len(values) != len(people):
        raise FeatureError(
            f"The {what} are {values.dtype} of shape {values.shape} for {len(people)} people; give numbers of shape "
            "(N, ...) and N people."
        )
    if not len(values):
        raise DataError(f"There are no {what}; give at least one.")
    if not np.isfinite(values).all():
        raise FeatureError(f"The {what} hold NaN or infinity; give finite numbers.")
    return values.reshape(len(values), -1).astype(np.float64)


def _classes(people: np.ndarray, classes: Sequence | None) -> tuple[np.ndarray, np.ndarray]:
    names = np.unique(people if classes is None else np.asarray(classes))
    places = _places(names, people)
    empty = np.flatnonzero(np.bincount(places, minlength=len(names)) == 0)
    if len(empty):
        raise DataError(f"{len(empty)} people have no feature, the first is {names[empty[0]]}; leave them out.")
    return names, places


def _places(names: np.ndarray, people: np.ndarray) -> np.ndarray:
    places = np.searchsorted(names, people).clip(max=len(names) - 1)
    unknown = names[places] != people
    if unknown.any():
        raise DataError(f"Person {people[unknown][0]} is not among the {len(names)} people with features.")
    return places


def _distances(known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Function from noisy features (B, d) to squared distances (B, N), the same for equal columns to the last bit."""
    from scipy.spatial.distance import cdist

    if known.shape[1] <= FEW:
        return lambda noisy: cdist(noisy, known, "sqeuclidean")
    different, place = np.unique(known, axis=0, return_inverse=True)
    centre = different.mean(axis=0)  # distances do not change, and dot products of smaller numbers round less
    different -= centre
    squares = np.square(different).sum(axis=1)

    def measured(noisy: np.ndarray) -> np.ndarray:
        noisy = noisy - centre
        squared = np.square(noisy).sum(axis=1)[:, None] + squares - 2 * noisy @ different.T
        return np.maximum(squared, 0)[:, place.reshape(-1)]

    return measured


def _ranks(noisy: np.ndarray, right: np.ndarray, known: np.ndarray, groups: np.ndarray, sigma: float) -> np.ndarray:
    """Rank of the right group of each noisy feature, 1 for the most likely; float64 (M,)."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    distances = _distances(known[order])
    step = max(1, CHUNK // len(known))
    parts = []
    for begin in range(0, len(noisy), step):
        squared = distances(noisy[begin : begin + step])
        nearest = np.minimum.reduceat(squared, starts, axis=1)
        # Relative to the group's nearest feature, so that the likelihood of a far group does not vanish.
        squared -= np.repeat(nearest, counts, axis=1)
        if sigma:
            # At most 0 and at least -log(count): the sum holds a 1.
            spread = np.log(np.add.reduceat(np.exp(squared / (-2 * sigma**2)), starts, axis=1) / counts)
            offset = nearest - nearest.min(axis=1, keepdims=True)
            parts.append(_rank(spread - offset / (2 * sigma**2), right[begin : begin + step]))
        else:
            # One number per group that sorts by nearness, and at the same nearness by share of features there.
            at = squared <= ROUNDING * np.repeat(nearest, counts, axis=1)
            share = np.add.reduceat(at.astype(np.float64), starts, axis=1) / counts
            parts.append(_rank_limit(nearest, share, right[begin : begin + step]))
    return np.concatenate(parts)


def _rank(likelihood: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean rank of the right group by log-likelihood (B, T), ties shared."""
    own = likelihood[np.arange(len(right)), right][:, None]
    margin = ROUNDING * (1 + np.abs(own))
    higher = (likelihood > own + margin).sum(axis=1)
    lower = (likelihood < own - margin).sum(axis=1)
    return 1 + higher + (likelihood.shape[1] - 1 - higher - lower) / 2


def _rank_limit(nearest: np.ndarray, share: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The same without noise: by squared distance of the nearest feature, then by share of features there."""
    row = np.arange(len(right))
    own, own_share = nearest[row, right][:, None], share[row, right][:, None]
    margin = ROUNDING * own
    alike = np.abs(nearest - own) <= margin
    higher = ((nearest < own - margin) | (alike & (share > own_share + ROUNDING))).sum(axis=1)
    tied = (alike & (np.abs(share - own_share) <= ROUNDING)).sum(axis=1)
    return 1 + higher + (tied - 1) / 2


def _summary(privacy: np.ndarray, askers: np.ndarray, people: int, total: int, seeds: tuple[int, ...]) -> RankPrivacy:
    """Mean with an interval over people: the photographs of one person are not independent of each other."""
    counts = np.bincount(askers, minlength=people)
    found = intervals.mean(privacy, askers)
    with np.errstate(invalid="ignore"):
        by_person = np.bincount(askers, privacy, minlength=people) / counts
    one = found.clusters < 2
    return RankPrivacy(
        value=found.value,
        low=found.value if one else max(1 / total, found.low),
        high=found.value if one else min(1.0, found.high),
        people=total,
        count=len(privacy),
        seeds=seeds,
        by_person=by_person,
    )
