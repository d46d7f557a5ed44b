"""Primary accuracy of models: the whole network, head and tail, and the heads as deployed (protocols 1 and 2)."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.data import Dataset, arrays
from privzoo.errors import ConfigError
from privzoo.evaluation import attributes, classes, detected, drawn, intervals, mixtures, subgroups
from privzoo.evaluation.intervals import Estimate
from privzoo.evaluation.variants import AGREEMENT, AGREEMENT_UNDRAWN, FLOAT, NETWORK, budget_name, deployed
from privzoo.measurement import PART, Measurement
from privzoo.mechanisms.gaussian import DELTA, EPSILONS, Noise, budget_sigma
from privzoo.mechanisms.mixing import ENCODINGS
from privzoo.mixed import MixedModel
from privzoo.model import BATCH, SplitModel
from privzoo.outputs import ATTRIBUTES, decided
from privzoo.provenance import git_revision

ROUNDED_APART = 0.01  # share of rounded values that may be so


def _embedding(model: SplitModel) -> Callable[[np.ndarray], np.ndarray] | None:
    """What the head does after the cut: activations -> features, before noise; None for a head with an own cut."""
    from privzoo.architectures import graph

    if model.card.own_head:
        return None
    layers = graph.layers(model.head)
    end = [layer.name for layer in layers].index(model.config.cut) + 1
    if end == len(layers):
        return np.asarray
    rest = graph.chain(layers[end:], layers[end - 1].output.shape[1:], "activation", "embedding")
    return lambda activations: np.asarray(rest(activations, training=False))


def _answers(model: SplitModel, features: np.ndarray, every: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Predicted classes by variant: with the model's noise, and for some faces with that of the usual budgets."""
    found = {FLOAT: drawn.labels(model.classify, features, model.noise, seeds, model.book, model.output)}
    if isinstance(model.noise, Noise):  # budgets of codes are measured by tools/codes.py
        for epsilon in EPSILONS:
            noise = Noise(budget_sigma(epsilon, DELTA, model.noise.clip), model.noise.clip)
            found[budget_name(epsilon)] = drawn.labels(model.classify, features[::every], noise, seeds)
    return found


def float_answers(
    models: Sequence[SplitModel],
    chips: np.ndarray,
    cache: Path,
    progress: bool,
    every: int = 1,
    seeds: Sequence[int] = drawn.DRAWS,
) -> tuple[np.ndarray, Iterator[tuple[SplitModel, dict[str, np.ndarray]]]]:
    """Predicted classes of the whole network, and of head and tail of each model.

    The first layers are by far the most expensive, and the models of one network, often of several, share them:
    so their outputs are cached, the rest of the network runs once, its activations at the cuts go through the heads'
    last layers, and all this is checked on the first batch. Features are cached too if they are short: noise is drawn
    for all faces at once, from seeds.

    Args:
        models: of one network.
        chips: uint8 (N, S, S, 3), or clips, int16 (N, 16000).
        cache: folder for the first layers' outputs.
        progress: show a progress bar.
        every: noise of other budgets than the model's is drawn for every Nth face only.
        seeds: of the noise: each is one draw for all faces.

    Returns:
        The whole network's classes, int (1, N); and each model with variant -> int (draws, N), of other budgets
        (draws, N / every). Of attributes all have a third axis, (..., A). A DataMix model's draws are of groups and
        keys, its other variants encodings of mixtures, and its network's classes those of single faces, which it is
        not meant for.

    Raises:
        ConfigError: a head does not compute its network's activation.
    """
    from privzoo import activations
    from privzoo.architectures import graph

    if isinstance(models[0], MixedModel):
        return _mixed_answers(models[0], chips, every, seeds)
    images = activations.whole_chips(chips, models[0].card.network.input_size)
    kept, rest = activations.trunk(models[0].network, images, cache)
    names = [layer.name for layer in graph.layers(rest)]
    pieces = {}
    for cut in sorted({model.config.cut for model in models if not model.card.own_head}, key=names.index):
        pieces[cut], rest = graph.split(rest, cut)
    embeddings = [_embedding(model) for model in models]
    whole: list[np.ndarray] = []
    parts: list[list[np.ndarray]] = [[] for _ in models]  # features with noise to come, else classes
    for start in _steps(len(chips), progress, "network, float heads and tails"):
        x = kept.values[start : start + BATCH]
        found = {cut: (x := piece(x, training=False)) for cut, piece in pieces.items()}
        whole.append(decided(rest(x, training=False), models[0].output))
        for model, embedding, part in zip(models, embeddings, parts, strict=True):
            if embedding is None:
                features = np.asarray(model.head(images.batch(start // BATCH), training=False))
            else:
                features = embedding(found[model.config.cut])
                # A value halfway between two levels may be rounded either way by the smallest difference.
                off = ~np.isclose(model.head(images.batch(0)), features, rtol=1e-4, atol=1e-4) if start == 0 else False
                if np.mean(off) > (ROUNDED_APART if model.config.step else 0):
                    raise ConfigError(f"The head of {model.name} does not compute its network's {model.config.cut}.")
            part.append(features if model.noise else decided(model.classify(features), model.output))

    def answers() -> Iterator[tuple[SplitModel, dict[str, np.ndarray]]]:
        for model, part in zip(models, parts, strict=True):
            joined = np.concatenate(part)
            yield model, _answers(model, joined, every, seeds) if model.noise else {FLOAT: joined[None]}

    return np.concatenate(whole)[None], answers()


def _mixed_answers(
    model: MixedModel, chips: np.ndarray, every: int, seeds: Sequence[int]
) -> tuple[np.ndarray, Iterator[tuple[SplitModel, dict[str, np.ndarray]]]]:
    """As `float_answers`, of a DataMix model, whose network has no other."""

    def pre(some: np.ndarray) -> np.ndarray:
        return np.asarray(model.head(some.astype(np.float32), training=False))

    def main(some: np.ndarray) -> np.ndarray:
        return np.asarray(model.tail(some, training=False))

    answers = [model.mixing.answers(main(pre(chips[i : i + BATCH]))) for i in range(0, len(chips), BATCH)]
    alone = decided(np.concatenate(answers), model.output)
    found = {FLOAT: mixtures.labels(pre, main, model.mixing, chips, seeds)}
    for encoding in ENCODINGS:
        name = f"{FLOAT}, mixtures as {encoding}"
        found[name] = mixtures.labels(pre, main, model.mixing, chips[::every], seeds, encoding)
    return alone[None], iter([(model, found)])


def deployed_answers(
    model: SplitModel,
    quantization: str,
    chips: np.ndarray,
    progress: bool,
    heads: Path | None = None,
    seeds: Sequence[int] = drawn.DRAWS,
    cache: Path | None = None,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Predicted classes of an exported head on LiteRT with the tail, int (draws, N); before noise, (1, N); its SHA-256.

    The head's own noise comes from the operating system and cannot be repeated: here it is drawn from seeds. The
    output of a coded model's head is cached: it is the same as that of its base.
    """
    from privzoo.edge.unprotected import UnprotectedHead
    from privzoo.evaluation.deployed import head_features, outputs
    from privzoo.export import released

    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        path = heads and released.find(model, quantization, heads)
        path = path or model.export_head(Path(folder) / "head.tflite", quantization)
        if model.book is not None and cache is not None:
            features, sha256 = head_features(path, chips, cache, progress)
        else:
            head = UnprotectedHead(path, threads=2)
            sha256 = head.manifest["head"]["sha256"]
            if isinstance(model, MixedModel):  # as `MixingClient` sends it unless told otherwise
                main = functools.partial(model.tail, training=False)
                answers = mixtures.labels(head.features, main, model.mixing, chips, seeds, ENCODINGS[0])
                return answers, answers, sha256
            features = outputs(head, chips, progress)
    how = model.book, model.output
    answers = drawn.labels(model.classify, features, model.noise, seeds, *how)
    return answers, drawn.undrawn(model.classify, features, model.noise, *how), sha256


@dataclass(frozen=True)
class _Faces:
    """Faces, or recordings, that accuracy is measured on."""

    name: str
    chips: np.ndarray  # uint8 (N, S, S, 3), or clips, int16 (N, 16000)
    truth: np.ndarray  # int (N,), of attributes (N, A)
    people: np.ndarray | None  # person of each, if known
    found: np.ndarray | None  # bool (N,): where the detector found a face; None: chips were given


def _read(data: Dataset, size: int | None, task: str, progress: bool, detect: bool) -> _Faces:
    samples = [sample for sample in data.samples if task in sample.labels] or data.samples
    if detect:
        # Whole photographs: faces that the detector misses count as wrong.
        if size is None:
            raise ConfigError("The detector finds faces, not speech; leave out --detect.")
        chips, found = detected.chips((sample.image for sample in samples), size)
        known = {task: np.array([sample.labels[task] for sample in samples])}
        if all("identity" in sample.labels for sample in samples):
            known["identity"] = np.array([sample.labels["identity"] for sample in samples])
    else:
        if task not in samples[0].labels:
            arrays(samples, size, task)  # says what is missing
        chips, known = arrays(samples, size, progress=progress)
        found = None
    return _Faces(data.name, chips, known[task], known.get("identity"), found)


def evaluate(
    models: Sequence[SplitModel],
    data: Dataset,
    quantizations: Sequence[str],
    command: Callable[[str], str],
    cache: Path,
    progress: bool = True,
    every: int = 1,
    heads: Path | None = None,
    seeds: Sequence[int] = drawn.DRAWS,
    detect: bool = False,
) -> Iterator[tuple[SplitModel, list[Measurement]]]:
    """Measures the answers of one network's models, one model after the other.

    Args:
        models: of one network.
        data: samples with the network's task among their labels; with people among them, intervals are over people.
        quantizations: of the exported heads to measure, such as "int8".
        command: name of a model -> the command to measure it again, for the card.
        cache: folder for the networks' first layers' outputs.
        progress: show progress bars.
        every: exported heads, and budgets other than the model's, take every Nth face only: they share no work, and
            are slow.
        heads: folder with exported heads to measure, instead of exporting them.
        seeds: of a noisy model's draws; the figure is their mean.
        detect: the samples are whole photographs, in which the detector looks for the face.

    Yields:
        Each model with its measurements, as soon as it has them: accuracy, balanced accuracy, macro F1 and each class's
        recall of the network as released, of the float head with the tail (for models with noise also at epsilon 1, 2,
        4, 8, 16) and of each exported head with the tail; for these also the share of faces on which the label is the
        whole network's; and what one answer for all faces would get.
    """
    faces = _read(data, models[0].card.network.input_size, models[0].card.network.task, progress, detect)
    git = git_revision()  # now: the checkout may move on meanwhile
    reference, answers = float_answers(models, faces.chips, cache, progress, every, seeds)
    for model, found in answers:
        sheet = _Sheet(model, faces, tuple(seeds), command(model.name), git, reference)
        digest = model.manifest()["head"]["weights_sha256"]
        sheet.baselines()
        sheet.add(NETWORK, reference, digest)
        sheet.add(FLOAT, found.pop(FLOAT), digest)
        for budget, predicted in found.items():
            sheet.add(budget, predicted, digest, every)
        for quantization in quantizations:
            predicted, undrawn, sha256 = deployed_answers(
                model, quantization, faces.chips[::every], progress, heads, seeds, cache
            )
            variant = deployed(quantization)
            sheet.add(variant, predicted, sha256, every, AGREEMENT)
            if model.noise:
                sheet.agreement(variant, undrawn, sha256, every, AGREEMENT_UNDRAWN)
        yield model, sheet.results


class _Sheet:
    """Collects one model's measurements."""

    def __init__(
        self,
        model: SplitModel,
        faces: _Faces,
        seeds: tuple[int, ...],
        command: str,
        git: str,
        reference: np.ndarray,
    ):
        self.names, self.faces, self.seeds, self.reference = model.classes, faces, seeds, reference
        self.attributes = model.output == ATTRIBUTES
        self.date, self.git, self.command = datetime.date.today().isoformat(), git, command
        self.results: list[Measurement] = []

    def baselines(self) -> None:
        """The accuracy of one answer for all faces; and how many faces the detector found, where it was asked."""
        truth, people = self.faces.truth, self.faces.people
        if self.attributes:
            best, got = attributes.MAJORITY, attributes.majority(truth, people)
        else:
            best, got = classes.most_frequent(truth, self.names, people)
        self._write(classes.ACCURACY, classes.always(best), got, "", self.faces.name)
        if self.faces.found is not None:
            found = intervals.share(self.faces.found, self.faces.people)
            self._write(detected.FOUND, "detector", found, "", self.faces.name)

    def add(self, variant: str, predicted: np.ndarray, sha256: str, every: int = 1, agreement: str = "") -> None:
        """Adds all figures of some predicted classes, int (draws, N / every), and their agreement under a name."""
        faces, some = self.faces, slice(None, None, every)
        predicted = detected.with_misses(predicted, None if faces.found is None else faces.found[some])
        figures = attributes.figures if self.attributes else classes.figures
        for metric, estimate in figures(predicted, faces.truth[some], self.names, self._people(every)).items():
            self._write(metric, self._of(variant), estimate, sha256, self._where(every), len(predicted))
        if agreement:
            self.agreement(variant, predicted, sha256, every, agreement)

    def agreement(self, variant: str, predicted: np.ndarray, sha256: str, every: int, metric: str) -> None:
        """Adds the share of faces on which predicted classes, int (draws, N / every), are the whole network's.

        Of attributes, the share of all attributes of all faces.
        """
        alike = predicted == self.reference[:, ::every]
        alike = intervals.share(alike.mean(2) if self.attributes else alike, self._people(every))
        self._write(metric, self._of(variant), alike, sha256, self._where(every), len(predicted))

    def _people(self, every: int) -> np.ndarray | None:
        return None if self.faces.people is None else self.faces.people[::every]

    def _of(self, variant: str) -> str:
        return variant + (detected.GIVEN if self.faces.found is None else detected.DETECTED)

    def _where(self, every: int) -> str:
        return self.faces.name if every == 1 else f"{self.faces.name}{PART}{every}"

    def _write(self, metric: str, variant: str, estimate: Estimate, sha256: str, where: str, draws: int = 1) -> None:
        self.results.append(
            Measurement(
                metric,
                variant,
                where,
                value=round(estimate.value, 6),
                low=round(estimate.low, 6),
                high=round(estimate.high, 6),
                count=estimate.count,
                seeds=self.seeds[:draws] if draws > 1 else (),
                sha256=sha256,
                clusters=estimate.clusters,
                method=estimate.method,
                date=self.date,
                git=self.git,
                command=self.command,
            )
        )


def subgroups_of(
    models: Sequence[SplitModel],
    data: Dataset,
    command: Callable[[str], str],
    cache: Path,
    progress: bool = True,
    seeds: Sequence[int] = drawn.DRAWS,
) -> Iterator[tuple[SplitModel, dict[str, Any]]]:
    """Accuracy of the float heads by subgroup, protocol 8.

    Args:
        models: of one network, for gender.
        data: with the labels gender, race and age.
        command, cache, progress, seeds: as for `evaluate`.

    Yields:
        Each model with what `card_files.write_subgroups` takes.
    """
    chips, labels = arrays(data, models[0].input_size, progress=progress)
    git = git_revision()
    _, answers = float_answers(models, chips, cache, progress, len(chips), seeds)
    for model, found in answers:
        predicted = found[FLOAT]
        rows = subgroups.figures(predicted == labels[model.card.network.task], labels, data.classes)
        yield (
            model,
            {
                "variant": FLOAT,
                "data": f"{data.name}-validation",
                "count": len(chips),
                "seeds": list(seeds) if model.noise else [],
                "date": datetime.date.today().isoformat(),
                "git": git,
                "command": command(model.name),
                "sha256": model.manifest()["head"]["weights_sha256"],
                "subgroups": [dataclasses.asdict(row) for row in rows],
            },
        )


def _steps(count: int, progress: bool, what: str) -> Iterable[int]:
    from tqdm import trange

    return trange(0, count, BATCH, desc=what, disable=not progress)
