"""Primary accuracy of models: the whole network, head and tail, and the heads as deployed (protocols 1 and 2)."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from privzoo.card import Measurement
from privzoo.config import FULL
from privzoo.data import Dataset, arrays
from privzoo.errors import ConfigError
from privzoo.mechanisms.gaussian import DELTA, EPSILONS, Noise, budget_sigma, protect
from privzoo.model import BATCH, SplitModel
from privzoo.provenance import git_revision

CONFIDENCE = 0.95
ROUNDED_APART = 0.01  # share of rounded values that may be so
FLOAT = "float head + tail"


def share(hits: np.ndarray) -> tuple[float, float, float]:
    """Share of true values with its 95 % Wilson interval.

    Args:
        hits: bool (N,).

    Returns:
        Share, lower end, upper end, each 0..1.
    """
    from scipy.stats import binomtest

    test = binomtest(int(hits.sum()), len(hits))
    interval = test.proportion_ci(CONFIDENCE, method="wilson")
    return test.statistic, interval.low, interval.high


def _embedding(model: SplitModel) -> Callable[[np.ndarray], np.ndarray] | None:
    """What the head does after the cut: activations -> features, before noise; None for a head with an own cut."""
    from privzoo.architectures import graph

    if model.card.head != FULL:
        return None
    layers = graph.layers(model.head)
    end = [layer.name for layer in layers].index(model.config.cut) + 1
    if end == len(layers):
        return np.asarray
    rest = graph.chain(layers[end:], layers[end - 1].output.shape[1:], "activation", "embedding")
    return lambda activations: np.asarray(rest(activations, training=False))


def _answers(model: SplitModel, features: np.ndarray, some: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities by variant: with the model's noise, where it has some, and of some with that of usual budgets."""
    if model.noise is None:
        return {FLOAT: model.classify(features)}
    answers = {FLOAT: model.classify(protect(features, model.noise))}
    for epsilon in EPSILONS:
        noise = Noise(budget_sigma(epsilon, DELTA, model.noise.clip), model.noise.clip)
        answers[f"{FLOAT}, epsilon {epsilon}, delta {DELTA:g}"] = model.classify(protect(features[some], noise))
    return answers


def float_probabilities(
    models: Sequence[SplitModel], chips: np.ndarray, cache: Path, progress: bool, every: int = 1
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Probabilities of the whole network, and of head and tail of each model.

    The first layers are by far the dearest, and the models of one network, often also of several, share them: so what
    they give is kept, the rest of the network runs once, its activations at the cuts go on through the heads' last
    layers, and all this is checked on the first batch.

    Args:
        models: of one network.
        chips: uint8 (N, S, S, 3).
        cache: folder for what the first layers give.
        progress: show a progress bar.
        every: noise of other budgets than the model's is drawn for every so manieth face only.

    Returns:
        float32 (N, classes) of the network, and for each model variant -> such an array, with noise where it has some;
        of other budgets (N / every, classes).

    Raises:
        ConfigError: a head does not compute its network's activation.
    """
    from privzoo import activations
    from privzoo.architectures import graph

    front, rest = activations.front(models[0].network)
    images = activations.whole_chips(chips, models[0].input_size)
    kept = activations.compute(front, images, cache, np.float32)
    names = [layer.name for layer in graph.layers(rest)]
    pieces = {}
    for cut in sorted({model.config.cut for model in models}, key=names.index):
        pieces[cut], rest = graph.split(rest, cut)
    embeddings = [_embedding(model) for model in models]
    whole: list[np.ndarray] = []
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in models]
    for start in _steps(len(chips), progress, "network, float heads and tails"):
        x = kept.values[start : start + BATCH]
        found = {cut: (x := piece(x, training=False)) for cut, piece in pieces.items()}
        whole.append(np.asarray(rest(x, training=False)))
        for model, embedding, part in zip(models, embeddings, parts, strict=True):
            if embedding is None:
                head = np.asarray(model.head(images.batch(start // BATCH), training=False))
                part.append(_answers(model, head, np.arange(-start % every, len(head), every)))
                continue
            features = embedding(found[model.config.cut])
            # A value between two levels may be rounded to either, by the smallest difference.
            off = ~np.isclose(model.head(images.batch(0)), features, rtol=1e-4, atol=1e-4) if start == 0 else False
            if np.mean(off) > (ROUNDED_APART if model.config.step else 0):
                raise ConfigError(f"The head of {model.name} does not compute its network's {model.config.cut}.")
            part.append(_answers(model, features, np.arange(-start % every, len(features), every)))
    joined = [{name: np.concatenate([piece[name] for piece in part]) for name in part[0]} for part in parts]
    return np.concatenate(whole), joined


def deployed_probabilities(
    model: SplitModel, quantization: str, chips: np.ndarray, progress: bool, heads: Path | None = None
) -> tuple[np.ndarray, str]:
    """Probabilities of an exported head, run on LiteRT, with the tail; and the SHA-256 of the head's flatbuffer."""
    from privzoo.edge import Head
    from privzoo.export import released

    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        path = heads and released.find(model, quantization, heads)
        path = path or model.export_head(Path(folder) / "head.tflite", quantization)
        head = Head(path, threads=2)
        answers = [
            model.classify(head.features(chips[start : start + BATCH]))
            for start in _steps(len(chips), progress, f"{quantization} head of {model.name}")
        ]
        return np.concatenate(answers), head.manifest["head"]["sha256"]


def evaluate(
    models: Sequence[SplitModel],
    data: Dataset,
    quantizations: Sequence[str],
    command: Callable[[str], str],
    cache: Path,
    progress: bool = True,
    every: int = 1,
    heads: Path | None = None,
) -> Iterator[tuple[SplitModel, list[Measurement]]]:
    """Measures what the models of one network tell the service, one model after the other.

    Args:
        models: of one network.
        data: samples with the network's task among their labels.
        quantizations: of the exported heads to measure, as "int8".
        command: name of a model -> what the user types to measure it again, for the card.
        cache: folder for what the networks' first layers give.
        progress: show progress bars.
        every: exported heads, and budgets other than the model's, take every so manieth face only: they share no
            work, and take long.
        heads: folder with exported heads, to measure rather than make some.

    Yields:
        Each model with its measurements, as soon as it has them: accuracy of the network as released, of the float
        head with the tail (for models with noise also at epsilon 1, 2, 4, 8, 16) and of each exported head with the
        tail; for these also the share of faces on which the
        label is the whole network's.
    """
    size, task = models[0].input_size, models[0].card.network.task
    chips, labels = arrays(data, size, task, progress=progress)
    network, split = float_probabilities(models, chips, cache, progress, every)
    truth, reference = labels, network.argmax(1)
    git = git_revision()  # now: the checkout may move on meanwhile
    for model, answers in zip(models, split, strict=True):
        digest = model.manifest()["head"]["weights_sha256"]

        def measure(
            metric: str, variant: str, hits: np.ndarray, sha256: str, faces: str = data.name, name: str = model.name
        ) -> Measurement:
            figures = [round(float(v), 6) for v in share(hits)]
            today = datetime.date.today().isoformat()
            return Measurement(metric, variant, faces, *figures, len(hits), (), today, git, command(name), sha256)

        results = [
            measure("accuracy", "network as released", reference == truth, digest),
            measure("accuracy", FLOAT, answers.pop(FLOAT).argmax(1) == truth, digest),
        ]
        part = data.name if every == 1 else f"{data.name}, one face in {every}"
        for budget, probabilities in answers.items():
            results.append(measure("accuracy", budget, probabilities.argmax(1) == truth[::every], digest, part))
        for quantization in quantizations:
            probabilities, sha256 = deployed_probabilities(model, quantization, chips[::every], progress, heads)
            variant, found = f"{quantization} TFLite head + tail", probabilities.argmax(1)
            agreement = "label agreement with the network"
            results += [
                measure("accuracy", variant, found == truth[::every], sha256, part),
                measure(agreement, variant, found == reference[::every], sha256, part),
            ]
        yield model, results


def _steps(count: int, progress: bool, what: str):
    from tqdm import trange

    return trange(0, count, BATCH, desc=what, disable=not progress)
