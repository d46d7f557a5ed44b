"""What a mechanism allows any attacker, next to what attackers achieved: a figure above its bound is a defect.

The bounds are those of `privzoo.mechanisms.bounds`. They hold for expectations over draws: a figure from draws may
exceed its bound by chance, and counts as a defect only if its whole interval does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from privzoo.evaluation.drawn import Coded
from privzoo.mechanisms.bounds import FALSE_ACCEPTS, Bounds, bounds
from privzoo.mechanisms.codebook import from_manifest
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.randomized_response import KIND, RandomizedResponse

ROUNDING = 1e-5  # figures are kept to six decimals


def described(noise: Noise | Coded | None) -> dict[str, Any] | None:
    """A mechanism as plain data, for a cell's settings; `mechanism` reads it."""
    if noise is None:
        return None
    if isinstance(noise, Coded):
        response = {"kind": KIND, "k": noise.response.k, "epsilon": noise.response.budget}
        return {**response, "permanent": noise.permanent, "book": noise.book.describe()}
    return {"sigma": noise.sigma, "clip": noise.clip}


def mechanism(entry: Mapping[str, Any] | None) -> Noise | Coded | None:
    """The mechanism that `described` described."""
    if entry is None:
        return None
    if entry.get("kind") != KIND:
        return Noise(**entry)
    book = from_manifest(entry["book"], "of the audit's settings")
    return Coded(book, RandomizedResponse(entry["k"], entry["epsilon"]), permanent=entry["permanent"])


def entry(noise: Noise | Coded | None, epsilon: float | None) -> dict[str, Any] | None:
    """A mechanism as figures name it; see `privzoo.audit.runner`."""
    shown = described(noise)
    return shown and {**{key: value for key, value in shown.items() if key != "book"}, "epsilon": epsilon}


def of(noise: Noise | Coded | None, queries: int, dimensions: int) -> Bounds:
    """Bounds of what was attacked.

    Args:
        noise: the mechanism; None: nothing is bounded.
        queries: of one photograph.
        dimensions: numbers in a feature.
    """
    if isinstance(noise, Coded):
        return bounds(noise.response, queries, permanent=noise.permanent)
    return bounds(noise, queries, dimensions=dimensions)


def top1(noise: Noise | Coded | None, queries: int, dimensions: int, classes: int) -> float | None:
    """Highest share of right guesses among equally likely classes; None where nothing is bounded."""
    found = None if noise is None else of(noise, queries, dimensions).top1(classes)
    return None if found is None or found >= 1 else found


def true_accepts(noise: Noise | Coded | None, queries: int, dimensions: int) -> dict[float, float | None]:
    """False-accept rate -> highest true-accept rate; None where nothing is bounded."""
    if noise is None:
        return dict.fromkeys(FALSE_ACCEPTS)
    return {far: tar if tar < 1 else None for far, tar in of(noise, queries, dimensions).true_accepts}


def judged(figure: dict[str, Any], bound: float | None, exact: bool = False) -> dict[str, Any]:
    """A figure with its bound, and whether it is a defect.

    Args:
        figure: with value and interval.
        bound: that the value must not exceed; None: there is none.
        exact: the value is an expectation over all draws, so chance cannot explain an excess.
    """
    if bound is None:
        return {**figure, "bound": None}
    above = figure["value" if exact else "low"] > bound + ROUNDING
    return {**figure, "bound": round(bound, 6), **({"defect": True} if above else {})}


def defects(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each figure above its bound, in words."""
    return [
        f"{f['attack']} {f['metric']} by {f['attacker']} on {f['variant']}"
        + (f" at epsilon {f['noise']['epsilon']:g}, {f['queries']} queries" if f["noise"] else "")
        + f": {f['value']:.2%} where {f['bound']:.2%} is the most that any attacker can reach"
        for f in figures
        if f.get("defect")
    ]
