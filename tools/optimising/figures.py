"""Compares heads: their answers, their cost on the device, and the identification rate."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarking import runs

from optimising.heads import METHODS, POST_TRAINING
from privzoo.audit import features as seen
from privzoo.audit import own
from privzoo.audit.attacks import identity
from privzoo.data import splits
from privzoo.edge.unprotected import UnprotectedHead
from privzoo.errors import ConfigError
from privzoo.evaluation import drawn, intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.export.tflite import agreement

if TYPE_CHECKING:
    from privzoo.data import Dataset
    from privzoo.model import SplitModel

FLOAT = "float32"
ALIKE = 1e-3  # of features from stored activations and straight from the chips
LOSSES = ("accuracy", "labels", "identity")  # lost of the first two; given away more of the third
COSTS = ("inference_ms", "load_ms", "peak_mb")


@dataclass(frozen=True)
class Row:
    """One head's figures."""

    method: str
    what: str
    sha256: str  # of the flatbuffer
    bytes: int  # of the file
    zip_bytes: int  # of the file in a zip archive, as stores deliver it
    accuracy: Estimate  # with the model's noise, mean over seeds
    accuracy_without_noise: Estimate
    agreement: Estimate  # labels that are the float head's, both without noise
    network_agreement: Estimate  # labels, without noise, that are the whole network's
    kept: float  # share of the float features' variance over faces; 1 for equal ones
    mse: float  # of features
    psnr_db: float | None  # of features, peak: their range over the faces; None if nothing differs
    identity: Mapping[str, Mapping[str, Any]]  # averaged queries -> attacker, value, low, high
    costs: Mapping[str, Estimate]  # each of `COSTS`: medians over rounds
    latency_ratio: Estimate  # to post-training int8, within rounds
    lost: Mapping[str, Estimate]  # to post-training int8, on the same faces: each of `LOSSES`
    optimisation: Mapping[str, Any] | None  # how the head was made, from its manifest


@dataclass(frozen=True)
class Plan:
    """How heads are measured."""

    data_dir: str
    cache: Path
    every: int = 1  # accuracy on every Nth face
    seeds: tuple[int, ...] = identity.SEEDS
    attackers: tuple[str, ...] = ("lda", "logistic", "knn")
    rounds: int = 5
    inferences: int = 20


class Bench:
    """One model's faces, and its float head's output for them.

    Args:
        model: whose heads are measured.
        test: with the primary labels.
        people: training and scored faces of those who are attacked.
        plan: what to measure.
    """

    def __init__(self, model: SplitModel, test: Dataset, people: tuple[seen.Faces, seen.Faces], plan: Plan):
        from privzoo.data import arrays

        self.model, self.plan = model, plan
        chips, known = arrays(test, model.input_size)
        labels, whose = known[model.card.network.task], known.get("identity")
        self.chips, self.labels = chips[:: plan.every], labels[:: plan.every]
        self.whose = None if whose is None else whose[:: plan.every]
        self._first: dict[str, np.ndarray] = {}  # what post-training int8 gets right, face by face
        self.features, self.network_labels = self._float(chips)
        self.people = people

    def _float(self, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of the float head and labels of the network; their first layers run on all, and are kept."""
        from privzoo import activations, architectures
        from privzoo.architectures import graph

        model = self.model
        images = activations.whole_chips(chips, model.input_size)
        kept, tail = activations.trunk(model.network, images, self.plan.cache)
        rest = graph.after(model.head, architectures.trunk(model.network.name))
        rows = range(0, len(chips), self.plan.every)
        found, answers = [], []
        for part in (rows[i : i + 64] for i in range(0, len(rows), 64)):
            x = np.asarray(kept.values[part])
            found.append(np.asarray(rest(x, training=False)))
            answers.append(np.asarray(tail(x, training=False)).argmax(1))
        straight = np.asarray(model.head(self.chips[:2].astype(np.float32), training=False))
        # A value between two levels may be rounded to either.
        if not model.config.step and not np.allclose(straight, found[0][:2], rtol=ALIKE, atol=ALIKE):
            raise ConfigError(f"The head of {model.name} does not continue its network's first layers.")
        return np.concatenate(found), np.concatenate(answers)

    def sides(self, method: str, head: UnprotectedHead) -> tuple[np.ndarray, ...]:
        """Features before noise of the faces, and of the people's training and scored faces."""
        if method == FLOAT:
            view = seen.float_view(self.model, self.plan.cache)
            return self.features, *(view.extract(faces).read() for faces in self.people)
        facts = {"sha256": head.manifest["head"]["sha256"], "rounded": bool(head.manifest["feature"].get("rounded"))}
        found = []
        for chips in (self.chips, *(faces.chips for faces in self.people)):
            make = _maker(head, chips)
            found.append(seen.keep({**facts, "chips": chips}, make, self.plan.cache).read())
        return tuple(found)

    def row(self, method: str, path: Path, costs: Mapping[str, Estimate], ratio: Estimate) -> Row:
        """Measures one head.

        Args:
            method: by which it was made.
            path: of its file.
            costs: of `costs`.
            ratio: of its latency to post-training int8's.
        """
        head = UnprotectedHead(path, threads=1)  # the noise is drawn here, the same for all heads
        sent, train, test = self.sides(method, head)
        plain = self.model.classify(sent).argmax(1)
        reference = self.model.classify(self.features).argmax(1)
        mse = float(np.square(sent - self.features, dtype=np.float64).mean())
        peak = float(self.features.max() - self.features.min())
        size, packed = sizes(path)
        right = drawn.labels(self.model.classify, sent, self.model.noise, self.plan.seeds) == self.labels
        named, people = self._identity(train, test)
        own = {"accuracy": right, "labels": plain == reference, "identity": people}
        if method == POST_TRAINING:
            self._first = own
        lost = {name: self._lost(name, own[name]) for name in LOSSES} if self._first else {}
        return Row(
            method=method,
            what=METHODS[method],
            sha256=head.manifest["head"]["sha256"],
            bytes=size,
            zip_bytes=packed,
            accuracy=intervals.share(right, self.whose),
            accuracy_without_noise=intervals.share(plain == self.labels, self.whose),
            agreement=intervals.share(plain == reference, self.whose),
            network_agreement=intervals.share(plain == self.network_labels, self.whose),
            kept=agreement(sent, self.features),
            mse=mse,
            psnr_db=float(10 * np.log10(peak**2 / mse)) if mse > 0 else None,
            identity=named,
            costs=dict(costs),
            latency_ratio=ratio,
            lost=lost,
            optimisation=head.manifest["head"].get("optimisation"),
        )

    def _lost(self, name: str, own: np.ndarray) -> Estimate:
        """How much worse a head is than post-training int8, on the same faces or people."""
        if name == "identity":
            return intervals.difference(own, self._first[name])
        return intervals.difference(self._first[name], own, self.whose)

    def _identity(self, train: np.ndarray, test: np.ndarray) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
        """The best attacker's figures by averaged queries; and of single queries the hits, (seeds, people)."""
        known, scored = self.people
        found, single = {}, np.empty(0)
        for queries in (1, 100) if self.model.noise else (1,):
            result = identity.attack(
                train,
                known.labels["identity"],
                test,
                scored.labels["identity"],
                noise=self.model.gaussian,
                queries=queries,
                seeds=self.plan.seeds,
                attackers=self.plan.attackers,
                train_ids=known.ids,
                test_ids=scored.ids,
            )
            best = result.figure(result.best)
            found[str(queries)] = {"attacker": result.best, **best.ends()}
            if queries == 1:
                hits = next(o.top1 for o in result.outcomes if o.attacker == result.best)
                single = intervals.by_person(hits, result.people)
        return found, single


def _maker(head: UnprotectedHead, chips: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: head.features(chips)


def sizes(path: Path) -> tuple[int, int]:
    """Size of a file in bytes, plain and in a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(path, path.name)
    return path.stat().st_size, len(packed.getvalue())


def costs(
    paths: Mapping[str, Path], size: int, plan: Plan, say: Callable[[str], None]
) -> dict[str, tuple[dict[str, Estimate], Estimate]]:
    """Latency, loading and memory of all heads, one thread, a fresh process for each, in turn.

    Args:
        paths: method -> file; post-training int8, to which the others' latency is compared, is among them.
        size: side of the input in pixels.
        plan: with rounds and inferences.
        say: gets a line for each round.

    Returns:
        Method -> summaries of `COSTS`, and the ratio of its latency to post-training int8's.
    """
    candidates = {
        name: runs.Candidate(name, size, FLOAT if name == FLOAT else "int8", "litert", path)
        for name, path in paths.items()
    }
    results = runs.run(list(candidates.values()), plan.rounds, plan.inferences, say)
    first = results[candidates[POST_TRAINING].key]
    return {
        name: (
            {cost: results[c.key].summary(cost) for cost in COSTS},
            runs.ratio(results[c.key], first, "inference_ms"),
        )
        for name, c in candidates.items()
    }


@dataclass(frozen=True)
class Measured:
    """Heads on the same faces and people."""

    rows: Sequence[Row]  # of all heads
    faces: int
    data: str
    people: str


def measure(
    model: SplitModel,
    test: Dataset,
    validation: Dataset,
    paths: Mapping[str, Path],
    plan: Plan,
    say: Callable[[str], None],
) -> tuple[Measured, Measured]:
    """Measures heads of one model.

    Args:
        model: with the float head and the tail.
        test: faces with the primary labels.
        validation: likewise, on which is decided which head wins (protocol 7).
        paths: method -> its head's file, post-training int8 among them.
        plan: what to measure.
        say: gets a line for each step.

    Returns:
        What was found on the validation faces and on people who are not measured, to decide; and on the test faces and
        the people who are, for what is published.
    """
    found = costs(paths, model.input_size, plan, say)
    data = own.data_of(model.card.network, plan.data_dir)
    first = sorted(paths, key=lambda method: method != POST_TRAINING)  # with which the others are compared
    results = []
    for faces, called, people in (
        (validation, splits.validation_name(validation), data.choosing(model.input_size)),
        (test, test.name, data.people(model.input_size)),
    ):
        bench, rows = Bench(model, faces, people, plan), {}
        for name in first:
            say(f"measuring the answers of {name} on {called}")
            rows[name] = bench.row(name, paths[name], *found[name])
        results.append(Measured([rows[name] for name in paths], len(bench.chips), called, people[1].name))
    return results[0], results[1]


def by_method(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by their method."""
    return {row.method: row for row in rows}
