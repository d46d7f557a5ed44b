"""What an accuracy hides: recall of each class, balanced accuracy, macro F1, and what one answer for all would get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privzoo.errors import DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.intervals import Estimate

ACCURACY, BALANCED, F1 = "accuracy", "balanced accuracy", "macro F1"


def recall_of(name: str) -> str:
    """Metric of the share of a class's faces that are classified correctly."""
    return f"recall of {name}"


def always(name: str) -> str:
    """What is measured, where every face gets one answer."""
    return f"always {name}"


def figures(
    answers: np.ndarray,
    truth: np.ndarray,
    names: Sequence[str],
    clusters: Sequence | np.ndarray | None = None,
) -> dict[str, Estimate]:
    """All figures of one classifier.

    Args:
        answers: predicted class, int (N,), or (draws, N) where noise was drawn several times.
        truth: right class, int (N,), an index into `names`.
        names: of the classes.
        clusters: person of each face, where people are known.

    Returns:
        Metric -> estimate: accuracy, balanced accuracy, macro F1, and the recall of each class that has faces.

    Raises:
        DataError: answers that do not belong to these faces.

    Example:
        >>> found = figures(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["male", "female"])
        >>> found["balanced accuracy"].value
        0.75
    """
    answers = np.atleast_2d(answers)
    truth = np.asarray(truth)
    if answers.shape[1:] != truth.shape:
        raise DataError(f"Answers of shape {answers.shape} do not belong to {len(truth)} faces.")
    hits = answers == truth
    found = {
        ACCURACY: intervals.share(hits, clusters),
        BALANCED: intervals.balanced(hits, truth, clusters),
        F1: macro_f1(answers, truth, clusters),
    }
    for index, name in enumerate(names):
        own = truth == index
        if own.any():
            found[recall_of(name)] = intervals.share(
                hits[:, own], None if clusters is None else np.asarray(clusters)[own]
            )
    return found


def most_frequent(truth: np.ndarray, names: Sequence[str], clusters: np.ndarray | None = None) -> tuple[str, Estimate]:
    """The most frequent class, and the accuracy of always answering it.

    Args:
        truth: right class, int (N,).
        names: of the classes.
        clusters: as for `figures`.
    """
    best = int(np.bincount(truth).argmax())
    return names[best], intervals.share(truth == best, clusters)


def macro_f1(answers: np.ndarray, truth: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), with the interval of its linearisation.

    Args:
        answers: int (draws, N).
        truth: int (N,); classes without a face are left out.
        clusters: as for `figures`.
    """
    kept = np.unique(truth)
    influence, values = np.zeros(answers.shape), []
    for index in kept:
        right, predicted = truth == index, answers == index
        size = predicted + right.astype(np.float64)  # sums to 2 TP + FP + FN
        doubled = 2.0 * (predicted & right)
        value = doubled.sum() / size.sum()
        influence += (doubled - value * size) / (size.sum() / len(answers)) / len(kept)
        values.append(value)
    return intervals.influenced(float(np.mean(values)), influence, clusters)
