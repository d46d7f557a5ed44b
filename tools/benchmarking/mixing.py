"""What DataMix's mixing costs on the device, beside pre: one request of a group of faces, with post."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privzoo.evaluation.intervals import Estimate, median
from privzoo.mechanisms import mixing
from privzoo.mechanisms.mixing import Mixing

LIMIT = 0.05  # of pre's own time: mixing and unmixing of one request
ROUNDS, CALLS = 11, 5
FLOAT32 = "float32"


@dataclass(frozen=True)
class Row:
    """What one request costs with so many blocks in pre."""

    blocks: int
    cut: str  # the last layer of pre
    size: int  # side of the network's input in pixels
    group: int
    quantization: str  # of pre
    pre_ms: Estimate  # of all faces of the group
    mix_ms: Estimate  # drawing the key, and mixing
    unmix_ms: Estimate  # unmixing, and the last layer
    pack_ms: dict[str, Estimate]  # encoding -> of the mixtures
    share: Estimate  # mixing and unmixing, of pre's time; within rounds
    bytes_sent: dict[str, int]  # encoding -> of the mixtures, without the protocol


def measure(
    blocks: int,
    cut: str,
    size: int,
    quantization: str,
    head: Path,
    how: Mixing,
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> Row:
    """Times one request of one group on one thread.

    Args:
        blocks, cut, size, quantization: for the row.
        head: TFLite file of pre.
        how: features are mixed, and the last layer.
        rounds: of which each gives the median of its calls.
        calls: timed in each round, after one that is not.
    """
    from privzoo.edge import runtime

    interpreter = runtime.interpreter(str(head), 1)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rng = np.random.default_rng(0)
    chips = rng.integers(0, 256, (how.group, size, size, 3)).astype(np.float32)
    features = np.empty((how.group, *interpreter.get_output_details()[0]["shape"][1:]), np.float32)
    hidden = rng.normal(size=(how.group, how.hidden)).astype(np.float32)

    def pre() -> None:
        for index in range(how.group):
            interpreter.set_tensor(source, chips[index : index + 1])
            interpreter.invoke()
            features[index] = interpreter.get_tensor(target)[0]

    pre()
    mixtures = how.key(how.group).mix(features)
    ways: dict[str, Callable[[], float]] = {
        "pre": lambda: _timed(pre),
        "mix": lambda: _timed(lambda: how.key(how.group).mix(features)),
        "unmix": lambda: _unmixing(how, features, hidden),
        **{name: functools.partial(_packing, mixtures, name) for name in mixing.ENCODINGS},
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():  # in turn, so that what else the machine does meets all
            way()
            found[name].append(float(np.median([way() for _ in range(calls)])))
    shares = [(m + u) / p for m, u, p in zip(found["mix"], found["unmix"], found["pre"], strict=True)]
    sent = {FLOAT32: mixtures.nbytes, **{e: sum(map(len, mixing.pack(mixtures, e))) for e in mixing.ENCODINGS}}
    return Row(
        blocks,
        cut,
        size,
        how.group,
        quantization,
        median(found["pre"]),
        median(found["mix"]),
        median(found["unmix"]),
        {name: median(found[name]) for name in mixing.ENCODINGS},
        median(shares),
        sent,
    )


def _timed(way: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way()
    return (time.perf_counter() - begin) * 1e3


def _packing(mixtures: np.ndarray, encoding: str) -> float:
    return _timed(lambda: mixing.pack(mixtures, encoding))


def _unmixing(how: Mixing, features: np.ndarray, hidden: np.ndarray) -> float:
    key = how.key(how.group)
    key.mix(features[:, :1, :1])
    return _timed(lambda: how.answers(key.unmix(hidden)))


def lines(rows: Sequence[Row]) -> list[str]:
    """A line for each row, and whether it keeps the limit."""
    from privzoo.evaluation import bars

    return [
        f"{row.blocks} block{'s' if row.blocks > 1 else ''} (to {row.cut}), {row.size} px, {row.group} faces, "
        f"{row.quantization}: pre {row.pre_ms.value:.1f} ms, mix {row.mix_ms.value:.1f}, unmix and post "
        f"{row.unmix_ms.value:.2f}, {row.share.value:.1%} of pre ({row.share.low:.1%} to {row.share.high:.1%}); under "
        f"{LIMIT:.0%}: {bars.judge(row.share, LIMIT)}; packing "
        + ", ".join(f"{name} {one.value:.1f} ms" for name, one in row.pack_ms.items())
        + "; sends "
        + ", ".join(f"{name} {count:,} bytes" for name, count in row.bytes_sent.items())
        for row in rows
    ]
