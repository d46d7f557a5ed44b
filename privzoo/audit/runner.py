"""The grid of models x attacks x seeds: each cell is computed once, kept as JSON, and may run anywhere.

There are two kinds of JSON file in `--cache_dir`, each written under a temporary name and then renamed.

`results/<key>.json`, one cell, so that a killed run continues where it stopped. `<key>` is `key(...)` of everything
that determines the cell: head, data, attack, settings, seed:

    {"settings": {what was hashed}, "result": {what the attack returned}, "seconds": 12.3}

`audit/<model>.json`, one model, from which the report is made (`audit/raw_pixels.json`, of speech
`audit/raw_spectrograms.json`: the yardstick; for a quick audit in `audit_quick`):

    {"format": 1,
     "model": "vgg16_gender_simple_conv5_3",          the yardstick's name for the yardstick
     "yardstick": "raw_pixels",                       that the attackers were tried on, or "raw_spectrograms"
     "network": "vgg16_gender", "task": "gender", "cut": "conv5_3", "embedding": "simple",   null for the yardstick
     "date": "2025-11-21", "git": "1a2b3c4d5e6f", "command": "tools/audit.py --model ...", "quick": false,
     "figures": [FIGURE, ...]}

    FIGURE = {
     "attack": "identity",         "identity", "race", "age", "gender", "rank", "reconstruction", "verification",
                                   "linkability of a person", "linkability of a photograph"; of the yardstick also
                                   "recogniser": how many of the identity attack's photographs dlib's identifies
     "metric": "top-1",            identity: "top-1", "top-5"; race, gender: "balanced accuracy"; age: "mean error";
                                   rank: "rank privacy"; verification and linkability: "TAR at FAR 0.01", "TAR at FAR
                                   0.001", "EER", "AUC", "linked of 100" (candidates)
     "variant": "float head",      "float head", "int8 TFLite head", "pixels", "spectrograms"
     "feature": "features",        "features"; the floors: "label" (the predicted class), "logit" (log-probabilities),
                                   "chance" (nothing; its attacker is "chance", for "age" one of "features");
                                   of the yardstick: "pixels", "gradients", "both", and "dlib", its descriptor; of
                                   speech "spectrograms", "statistics", "both"
     "noise": null,                or {"sigma": 0.4, "clip": 1.0, "epsilon": 30.5}; of a code {"kind":
                                   "randomized_response", "k": 2, "epsilon": 3.0, "permanent": false}; null: the feature
                                   as it is
     "queries": 1,                 features of one image that the attacker averages: 1, 10, 100; of a code, answers
     "service": "fresh draws",     pairs only: what the two sides that they come from have in common, or "two secrets",
                                   "one secret" (of permanent answers)
     "attacker": "lda",            a name in attackers.ATTACKERS or verification.VERIFIERS, or "deep", "cnn", "chance";
                                   rank: "equation 4", "other photographs", "per sample" (its file says what they are)
     "best": true,                 the highest of all attackers that differ in nothing else ("age", "EER": the lowest)
     "optimism": 0.003,            of the best one: its selection bias, if all were equally good
     "by_person": ["0.5 1 0"],     of the best identity attack: each person's share of hits, a line for each seed
     "bound": 0.0191,              the most that any attacker can reach; null: not bounded
     "defect": true,               only if the figure exceeds its bound: the program does not keep it
     "value": 0.61, "low": 0.57, "high": 0.65,        95% interval; shares in 0..1, for "age" years
     "count": 816,                 faces or clips that were scored
     "seeds": [1, 2, 3],           of the attacker, and of the noise
     "data": "lfw100-test",        data set that was scored
     "sha256": "...",              of the head: float weights, or the .tflite's flatbuffer; "" for raw inputs
     "recogniser": "dlib",         reconstruction only: who judged, or "home-made"
     "date", "git", "command"      only of a figure kept from an earlier run
     "weak": false}                true: on raw inputs these attackers stay below 80% top-1, so the figure says little
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError, DataError, MissingExtraError, ServerUnavailableError
from privzoo.provenance import write_json

FORMAT = 1
GROUPS = ("people", "pairs", "looks")  # attacks that are run together
ENGINES = ("local", "processes", "ray")


def group(attack: str) -> str:
    """The group in `GROUPS` that a figure's attack belongs to."""
    if attack in ("verification", "recogniser") or attack.startswith("linkability"):
        return "pairs"
    return "looks" if attack == "reconstruction" else "people"


@dataclass(frozen=True)
class Cell:
    """One attack with one seed on one head."""

    work: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]  # of a module: (settings, inputs) -> result
    settings: dict[str, Any]  # plain data that decide the result, the inputs' hashes among them
    inputs: dict[str, Any]  # where the data are: paths, labels

    @property
    def key(self) -> str:
        """Name of the result's file."""
        from privzoo import activations

        work = f"{self.work.__module__}.{self.work.__qualname__}"
        return activations.key(work=work, settings=self.settings, format=FORMAT)

    def path(self, cache: Path) -> Path:
        """File of the result."""
        return cache / "results" / f"{self.key}.json"


def run(cells: Sequence[Cell], cache: Path, engine: str = "local", progress: bool = True) -> list[dict[str, Any]]:
    """Results of cells, in their order; those that were computed before are read.

    Args:
        cells: any number; equal ones are computed once.
        cache: folder of results.
        engine: "local", one after the other in this process; "processes", one on each of this machine's cores, or on
            as many as `LOKY_MAX_CPU_COUNT` says; "ray", on the Ray cluster that `RAY_ADDRESS` names or else on one of
            this machine's cores, whose machines must all see the inputs' paths. Results are the same.
        progress: show a progress bar.

    Raises:
        ConfigError: no such engine.
        MissingExtraError: Ray is not installed.
        DataError: a result is damaged, or a process was killed.
    """
    from tqdm import tqdm

    if engine not in ENGINES:
        raise ConfigError(f"There is no engine {engine!r}; there are {', '.join(ENGINES)}.")
    missing = {cell.key: cell for cell in cells if not cell.path(cache).exists()}
    compute = {"local": _here, "processes": _in_processes, "ray": _on_ray}[engine] if len(missing) > 1 else _here
    with tqdm(total=len(missing), desc="attacks", unit="attack", disable=not progress or not missing) as bar:
        for key, result, seconds in compute(missing):
            content = {"settings": missing[key].settings, "result": result, "seconds": round(seconds, 1)}
            write_json(missing[key].path(cache), content)
            bar.update()
    return [_read(cell.path(cache)) for cell in cells]


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["result"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"The result {path} is damaged; delete it and run the audit again.") from None


def _timed(key: str, cell: Cell) -> tuple[str, dict[str, Any], float]:
    started = time.monotonic()
    result = cell.work(cell.settings, cell.inputs)
    return key, result, time.monotonic() - started


def _here(cells: dict[str, Cell]) -> Iterator[tuple[str, dict[str, Any], float]]:
    for key, cell in cells.items():
        yield _timed(key, cell)


def _in_processes(cells: dict[str, Cell]) -> Iterator[tuple[str, dict[str, Any], float]]:
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    # Joblib replaces processes that have grown or idled, and says so; nothing is lost by it.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    # One attack at a time: they take seconds to minutes. Their inputs are paths and labels, not worth a shared memory.
    pool = Parallel(n_jobs=-1, batch_size=1, max_nbytes=None, return_as="generator_unordered")
    try:
        yield from pool(delayed(_alone)(key, cell) for key, cell in cells.items())
    except BrokenProcessPool:
        raise DataError(
            "A process of the audit was killed, most likely because memory ran out; run it again, which resumes it, "
            "with --engine local or a smaller LOKY_MAX_CPU_COUNT."
        ) from None


def _alone(key: str, cell: Cell) -> tuple[str, dict[str, Any], float]:
    # TensorFlow does not heed the limits that joblib sets for the libraries of linear algebra.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    return _timed(key, cell)


def _on_ray(cells: dict[str, Cell]) -> Iterator[tuple[str, dict[str, Any], float]]:
    try:
        import ray
    except ImportError:
        raise MissingExtraError("The engine ray needs Ray; install it with: pip install 'privzoo[ray]'.") from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, include_dashboard=False)
        except Exception as error:  # Ray raises no class of its own where a slow machine makes it give up
            reason = str(error).splitlines()[0].rstrip(".")
            raise ServerUnavailableError(f"Ray did not start ({reason}); try again, or use --engine local.") from None
    remote = ray.remote(num_cpus=1)(_timed)
    waiting = [remote.remote(key, cell) for key, cell in cells.items()]
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
    except ray.exceptions.RayTaskError as error:
        # What the attack raised, not Ray's account of it: both engines fail alike.
        raise error.cause from None
    finally:
        for task in waiting:
            ray.cancel(task)
