"""What leaks least at each share of the work on the device: by the strongest attack that was measured, and by proof."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from comparing.rows import Row
from privzoo.evaluation import intervals

LEVELS = (0.01, 0.02, 0.05, 0.12, 1.0)  # shares of the network's multiply-adds
DIGITS = 6  # of stored figures: those that are equal so far are a tie


@dataclass(frozen=True)
class Best:
    """What leaks least among the models of one task that fit a share."""

    levels: tuple[float, ...]  # shares with the same answer
    fitting: tuple[Row, ...]
    by_attack: tuple[Row, ...]  # several if they tie, the most accurate first; empty: none of them was attacked
    alike: tuple[Row, ...]  # others that are not shown to leak more, by their intervals
    by_proof: tuple[Row, ...]  # empty: none of them has a bound

    @property
    def answer(self) -> tuple[Any, ...]:
        """What a reader is told."""
        return bool(self.fitting), self.by_attack, self.alike, self.by_proof


def fits(row: Row, level: float) -> bool:
    """Whether a device that does this share of the network's work can run a head.

    At 1 every head fits: what a reduction or an embedding adds to the whole network is no reason to send the input.
    """
    return not row.raw and (level >= 1 or row.share <= level)


def lowest(rows: Sequence[Row], leak: Callable[[Row], float]) -> tuple[Row, ...]:
    """The rows with the lowest leak, the most accurate first; empty for no rows."""
    if not rows:
        return ()
    least = min(round(leak(row), DIGITS) for row in rows)
    tied = [row for row in rows if round(leak(row), DIGITS) == least]
    return tuple(sorted(tied, key=lambda row: -row.accuracy.value if row.accuracy else 0.0))


def best(rows: Sequence[Row], level: float) -> Best:
    """What leaks least at one share.

    Args:
        rows: of one task.
        level: share of the network's multiply-adds, 0..1.
    """
    fitting = tuple(row for row in rows if fits(row, level))
    attacked = [row for row in fitting if row.attack]
    by_attack = lowest(attacked, _leak)
    alike = tuple(row for row in attacked if row not in by_attack and differs(row, by_attack[0]) <= 0)
    by_proof = lowest([row for row in fitting if row.bound < 1], lambda row: row.bound)
    return Best((level,), fitting, by_attack, alike, by_proof)


def frontier(rows: Sequence[Row], levels: Sequence[float] = LEVELS) -> Iterator[Best]:
    """What leaks least at each share, from the smallest up; neighbours with the same answer are one.

    Args:
        rows: of one task.
        levels: shares of the network's multiply-adds, 0..1.
    """
    kept: Best | None = None
    for level in sorted(levels):
        found = best(rows, level)
        if kept and kept.answer == found.answer:
            kept = dataclasses.replace(found, levels=(*kept.levels, level))
            continue
        if kept:
            yield kept
        kept = found
    if kept:
        yield kept


def differs(one: Row, other: Row) -> int:
    """Whether the strongest attack gets more from one model than from another: 1, less: -1, or not shown: 0."""
    assert one.attack and other.attack, "only models that were attacked are compared"
    found = intervals.apart(one.attack.estimate(), other.attack.estimate())
    return (found.low > 0) - (found.high < 0)


def _leak(row: Row) -> float:
    assert row.attack, "only models that were attacked are compared"
    return row.attack.value
