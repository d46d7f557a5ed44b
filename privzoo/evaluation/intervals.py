"""The one home of uncertainty: estimates with 95% intervals, from hits, errors or differences.

Faces of one person are not independent, so known people are passed as `clusters`: an interval then covers other people,
not only other photographs of the same people. Rows are another source of chance, such as an attacker's seeds or draws
of noise; their variance is added to that of the people. Everything is computed in closed form (linearisation, with
Student's t), so that the same data always give the same interval. Shares get Wilson's interval at the effective number
of faces (Dean and Pagano 2015), which stays within 0 and 1; everything else gets a symmetric one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from privzoo.errors import DataError
from privzoo.markdown import Figure

F = TypeVar("F", bound=Figure)

CONFIDENCE = 0.95
PAIRED = "paired"  # method of a difference on the same faces
RESAMPLES = 2000  # for the bootstrap of a median, with seed 1


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float
    count: int = 0  # number of averaged items, such as faces; 0: not a mean
    clusters: int = 0  # number of independent items, such as people
    method: str = ""  # name of the interval's method

    def scaled(self, factor: float) -> Estimate:
        """The figure in another unit, such as points rather than shares."""
        low, high = sorted((factor * self.low, factor * self.high))
        return dataclasses.replace(self, value=factor * self.value, low=low, high=high)

    def ends(self) -> dict[str, float]:
        """Value and ends of the interval, for files."""
        return {"value": self.value, "low": self.low, "high": self.high}


def exact(value: float) -> Estimate:
    """An exact figure, such as a number of multiply-adds."""
    return Estimate(value, value, value, method="exact")


def share(hits: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Share of hits with Wilson's interval.

    Args:
        hits: 0..1 (N,), or (rows, N) of several seeds or draws.
        clusters: what each of the N belongs to, such as its person, (N,) of any sortable type; None: all are
            independent.

    Raises:
        DataError: no hits, values outside 0..1, or another number of clusters.

    Example:
        >>> found = share(np.repeat([True, False], [90, 10]))
        >>> round(found.value, 2), round(found.low, 3), round(found.high, 3)
        (0.9, 0.825, 0.945)
    """
    table = _table(hits, within=True)
    return _share(table, np.zeros(table.shape[1], int), _codes(clusters, table.shape[1]))


def mean(values: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean of any numbers, such as errors in years, with a symmetric interval.

    Args:
        values: (N,), or (rows, N) of several seeds or draws.
        clusters: as for `share`.

    Raises:
        DataError: as for `share`.
    """
    table = _table(values)
    return _mean(table, np.zeros(table.shape[1], int), _codes(clusters, table.shape[1]))


def difference(first: np.ndarray, second: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean of first minus second for the same faces and rows: what both get right or wrong cancels out.

    Args:
        first, second: (N,), or (rows, N) with the same seed or draw in the same row.
        clusters: as for `share`.

    Raises:
        DataError: as for `share`, or the two do not match.
    """
    a, b = _table(first), _table(second)
    if a.shape != b.shape:
        raise DataError(f"Values of shape {a.shape} and {b.shape} are not pairs; give both for the same faces.")
    return dataclasses.replace(mean(a - b, clusters), method=PAIRED)


def ratio(first: np.ndarray, second: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean of first over mean of second for the same faces and rows, by linearisation: what both share cancels.

    Args:
        first, second: (N,), or (rows, N) with the same seed or draw in the same row; second has a mean above 0.
        clusters: as for `share`.

    Raises:
        DataError: as `difference`, or the second's mean is not above 0.
    """
    a, b = _table(first), _table(second)
    if a.shape != b.shape or not b.mean() > 0:
        raise DataError(
            f"Values of shape {a.shape} over {b.shape} with mean {b.mean():g} have no ratio; give both for the same "
            "faces, and a second mean above 0."
        )
    value = float(a.mean() / b.mean())
    around = mean((a - value * b) / b.mean(), clusters)  # of the error alone: its mean is 0
    return dataclasses.replace(
        around, value=value, low=value + around.low, high=value + around.high, method=f"{around.method}, ratio"
    )


def balanced(values: np.ndarray, classes: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean over classes of the share of hits in each, for balanced accuracy.

    Args:
        values: hits 0..1 (N,) or (rows, N).
        classes: (N,), the right class of each.
        clusters: as for `share`; a person may have faces in several classes.

    Raises:
        DataError: as `share`.
    """
    table = _table(values, within=True)
    return _share(table, _codes(classes, table.shape[1]), _codes(clusters, table.shape[1]))


def clopper_pearson(count: int, of: int, error: float) -> tuple[float, float]:
    """Limits of a share, each of which is wrong with a probability of the error at most.

    Args:
        count: of successes.
        of: trials.
        error: of either limit.
    """
    from scipy.stats import beta

    low = beta.ppf(error, count, of - count + 1) if count else 0.0
    high = beta.ppf(1 - error, count + 1, of - count) if count < of else 1.0
    return float(low), float(high)


def over_people(hits: np.ndarray, people: np.ndarray) -> Estimate:
    """Mean over people of each one's share of hits: every person counts the same, whatever the number of photographs.

    Args:
        hits: 0..1 (N,) or (seeds, N).
        people: int (N,), 0..P-1, each at least once.

    Raises:
        DataError: as `share`.
    """
    found = share(by_person(_table(hits, within=True), people))
    return dataclasses.replace(found, count=len(people))


def by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Mean over each person's faces: (seeds, faces) -> (seeds, people)."""
    sums = np.stack([np.bincount(people, weights=row) for row in values])
    return sums / np.bincount(people)


def influenced(value: float, influence: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """A smooth function of means, such as macro F1, with the interval of its linearisation.

    Args:
        value: 0..1.
        influence: float (N,) or (rows, N): what each face adds to the estimate's error; sums to about 0.
        clusters: as for `share`.
    """
    table = _table(influence)
    codes = _codes(clusters, table.shape[1])
    variance, freedom = _variance(table, np.zeros(table.shape[1], int), codes)
    found = _wilson(value, variance, freedom, table.shape[1], codes)
    return dataclasses.replace(found, method=_named("Wilson", table, codes))


def apart(first: Estimate, second: Estimate) -> Estimate:
    """First minus second with Newcombe's interval, as if the two were independent: too wide rather than too narrow."""
    value = first.value - second.value
    low = math.hypot(first.value - first.low, second.high - second.value)
    high = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - low, value + high, method="Newcombe")


#: Of figures in files from before `clusters` and `method` were stored with them.
UNKNOWN = (
    "Intervals stored without the number of people count all photographs as independent: too narrow if several show "
    "one person."
)


def over(found: Iterable[Estimate]) -> str:
    """What intervals are over, in a sentence: what files say of them, not what commands do today.

    Args:
        found: means, with `count`, and `clusters` where they are known.
    """
    means = [one for one in found if one.count]
    known = sorted({one.clusters for one in means if 0 < one.clusters < one.count})
    words = []
    if known:
        most = f"{known[0]:,} to {known[-1]:,}" if len(known) > 1 else f"{known[0]:,}"
        words.append(f"Intervals are over people ({most}) where the data set says who they are.")
    if any(not one.clusters for one in means):
        words.append(UNKNOWN)
    return " ".join(words)


def highest(found: Iterable[F | None]) -> F | None:
    """The figure with the highest value, as the strongest attack on any form of a head; None if there is none."""
    return max((one for one in found if one is not None), key=lambda one: one.value, default=None)


def median(values: Sequence[float] | np.ndarray) -> Estimate:
    """Median of a few rounds with the 95% interval of the percentile bootstrap.

    Args:
        values: at least one.
    """
    array = np.asarray(values, np.float64)
    drawn = np.random.default_rng(1).choice(array, (RESAMPLES, len(array)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Estimate(float(np.median(array)), float(low), float(high), len(array), len(array), "bootstrap")


def best_of(tables: Sequence[np.ndarray], people: np.ndarray, draws: int = 1000) -> float:
    """Selection bias of the best of several attackers, which is picked on the data it is scored on, if all were equal.

    Args:
        tables: for each attacker hits (seeds, faces).
        people: int (faces,), 0..P-1, resampled with replacement; the same people for all attackers.
        draws: number of bootstrap draws, with seed 0.

    Returns:
        Expected highest of the attackers' means over people, less their common mean; 0 for one attacker.
    """
    rows = np.stack([by_person(_table(table), people).mean(axis=0) for table in tables])
    rows = rows - rows.mean(axis=1, keepdims=True)  # equally good now, with the differences from person to person left
    weights = np.random.default_rng(0).multinomial(rows.shape[1], np.full(rows.shape[1], 1 / rows.shape[1]), draws)
    means = rows @ weights.T / rows.shape[1]
    return float((means.max(axis=0) - means.mean(axis=0)).mean())


def _table(values: np.ndarray, within: bool = False) -> np.ndarray:
    """Values as float64 (rows, N)."""
    table = np.atleast_2d(np.asarray(values, np.float64))
    if table.ndim != 2 or not table.size:
        raise DataError(f"Values of shape {np.shape(values)} have no mean; give one for each face, at least one.")
    if not np.isfinite(table).all() or (within and (table.min() < 0 or table.max() > 1)):
        raise DataError(f"Values from {table.min()} to {table.max()} are not {'shares' if within else 'numbers'}.")
    return table


def _codes(labels: Sequence | np.ndarray | None, count: int) -> np.ndarray:
    """Labels as numbers 0..K-1; without labels each item gets its own."""
    if labels is None:
        return np.arange(count)
    if len(labels) != count:
        raise DataError(f"There are {count} values and {len(labels)} labels; give each value its own.")
    return np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)


def _centres(table: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Mean of each class over all rows, (C,)."""
    return np.bincount(classes, weights=table.mean(axis=0)) / np.bincount(classes)


def _influence(table: np.ndarray, classes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """What each value adds to the error of the mean of class means, (rows, N)."""
    return (table - centres[classes]) / np.bincount(classes)[classes] / len(centres)


def _variance(influence: np.ndarray, classes: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Variance of an estimate over clusters and rows, and its degrees of freedom (Satterthwaite).

    With few clusters in a class the residuals are too small by their own share in the mean: each class's are scaled up.
    """
    own = influence.mean(axis=0)
    count = int(classes.max()) + 1
    pairs = np.unique(np.stack([classes, clusters]), axis=1)
    members = np.bincount(pairs[0], minlength=count)  # clusters with members in each class
    scale = np.sqrt(members / np.maximum(members - 1, 1))
    sums = np.bincount(clusters, weights=own * scale[classes])
    variance = float(np.square(sums).sum())
    # Clusters never make an interval narrower: that they seem to is luck.
    variance = max(variance, float(np.square(own * scale[classes]).sum()))
    shares = [np.square(np.bincount(clusters, weights=own * (classes == c))).sum() for c in range(count)]
    parts = [(float(part), max(int(m) - 1, 1)) for part, m in zip(shares, members, strict=True)]
    total = sum(part for part, _ in parts)
    parts = [(variance * part / total if total else 0.0, freedom) for part, freedom in parts]
    rows = len(influence)
    if rows > 1:
        luck = float(influence.sum(axis=1).var(ddof=1)) / rows
        variance += luck
        parts.append((luck, rows - 1))
    spread = sum(part**2 / freedom for part, freedom in parts)
    return variance, variance**2 / spread if spread else float(max(members.sum() - count, 1))


def _quantile(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def _mean(table: np.ndarray, classes: np.ndarray, clusters: np.ndarray) -> Estimate:
    centres = _centres(table, classes)
    value = float(centres.mean())
    variance, freedom = _variance(_influence(table, classes, centres), classes, clusters)
    independent = int(clusters.max()) + 1
    if independent < 2:
        return Estimate(value, -math.inf, math.inf, table.shape[1], independent, "one cluster says nothing")
    half = _quantile(freedom) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, table.shape[1], independent, _named("t", table, clusters))


def _share(table: np.ndarray, classes: np.ndarray, clusters: np.ndarray) -> Estimate:
    centres = _centres(table, classes)
    variance, freedom = _variance(_influence(table, classes, centres), classes, clusters)
    found = _wilson(float(centres.mean()), variance, freedom, table.shape[1], clusters)
    return dataclasses.replace(found, method=_named("Wilson", table, clusters))


def _wilson(value: float, variance: float, freedom: float, count: int, clusters: np.ndarray) -> Estimate:
    """Wilson's interval at the number of independent faces that would give this variance."""
    from scipy.stats import norm

    independent = int(clusters.max()) + 1
    value = min(max(value, 0.0), 1.0)
    if independent < 2:
        return Estimate(value, 0.0, 1.0, count, independent, "one cluster says nothing")
    spread = value * (1 - value)
    plain = independent == count and math.isclose(variance * (count - 1), spread, rel_tol=1e-9)
    # Where all are hits nothing varies: then there are as many independent faces as clusters.
    effective = count if plain else (spread / variance if min(variance, spread) > 0 else independent)
    z = float(norm.ppf((1 + CONFIDENCE) / 2)) if plain else _quantile(freedom)
    middle = value + z**2 / (2 * effective)
    half = z * math.sqrt(max(spread, 0) / effective + z**2 / (4 * effective**2))
    scale = 1 + z**2 / effective
    low, high = (middle - half) / scale, (middle + half) / scale
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 1.0), value), count, independent)


def _named(base: str, table: np.ndarray, clusters: np.ndarray) -> str:
    over = [] if int(clusters.max()) + 1 == table.shape[1] else ["clusters"]
    over += ["rows"] if len(table) > 1 else []
    return f"{base} over {' and '.join(over)}" if over else base
