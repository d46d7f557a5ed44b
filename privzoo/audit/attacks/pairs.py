"""Pairs of photographs of one person or of two, in folds of disjoint people, and the error rates of a score over them.

The protocol is that of LFW's second view (Huang et al. 2007): ten folds, attackers learn on nine and are scored on the
tenth. It is stricter in two ways. Both members of every pair are of people with two photographs or more, with every
person equally likely, so that one member alone reveals nothing about the kind of its pair. And there are as many pairs
of two people as a false-accept rate of 1 in 1,000 needs; 300 would not be enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privzoo.errors import DataError
from privzoo.mechanisms.bounds import FALSE_ACCEPTS

FOLDS = 10
FEWEST = 2 * FOLDS  # people with two photographs: a fold needs two to tell apart
TRIES = 50  # rounds in which different pairs are looked for


def tar_name(far: float) -> str:
    """Metric of the true-accept rate at a false-accept rate.

    Example:
        >>> tar_name(1e-3)
        'TAR at FAR 0.001'
    """
    return f"TAR at FAR {far:g}"


TARS = {far: tar_name(far) for far in FALSE_ACCEPTS}
EER, AUC = "EER", "AUC"
RATES = (*TARS.values(), EER, AUC)


@dataclass(frozen=True)
class Crowd:
    """The people of some rows, for drawing pairs: a person and then a photograph, uniformly."""

    rows: np.ndarray  # int (N,), sorted by person
    first: np.ndarray  # int (P,), where each person's rows begin
    count: np.ndarray  # int (P,), how many there are

    @property
    def total(self) -> int:
        """Pairs of one person that there are."""
        return int((self.count * (self.count - 1) // 2).sum())

    def matched(self, number: int, rng: np.random.Generator, *, repeated: bool = False) -> np.ndarray:
        """Pairs of two photographs of one person, int (M, 2).

        Args:
            number: wanted.
            rng: source.
            repeated: a pair may come again; False: all differ, and there are fewer where there are no more.
        """
        found = np.empty((0, 2), np.int64)
        for _ in range(1 if repeated else TRIES):
            person = rng.integers(len(self.first), size=2 * number if not repeated else number)
            one = rng.integers(self.count[person])
            other = (one + 1 + rng.integers(self.count[person] - 1)) % self.count[person]
            found = np.concatenate([found, self.rows[self.first[person, None] + np.stack([one, other], axis=1)]])
            if repeated:
                return found
            _, new = np.unique(np.sort(found, axis=1), axis=0, return_index=True)
            found = found[np.sort(new)]
            if len(found) >= min(number, self.total):
                break
        return found[:number]

    def same(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Photographs paired with themselves, int (M, 2)."""
        person = rng.integers(len(self.first), size=number)
        chosen = self.rows[self.first[person] + rng.integers(self.count[person])]
        return np.stack([chosen, chosen], axis=1)

    def mismatched(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Pairs of photographs of two people, int (M, 2)."""
        one = rng.integers(len(self.first), size=number)
        other = (one + 1 + rng.integers(len(self.first) - 1, size=number)) % len(self.first)
        people = np.stack([one, other], axis=1)
        return self.rows[self.first[people] + rng.integers(self.count[people])]

    def one_each(self, people: int, photographs: bool, rng: np.random.Generator) -> np.ndarray:
        """A pair of each of some people, or a photograph of each with itself, int (people, 2)."""
        person = rng.permutation(len(self.first))[:people]
        one = rng.integers(self.count[person])
        step = 0 if photographs else 1 + rng.integers(self.count[person] - 1)
        places = np.stack([one, (one + step) % self.count[person]], axis=1)
        return self.rows[self.first[person, None] + places]


def crowd(people: np.ndarray, rows: np.ndarray) -> Crowd:
    """The people of rows who have two photographs or more among them.

    Args:
        people: person of every row (N,).
        rows: which of them count, int.
    """
    order = rows[np.argsort(people[rows], kind="stable")]
    _, first, count = np.unique(people[order], return_index=True, return_counts=True)
    return Crowd(order, first[count > 1], count[count > 1])


def folds(people: np.ndarray, number: int = FOLDS) -> np.ndarray:
    """Fold of every row, -1 for people with one photograph; each person is in one, always the same, of equal size.

    Args:
        people: person of every row (N,).
        number: of folds.

    Raises:
        DataError: too few people with two photographs.
    """
    _, codes, counts = np.unique(people, return_inverse=True, return_counts=True)
    able = np.flatnonzero(counts > 1)
    if len(able) < 2 * number:
        raise DataError(
            f"{len(able)} people have two photographs or more; verification in {number} folds of disjoint people needs "
            f"{2 * number}."
        )
    of_person = np.full(len(counts), -1)
    of_person[np.random.default_rng(0).permutation(able)] = np.arange(len(able)) % number
    return of_person[codes]


def roc(genuine: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the curve: false-accept and true-accept rates at each threshold, both growing from 0 to 1.

    Args:
        genuine: scores of pairs of one person, higher for the likelier.
        impostor: of pairs of two.
    """
    scores = np.concatenate([genuine, impostor])
    order = np.argsort(-scores, kind="stable")
    # Equal scores have one threshold; between two thresholds a test may decide at random, which is a straight line.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    accepted = np.cumsum(order < len(genuine))[ends]
    return (
        np.concatenate([[0.0], (ends + 1 - accepted) / len(impostor)]),
        np.concatenate([[0.0], accepted / len(genuine)]),
    )


def rates(genuine: np.ndarray, impostor: np.ndarray) -> dict[str, float]:
    """Error rates of a score: true-accept rates, the equal error rate, and the area under the curve.

    Args:
        genuine, impostor: as for `roc`.
    """
    false, true = roc(genuine, impostor)
    found = {name: float(np.interp(far, false, true)) for far, name in TARS.items()}
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
    return {**found, EER: float(np.interp(0, false - (1 - true), false)), AUC: area}
