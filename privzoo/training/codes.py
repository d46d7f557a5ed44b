"""Fits the codebook of a coded model on training features: which regions of the reduced space share a symbol.

Two classes: logistic regression gives each face a score; its quantiles cut the scores into `LEVELS` fine levels, and
the best k - 1 cuts are found exactly by dynamic programming. More classes: the regions of multinomial logistic
regression, merged two at a time while more than two symbols are left, each time the pair whose merging loses least.

The criterion: the accuracy of the best guess from the received symbol at the stated budget, with ties broken by its
mutual information with the class. Both are sums over symbols s of what depends on P(class, s) alone, for the chance of
(class, received) is (p - q) P(class, s) + q P(class): that is why cutting sorted levels one by one is exact. (Sorting,
partitioning and randomizing is the idea of arXiv 2606.07443; the programme here is our own.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.errors import ConfigError
from privzoo.mechanisms.codebook import Codebook, levels
from privzoo.mechanisms.randomized_response import check_budget

LEVELS = 64  # fine levels of a score, equally many faces in each
SYMBOLS = (2, 3, 4, 6, 8, 12, 16)  # numbers of symbols to try
SMOOTHING = 0.5  # pseudo-count of each class in each symbol, so that no posterior is certain
_TIE = 1e-9  # weight of a bit of information relative to accuracy


@dataclass(frozen=True)
class Fitted:
    """A codebook and what the tail needs to know about it."""

    book: Codebook
    joint: np.ndarray  # float64 (classes, k), sums to 1: probability of a class and the true symbol, on training data
    facts: dict[str, Any]  # for the record


def gain(joint: np.ndarray, prior: np.ndarray, epsilon: float, k: int) -> np.ndarray:
    """The value of symbols at a budget (module docstring).

    Args:
        joint: (..., classes): joint probability of each class and a symbol.
        prior: (classes,): probability of each class.
        epsilon: budget.
        k: total number of symbols.

    Returns:
        (...): the symbol's part of the accuracy, and a billionth of its part of the information in bits.
    """
    other = 1 / (math.exp(epsilon) + k - 1)
    received = (math.exp(epsilon) - 1) * other * joint + other * prior
    chance = received.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(received > 0, received * np.log2(received / (chance * prior)), 0.0).sum(-1)
    return received.max(-1) + _TIE * bits


def partition(fine: np.ndarray, epsilon: float, k: int) -> tuple[list[int], float]:
    """Best cuts of sorted levels into k symbols, exactly.

    Args:
        fine: (levels, classes): probability of each class in each level, in the order of the score.
        epsilon: budget.
        k: symbols, at most as many as levels.

    Returns:
        The first level of each symbol except the first, and the sum of `gain`.
    """
    count = len(fine)
    if not 2 <= k <= count:
        raise ConfigError(f"{count} levels cannot become {k} symbols; give 2 or more symbols, and no more than levels.")
    total = np.concatenate([np.zeros((1, fine.shape[1])), fine.cumsum(0)])
    # worth[a, b]: of one symbol that holds levels a..b-1.
    worth = gain(total[None, :] - total[:, None], total[-1], epsilon, k)
    worth[np.tril_indices(count + 1)] = -np.inf
    best, back = worth[0], []
    for _ in range(k - 1):
        options = best[:, None] + worth
        back.append(options.argmax(0))
        best = options.max(0)
    cuts, end = [], count
    for step in reversed(back):
        end = int(step[end])
        cuts.append(end)
    return cuts[::-1], float(best[count])


def merged(fine: np.ndarray, epsilon: float, k: int | None = None) -> tuple[np.ndarray, float]:
    """Symbols of regions, by merging two at a time.

    Args:
        fine: (regions, classes): probability of each class in each region.
        epsilon: budget.
        k: symbols; None: the best of all numbers of symbols.

    Returns:
        int (regions,), and the sum of `gain`.

    Raises:
        ConfigError: fewer regions than symbols.
    """
    if k is not None and not 2 <= k <= len(fine):
        raise ConfigError(f"The regions of {len(fine)} classes cannot become {k} symbols; give 2 to {len(fine)}.")
    prior = fine.sum(0)
    symbols = np.arange(len(fine))

    def worth(candidate: np.ndarray) -> float:
        names = np.unique(candidate)
        joint = np.stack([fine[candidate == name].sum(0) for name in names])
        return float(gain(joint, prior, epsilon, len(names)).sum())

    tried = [symbols]
    while len(names := np.unique(symbols)) > (k or 2):
        options = [np.where(symbols == b, a, symbols) for i, a in enumerate(names) for b in names[i + 1 :]]
        values = [worth(option) for option in options]
        symbols = options[int(np.argmax(values))]
        tried.append(symbols)
    found = max(tried, key=worth) if k is None else symbols
    return np.unique(found, return_inverse=True)[1], worth(found)


def fit(features: np.ndarray, labels: np.ndarray, epsilon: float, symbols: int | None = None) -> Fitted:
    """Fits a codebook.

    Args:
        features: reduced, float (N, d), of training data.
        labels: primary class, int (N,), each of 0..classes - 1.
        epsilon: budget that the codebook is optimised for; it may be used with any.
        symbols: how many; None: the best of `SYMBOLS`, or for more than two classes of all that merging gives.

    Raises:
        ConfigError: an invalid budget, too few faces, or more symbols than there can be.
    """
    from sklearn.linear_model import LogisticRegression

    check_budget(epsilon)
    classes = len(np.unique(labels))
    if len(labels) < LEVELS or classes < 2 or labels.max() != classes - 1:
        raise ConfigError(f"{len(labels)} samples of {classes} classes cannot fit a codebook; give {LEVELS} or more.")
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.where(deviation > 0, deviation, 1)
    regression = LogisticRegression(max_iter=1000).fit((features - mean) / deviation, labels)
    kernel = regression.coef_.T / deviation[:, None]
    bias = regression.intercept_ - mean @ kernel
    if classes == 2:
        book = _levels(features, labels, kernel[:, 0], float(bias[0]), epsilon, symbols)
    else:
        regions = (features @ kernel + bias).argmax(1)
        fine = np.array([np.bincount(labels[regions == region], minlength=classes) for region in range(classes)])
        chosen, _ = merged(fine / len(labels), epsilon, symbols)
        book = Codebook(
            tuple(tuple(float(value) for value in row) for row in kernel),
            tuple(float(value) for value in bias),
            tuple(int(symbol) for symbol in chosen),
        )
    book = rounded(book)
    joint = confusion(labels, book.encode(features), classes, book.k) + SMOOTHING
    facts = {"epsilon": epsilon, "symbols": book.k, "faces": len(labels), "book": book.name}
    return Fitted(book, joint / joint.sum(), facts)


def rounded(book: Codebook) -> Codebook:
    """The book with weights rounded to float32, as weights files store them."""
    kernel = tuple(tuple(float(np.float32(value)) for value in row) for row in book.kernel)
    return Codebook(kernel, tuple(float(np.float32(value)) for value in book.bias), book.symbols)


def expected_accuracy(fitted: Fitted, features: np.ndarray, labels: np.ndarray, epsilon: float) -> float:
    """Accuracy on faces that the code was not fitted on: the mean over all draws, in closed form.

    Args:
        fitted: code, whose table determines the tail's answer to a symbol.
        features: reduced, float (N, d).
        labels: primary class, int (N,).
        epsilon: budget.
    """
    k, classes = fitted.book.k, len(fitted.joint)
    other = 1 / (math.exp(epsilon) + k - 1)
    received = other + (math.exp(epsilon) - 1) * other * np.eye(k)  # true symbol (row), received one (column)
    predicted = (fitted.joint @ received).argmax(0)
    seen = confusion(labels, fitted.book.encode(features), classes, k) / len(labels)
    return float((seen @ received)[predicted, np.arange(k)].sum())


def choose(train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray], epsilon: float) -> Fitted:
    """Fits codes of several numbers of symbols, and takes the most accurate one on held-out faces.

    On the training faces, which the head has seen, scores are more confident, and more symbols look better.

    Args:
        train: reduced features and classes that the codes are fitted on.
        held_out: those that decide; of equals, the fewest symbols win.
        epsilon: budget.
    """
    sizes = SYMBOLS if len(np.unique(train[1])) == 2 else (None,)
    tried = [fit(*train, epsilon, size) for size in sizes]
    found = [round(expected_accuracy(one, *held_out, epsilon), 6) for one in tried]
    best = tried[int(np.argmax(found))]
    accuracy = {str(one.book.k): value for one, value in zip(tried, found, strict=True)}
    facts = {**best.facts, "held_out_accuracy_by_symbols": accuracy, "held_out_faces": len(held_out[1])}
    return Fitted(best.book, best.joint, facts)


def of_book(
    book: Codebook, train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray], epsilon: float
) -> Fitted:
    """Counts classes by the symbols of a given codebook.

    Args:
        book: codebook, as of the network's own classes.
        train: features and classes that are counted.
        held_out: features and classes on which the recorded accuracy is measured.
        epsilon: budget at which it is measured.
    """
    features, labels = train
    classes = int(max(labels.max(), held_out[1].max())) + 1
    joint = confusion(labels, book.encode(features), classes, book.k) + SMOOTHING
    found = Fitted(book, joint / joint.sum(), {})
    facts = {"epsilon": epsilon, "symbols": book.k, "faces": len(labels), "book": book.name}
    accuracy = {str(book.k): round(expected_accuracy(found, *held_out, epsilon), 6)}
    facts |= {"held_out_accuracy_by_symbols": accuracy, "held_out_faces": len(held_out[1])}
    return Fitted(book, found.joint, facts)


def confusion(labels: np.ndarray, found: np.ndarray, classes: int, findings: int) -> np.ndarray:
    """Counts of each true class (row) and predicted class (column), float64 (classes, findings)."""
    table = np.zeros((classes, findings))
    np.add.at(table, (labels, found), 1)
    return table


def _levels(
    features: np.ndarray,
    labels: np.ndarray,
    direction: np.ndarray,
    offset: float,
    epsilon: float,
    symbols: int | None,
) -> Codebook:
    scores = features @ direction + offset
    cuts = np.unique(np.quantile(scores, np.arange(1, LEVELS) / LEVELS))
    fine = confusion(labels, np.searchsorted(cuts, scores, side="right"), 2, len(cuts) + 1).T / len(labels)
    sizes = [symbols] if symbols else [k for k in SYMBOLS if k <= len(fine)]
    tried = [partition(fine, epsilon, k) for k in sizes]
    chosen = max(tried, key=lambda one: one[1])[0]
    return levels(direction, offset, cuts[np.array(chosen) - 1])
