"""Accuracy by subgroup, protocol 8: by perceived gender, race and age, each with its count and interval."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from privzoo import markdown
from privzoo.errors import DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.intervals import Estimate

SMALL = 30  # faces; smaller subgroups are not reported
PROPER = ("asian", "indian")  # races whose names are capitalised
AGES = (0, 3, 10, 20, 40, 60)  # first year of each group
AGE_NAMES = ("0-2", "3-9", "10-19", "20-39", "40-59", "60+")
TRAITS = ("gender", "race", "age")
NO_LABELS = {
    "emotion": "FER2013 has no labels of gender, race or age, and no data set with such labels has these seven "
    "emotions: how accuracy differs between subgroups was not measured."
}


@dataclass(frozen=True)
class Subgroup:
    """One subgroup's accuracy."""

    gender: str  # empty: all; likewise below
    race: str
    age: str
    count: int  # faces
    value: float | None  # 0..1; None if the subgroup is too small
    low: float | None
    high: float | None

    @property
    def figure(self) -> Estimate | None:
        """The accuracy with its interval; None if the subgroup is too small."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Estimate(self.value, self.low, self.high, self.count)

    @property
    def name(self) -> str:
        """For example "Asian female, 20-39"."""
        people = f"{race_name(self.race)} {self.gender}".strip()
        return ", ".join(part for part in (people, self.age) if part) or "all"

    @property
    def shown(self) -> str:
        """The figure, formatted for people."""
        if self.value is None:
            return f"too small ({self.count})"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}; {self.count:,} faces)"


def race_name(race: str) -> str:
    """A race of UTKFace as people write it, such as "Asian" or "white"."""
    return race.capitalize() if race in PROPER else race


def age_groups(years: np.ndarray) -> np.ndarray:
    """Index into `AGE_NAMES` of each age in years."""
    return np.searchsorted(AGES, years, side="right") - 1


def figures(
    hits: np.ndarray, labels: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
) -> tuple[Subgroup, ...]:
    """Accuracy of every subgroup by one, two and all three traits.

    Args:
        hits: whether the answer is right, bool (N,) or (draws, N).
        labels: "gender", "race" (indices into `classes`) and "age" (years), each (N,).
        classes: names of genders and races.

    Returns:
        All subgroups with at least one face, those with fewer traits first.

    Raises:
        DataError: a trait is missing.
    """
    hits = np.atleast_2d(hits)
    if missing := [trait for trait in TRAITS if trait not in labels]:
        raise DataError(f"The faces have no label {missing[0]}; subgroups need {', '.join(TRAITS)}.")
    groups = {**labels, "age": age_groups(labels["age"])}
    names = {**classes, "age": AGE_NAMES}
    found = []
    for count in range(1, len(TRAITS) + 1):
        for traits in itertools.combinations(TRAITS, count):
            for values in itertools.product(*(range(len(names[trait])) for trait in traits)):
                own = np.all([groups[t] == v for t, v in zip(traits, values, strict=True)], axis=0)
                if own.any():
                    called = {t: names[t][v] for t, v in zip(traits, values, strict=True)}
                    found.append(_subgroup(hits[:, own], called))
    return tuple(found)


def _subgroup(hits: np.ndarray, called: Mapping[str, str]) -> Subgroup:
    gender, race, age = (called.get(trait, "") for trait in TRAITS)
    if hits.shape[1] < SMALL:
        return Subgroup(gender, race, age, hits.shape[1], None, None, None)
    found = intervals.share(hits)
    ends = (round(x, 6) for x in (found.value, found.low, found.high))
    return Subgroup(gender, race, age, hits.shape[1], *ends)


def by(found: Sequence[Subgroup], *traits: str) -> list[Subgroup]:
    """Subgroups by exactly these traits."""
    return [s for s in found if {trait for trait in TRAITS if getattr(s, trait)} == set(traits)]


def widest_gap(found: Sequence[Subgroup]) -> tuple[Subgroup, Subgroup] | None:
    """The worst and the best of the large enough subgroups by all three traits; None if fewer than two."""
    large = [(s.value, s) for s in by(found, *TRAITS) if s.value is not None]
    if len(large) < 2:
        return None
    return min(large, key=lambda one: one[0])[1], max(large, key=lambda one: one[0])[1]


def sentence(found: Sequence[Subgroup]) -> str:
    """The widest gap in one line; empty if there is none."""
    gap = widest_gap(found)
    if gap is None:
        return ""
    worst, best = gap
    return f"widest gap between subgroups: from {worst.shown} for {worst.name} to {best.shown} for {best.name}"


def table(found: Sequence[Subgroup]) -> str:
    """Markdown: a row for each race and gender and for all, a column for each age and for all ages."""
    known = {(s.gender, s.race, s.age): s for s in found}
    genders = list(dict.fromkeys(s.gender for s in by(found, "gender")))
    races = list(dict.fromkeys(s.race for s in by(found, "race")))
    rows = []
    for race in ("", *races):
        for gender in ("", *genders):
            cells = [known.get((gender, race, age)) for age in ("", *AGE_NAMES)]
            shown = [cell.shown if cell else "" for cell in cells]
            rows.append((f"{race_name(race)} {gender}".strip() or "all", *shown))
    return markdown.table(("subgroup", "all ages", *AGE_NAMES), rows)
