"""What several requests give away together: one face under many keys, with fresh covers or with the same ones.

A device with one face fills its group with covers from its own pool. The paper assumes that nobody relates requests
(section 4.1) and discusses an attacker who averages mixtures (section 4.3). Linear algebra does better: the mixtures of
one request span its images, and what lies in several spans is an image that several requests share.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.audit.attacks import matching, spans, unmixing
from privzoo.audit.features import Features
from privzoo.audit.mixtures import CHUNK, OWN, RECOVERED, SIZE, learnt
from privzoo.audit.runner import Cell
from privzoo.evaluation import intervals
from privzoo.mechanisms import mixing


@dataclass(frozen=True)
class Linked:
    """How one face is sent several times."""

    name: str  # in the table
    requests: int  # each with a key of its own
    fresh: bool = True  # covers are new in each request; else the same ones in all
    noise: float = 0.0  # as of `mixtures.Setting`
    structured: bool = True  # faces; else images of white noise take their place, as the worst case for statistics


def settings() -> list[Linked]:
    """All rows of the table."""
    return [
        Linked("new covers, twice", 2),
        Linked("new covers, twice; images of white noise", 2, structured=False),
        *(Linked(f"new covers, {_times(n)}, noise of 1 on mixtures", n, noise=1.0) for n in (2, 8, 32)),
        *(Linked(f"same covers, {_times(n)}, noise of 1 on mixtures", n, fresh=False, noise=1.0) for n in (1, 2, 8)),
    ]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def cells(rows: Sequence[Linked], trials: int, sent: Features, own: Features, seed: int) -> list[list[Cell]]:
    """The cells of each row.

    Args:
        rows: of `settings`.
        trials: faces that are sent, for each row.
        sent: pixels of faces.
        own: pixels of the attacker's own.
        seed: of all draws.
    """
    made = []
    for row in rows:
        how = {k: v for k, v in dataclasses.asdict(row).items() if k != "name"}
        keys = {"setting": how, "attack": unmixing.VERSION, "seed": seed, "sent": sent.key, "known": own.key}
        inputs = {"sent": sent.path, "known": own.path}
        made.append(
            [
                Cell(attack, {**keys, "first": first, "count": min(CHUNK, trials - first)}, inputs)
                for first in range(0, trials, CHUNK)
            ]
        )
    return made


def attack(how: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: some faces are sent several times each.

    Returns:
        For each face its correlation with what was recovered, and with the average of all mixtures.
    """
    images, row = np.load(inputs["sent"], mmap_mode="r"), Linked("", **how["setting"])
    found: dict[str, list[float]] = {"recovered": [], "average": []}
    for trial in range(how["first"], how["first"] + how["count"]):
        rng = np.random.default_rng([how["seed"], trial])
        requests, originals = sent_often(row, images, rng)
        known = learnt(inputs["known"], OWN) if row.structured else None
        if row.fresh:
            recovered, _ = spans.shared(requests, known=known)
        else:  # the same span each time: the noise averages out, and the images are to be unmixed all the same
            common = spans.shared(requests, SIZE, known)[0] if len(requests) > 1 else requests[0]
            recovered = unmixing.unmix(common, known, orthogonal=False).images
        if row.noise:
            recovered = matching.denoised(recovered)
        average = np.mean(np.concatenate(requests), axis=0, keepdims=True)
        for name, got in (("recovered", recovered), ("average", average)):
            # Fresh covers leave one image; the same ones are recovered with the face, which is the first.
            truth = originals[:1] if len(got) == 1 else originals
            found[name].append(round(float(matching.correlations(got, truth)[0]), 6))
    return found


def sent_often(row: Linked, images: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """The mixtures of each request, float32 (SIZE, H, W, C), and the images of the first, the face before its covers.

    Args:
        row: the setting.
        images: faces (N, H, W, C).
        rng: of faces, coefficients and noise.
    """
    count = 1 + (SIZE - 1) * (row.requests if row.fresh else 1)
    if row.structured:
        chosen = images[np.sort(rng.permutation(len(images))[:count])].astype(np.float32)
        chosen = chosen[rng.permutation(count)]
    else:
        chosen = rng.normal(128, 50, (count, *images.shape[1:])).astype(np.float32)
    requests = []
    for number in range(row.requests):
        start = 1 + (SIZE - 1) * (number if row.fresh else 0)
        group = np.concatenate([chosen[:1], chosen[start : start + SIZE - 1]])
        coefficients = mixing.draw(SIZE, rng=random.Random(int(rng.integers(2**62))))
        mixtures = mixing.Key(coefficients[None], rng.permutation(SIZE)).mix(group)
        if row.noise:
            sigmas = row.noise * mixtures.std(axis=(1, 2, 3), keepdims=True)
            mixtures = (mixtures + sigmas * rng.normal(size=mixtures.shape)).astype(np.float32)
        requests.append(mixtures)
    return requests, chosen[:SIZE]


def figure(row: Linked, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of figures, with intervals over faces."""
    found: dict[str, Any] = dataclasses.asdict(row)
    for name in ("recovered", "average"):
        values = np.array(sum((result[name] for result in results), []))
        share = intervals.share(values > RECOVERED)
        found |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        found |= {f"{name}_median": float(np.median(values)), "faces": len(values)}
    return found
