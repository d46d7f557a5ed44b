"""Accuracy against privacy over a grid of noise, by embedding and by cut (Osia et al. 2017, Figures 10 and 12b).

Each point of a curve is one standard deviation of the noise on a reduced feature: the tail's accuracy, the rank privacy
of the noisy features, and the identity attack's success on them. Deviations are multiples of the features' own, so that
curves of different models can be compared.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privzoo import provenance
from privzoo.audit.attacks import identity
from privzoo.audit.attacks.identity import SEEDS
from privzoo.audit.attacks.rank import rank_privacy
from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.evaluation import drawn, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.gaussian import Noise

GRID = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # noise's deviation over the features'
ATTACKERS = ("lda", "knn")  # fast ones; the full attack is on the model's own noise


@dataclass(frozen=True)
class Point:
    """One standard deviation of the noise; shares 0..1 with 95% intervals."""

    model: str
    task: str
    embedding: str
    cut: str
    relative: float  # deviation of the noise over the features'
    sigma: float  # in units of the feature
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    rank: float  # rank privacy, equations 2 to 4
    rank_low: float
    rank_high: float
    identity: float  # top-1 of the best attacker
    identity_low: float
    identity_high: float
    attacker: str  # the best one
    faces: int  # for accuracy
    people: int
    seeds: str  # separated by spaces


def deviation(features: np.ndarray) -> float:
    """Root mean square of the features' components around their means."""
    return float(np.sqrt(np.asarray(features, np.float64).var(axis=0).mean()))


def measure_accuracy(
    classify: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    labels: np.ndarray,
    noise: Noise | None,
    seeds: Sequence[int],
    people: Sequence | np.ndarray | None = None,
) -> Estimate:
    """Share of faces whose class the tail gets right, mean over draws of the noise, with the interval of both.

    Args:
        classify: `SplitModel.classify`.
        features: before noise, (N, ...).
        labels: int (N,).
        noise: what is added.
        seeds: of the noise.
        people: person of each face, where people are known.
    """
    return intervals.share(drawn.labels(classify, features, noise, seeds) == labels, people)


def curve(
    model: dict[str, str],
    classify: Callable[[np.ndarray], np.ndarray],
    primary: tuple[np.ndarray, np.ndarray],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    radius: float | None = None,
    grid: Sequence[float] = GRID,
    seeds: Sequence[int] = SEEDS,
    attackers: Sequence[str] = ATTACKERS,
    people: Sequence | np.ndarray | None = None,
) -> list[Point]:
    """Measures one model at each deviation of the noise.

    Args:
        model: its "model" (name), "task", "embedding" and "cut".
        classify: `SplitModel.classify`: features (N, d) -> probabilities (N, classes).
        primary: features before noise (N, d) and classes of the faces that the service classifies.
        train: features before noise and people of the identity attack's training images.
        test: likewise of its scored images.
        radius: to which the model clips features; None: no clipping.
        grid: deviations of the noise over the features'.
        seeds: of noise and attackers.
        attackers: of `privzoo.audit.attacks.attackers.ATTACKERS`.
        people: person of each of the primary faces, where people are known.

    Returns:
        A point for each deviation.

    Raises:
        ConfigError: an empty or impossible grid, or no seed.
        FeatureError: features that are not finite, not reduced to (N, d), or all the same.
        DataError: features without labels; see also `identity.attack`.
    """
    if not grid or not seeds or not all(0 <= factor < math.inf for factor in grid):
        raise ConfigError(f"grid={tuple(grid)}, seeds={tuple(seeds)}: give deviations of 0 or more, and a seed.")
    for features, labels in (primary, train, test):
        if len(features) != len(labels) or not len(features):
            raise DataError(f"{len(features)} features have {len(labels)} labels; give each feature its own.")
        if np.ndim(features) != 2 or not np.isfinite(features).all():
            raise FeatureError(
                f"Features of shape {np.shape(features)} cannot get noise; give finite reduced ones, (N, dimensions)."
            )
    unit = deviation(train[0])
    if unit <= 1e-9 * np.abs(train[0]).max():
        raise FeatureError("All features are the same, so noise cannot be scaled to them; give different faces.")
    # Noise needs a radius: the length of the longest feature clips none.
    longest = max(float(np.linalg.norm(part[0], axis=1).max()) for part in (primary, train, test))
    everyone = np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]])
    points = []
    for factor in grid:
        noise = Noise(factor * unit, radius or longest) if factor else None
        accuracy = measure_accuracy(classify, *primary, noise, seeds, people)
        rank = rank_privacy(*everyone, noise.sigma if noise else 0, radius=radius, seeds=seeds)
        attacked = identity.attack(*train, *test, noise=noise, seeds=seeds, attackers=attackers)
        found = attacked.figure(attacked.best)
        points.append(
            Point(
                **model,
                relative=factor,
                sigma=factor * unit,
                accuracy=accuracy.value,
                accuracy_low=accuracy.low,
                accuracy_high=accuracy.high,
                rank=rank.value,
                rank_low=rank.low,
                rank_high=rank.high,
                identity=found.value,
                identity_low=found.low,
                identity_high=found.high,
                attacker=attacked.best,
                faces=len(primary[1]),
                people=rank.people,
                seeds=" ".join(map(str, seeds)),
            )
        )
    return points


def write_csv(points: Sequence[Point], path: Path) -> None:
    """Writes points as csv, one a row, with a header."""
    provenance.write_csv(Path(path), (dataclasses.asdict(point) for point in points))


def add_csv(points: Sequence[Point], path: Path) -> None:
    """Replaces the points of these models in a table, and leaves those of other models unchanged."""
    new = {point.model for point in points}
    kept = [point for point in read_csv(path) if point.model not in new] if Path(path).exists() else []
    write_csv(sorted([*kept, *points], key=lambda point: (point.model, point.relative)), path)


def read_csv(path: Path) -> list[Point]:
    """Reads what `write_csv` wrote.

    Raises:
        DataError: the file is missing, or is not a table of points.
    """
    kinds = {field.name: {"float": float, "int": int}.get(str(field.type), str) for field in dataclasses.fields(Point)}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return [Point(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a table of trade-offs ({error}); write it again with tools/audit.py.") from None
