"""Primary accuracy of a model, for the network and for head and tail as deployed (measuring protocols 1 and 2)."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from privzoo.card import Measurement
from privzoo.data import Dataset, arrays
from privzoo.model import SplitModel
from privzoo.provenance import git_revision

CONFIDENCE = 0.95


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


def head_hash(model: SplitModel) -> str:
    """Canonical hash of the float head's weights, as in its manifest."""
    from privzoo.export import manifest

    return manifest.build(model.card, model.head, model.tail)["head"]["weights_sha256"]


def evaluate(
    model: SplitModel, data: Dataset, quantizations: tuple[str, ...], command: str, progress: bool = True
) -> list[Measurement]:
    """Measures accuracy of the network, of head and tail, and of each exported head with the tail.

    Args:
        model: the model.
        data: samples with the model's task among their labels.
        quantizations: of the exported heads, run on LiteRT; "int8" and "float32" are what a card needs.
        command: what the user typed, for the card.
        progress: show a progress bar.

    Returns:
        Accuracy of each variant, and for each exported head the share of faces on which its label is the network's.
    """
    from privzoo.edge import Head

    chips, labels = arrays(data, model.input_size, model.card.network.task, progress=progress)
    digest = head_hash(model)
    features = _in_batches(model.features, chips, progress, "head")
    reference = _in_batches(lambda x: np.asarray(model.network(x.astype(np.float32))), chips, progress, "network")
    found: list[Measurement] = []

    def add(metric: str, variant: str, hits: np.ndarray, sha256: str) -> None:
        value, low, high = share(hits)
        found.append(
            Measurement(
                metric=metric,
                variant=variant,
                data=data.name,
                value=round(value, 6),
                low=round(low, 6),
                high=round(high, 6),
                count=len(hits),
                seeds=(),
                date=datetime.date.today().isoformat(),
                git=git_revision(),
                command=command,
                sha256=sha256,
            )
        )

    add("accuracy", "network as released", reference.argmax(1) == labels, digest)
    probabilities = model.classify(features)
    add("accuracy", "float head + tail", probabilities.argmax(1) == labels, digest)
    for quantization in quantizations:
        with tempfile.TemporaryDirectory() as folder:
            path = model.export_head(Path(folder) / "head.tflite", quantization)
            head = Head(path, threads=2)
            deployed = _in_batches(head.features, chips, progress, f"{quantization} head")
            sha256 = head.manifest["head"]["sha256"]
        answers = model.classify(deployed).argmax(1)
        variant = f"{quantization} TFLite head + tail"
        add("accuracy", variant, answers == labels, sha256)
        add("label agreement with the network", variant, answers == reference.argmax(1), sha256)
    return found


def _in_batches(run: Callable[[np.ndarray], np.ndarray], chips: np.ndarray, progress: bool, what: str) -> np.ndarray:
    from tqdm import trange

    size = 64
    return np.concatenate(
        [run(chips[i : i + size]) for i in trange(0, len(chips), size, desc=what, disable=not progress)]
    )
