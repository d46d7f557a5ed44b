"""Runs files in fresh processes, in turn, and compares them within the same rounds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.errors import PrivzooError
from privzoo.evaluation.intervals import Estimate, median

SEED = 1  # of the order within a round
FIGURES = ("inference_ms", "load_ms", "first_ms", "peak_mb", "before_mb")
SECONDS_OF_A_RUN = 900
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Candidate:
    """A file to be measured."""

    part: str  # "whole", "published whole", a cut, or a cut with "reduced"
    size: int  # side of the input in pixels
    quantization: str  # "float32", ...
    runtime: str  # "litert" or "onnxruntime"
    path: Path

    @property
    def key(self) -> str:
        """Name in results."""
        return f"{self.part}, {self.size} px, {self.quantization}, {self.runtime}"


@dataclass
class Result:
    """One candidate's figures in all rounds."""

    part: str
    size: int
    quantization: str
    runtime: str
    file_mb: float  # 10^6 bytes
    rounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})

    @property
    def key(self) -> str:
        """The same as the candidate's."""
        return f"{self.part}, {self.size} px, {self.quantization}, {self.runtime}"

    def summary(self, figure: str) -> Estimate:
        """Median over the rounds; for inference, the median of the rounds' medians."""
        return median(self.rounds[figure])


def ratio(one: Result, other: Result, figure: str) -> Estimate:
    """Median of the ratios one / other of a figure, each ratio within one round."""
    return median(np.divide(one.rounds[figure], other.rounds[figure]))


def measure_once(candidate: Candidate, inferences: int) -> dict[str, float]:
    """Measures a candidate in a fresh process.

    Args:
        candidate: the file.
        inferences: number of timed inferences.

    Returns:
        A value for each of `FIGURES`.

    Raises:
        PrivzooError: the process failed; the message has the last line of its output.
    """
    command = [sys.executable, str(WORKER), candidate.runtime, str(candidate.path), str(inferences)]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS_OF_A_RUN,
    )
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise PrivzooError(f"Measuring {candidate.key} failed ({words}); check that its runtime is installed.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {
        "inference_ms": float(np.median(found["inference_ms"])),
        "load_ms": found["load_ms"],
        "first_ms": found["first_ms"],
        "peak_mb": found["peak_bytes"] / 1e6,
        "before_mb": found["before_bytes"] / 1e6,
    }


def run(
    candidates: Sequence[Candidate],
    rounds: int,
    inferences: int,
    say: Callable[[str], None],
    once: Callable[[Candidate, int], Mapping[str, float]] = measure_once,
) -> dict[str, Result]:
    """Measures all candidates once per round, in changing order, so that a disturbance affects all of them.

    Args:
        candidates: with different keys.
        rounds: 1 or more.
        inferences: number of timed inferences in each process.
        say: receives a line for each round.
        once: measures one candidate.

    Returns:
        Key -> result, in the order of the candidates.
    """
    results = {
        c.key: Result(c.part, c.size, c.quantization, c.runtime, c.path.stat().st_size / 1e6) for c in candidates
    }
    order, shuffle = list(candidates), random.Random(SEED)
    for number in range(1, rounds + 1):
        shuffle.shuffle(order)
        for candidate in order:
            for figure, value in once(candidate, inferences).items():
                results[candidate.key].rounds[figure].append(value)
        say(f"round {number} of {rounds} done")
    return results
