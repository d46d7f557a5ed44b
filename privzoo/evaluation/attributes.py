"""Figures of networks that tell attributes: mean accuracy and mean balanced accuracy over them, and those of each.

Both means count every attribute the same. Intervals are over faces, or over people where they are known, never over
attributes, whose list is fixed: what one face adds to the error of all attributes together is one number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privzoo.errors import DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.classes import ACCURACY, BALANCED
from privzoo.evaluation.intervals import Estimate

MAJORITY = "the majority of each attribute"  # the answer that needs no face


def accuracy_of(name: str) -> str:
    """Metric of the share of faces of which one attribute is told correctly."""
    return f"accuracy of {name}"


def balanced_of(name: str) -> str:
    """Metric of the mean of two shares: of faces with an attribute, and without it, of which it is told correctly."""
    return f"balanced accuracy of {name}"


def figures(
    answers: np.ndarray,
    truth: np.ndarray,
    names: Sequence[str],
    clusters: Sequence | np.ndarray | None = None,
) -> dict[str, Estimate]:
    """All figures of one network.

    Args:
        answers: 0 or 1 (N, A), or (draws, N, A) where something was drawn several times.
        truth: 0 or 1 (N, A).
        names: of the A attributes.
        clusters: person of each face, where people are known.

    Returns:
        Metric -> estimate: accuracy and balanced accuracy, each the mean over attributes, then those of each attribute.
        An attribute that all faces have, or none, has an accuracy alone.

    Raises:
        DataError: answers that do not belong to these faces.

    Example:
        >>> truth = np.array([[1, 0], [0, 0], [1, 1], [0, 1]])
        >>> found = figures(np.array([[1, 0], [0, 0], [1, 0], [0, 0]]), truth, ["Smiling", "Young"])
        >>> found["accuracy"].value, found["balanced accuracy of Young"].value
        (0.75, 0.5)
    """
    answers, truth = np.asarray(answers), np.asarray(truth)
    answers = answers[None] if answers.ndim == 2 else answers
    if answers.shape[1:] != truth.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise DataError(f"Answers of shape {answers.shape} do not belong to {truth.shape} attributes of faces.")
    hits = answers == truth
    both = [k for k in range(len(names)) if truth[:, k].min() != truth[:, k].max()]
    found = {ACCURACY: intervals.share(hits.mean(2), clusters)}
    if both:
        found[BALANCED] = _mean_balanced(hits[:, :, both], truth[:, both], clusters)
    for k, name in enumerate(names):
        found[accuracy_of(name)] = intervals.share(hits[:, :, k], clusters)
        if k in both:
            found[balanced_of(name)] = intervals.balanced(hits[:, :, k], truth[:, k], clusters)
    return found


def _mean_balanced(hits: np.ndarray, truth: np.ndarray, clusters: Sequence | np.ndarray | None) -> Estimate:
    """Mean over attributes of balanced accuracy, with the interval of its linearisation.

    Args:
        hits: bool (draws, N, A).
        truth: 0 or 1 (N, A), both of each attribute.
        clusters: as for `figures`.
    """
    values, influence = [], np.zeros(hits.shape[:2])
    for value in (0, 1):
        own = truth == value  # (N, A)
        counts = own.sum(0)
        recalls = (hits & own).sum((0, 1)) / counts / len(hits)  # (A,)
        values.append(recalls)
        influence += (np.where(own, hits - recalls, 0) / counts).mean(2) / 2
    return intervals.influenced(float(np.mean(values)), influence, clusters)


def majority(truth: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> Estimate:
    """Mean accuracy of always giving each attribute its more frequent value; its balanced accuracy is one half.

    Args:
        truth: 0 or 1 (N, A).
        clusters: as for `figures`.
    """
    truth = np.asarray(truth)
    return intervals.share((truth == (truth.mean(0) > 0.5)).mean(1), clusters)
