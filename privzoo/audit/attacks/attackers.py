"""Attackers that learn to identify people by their features (Osia et al. 2017, section IV.A, and stronger ones).

Each is a function `fit(training) -> score`, where `score(features (N, d)) -> (N, classes)`, higher for more likely
classes. An attacker chooses its settings on part of its training faces, then learns from all of them. It may request
its features any number of times: `Training.draw` draws fresh noise each time, as repeated queries would.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")

COPIES = 20  # noisy draws of every training face for attackers that learn in one go
NUMBERS = 40_000_000  # in all copies together; limits their memory
SMALL = 20  # maximum dimensions for products of features
HELD_OUT = 5  # one in so many training faces of a person is held out to choose an attacker's settings
MLP_WIDTH, MLP_BATCH, MLP_EPOCHS, MLP_PATIENCE = 256, 64, 150, 12


@dataclass(frozen=True)
class Training:
    """What an attacker learns from."""

    draw: Callable[[np.ndarray], np.ndarray]  # rows (M,) -> their features (M, d), with fresh noise at every call
    labels: np.ndarray  # int (N,): class of each row, all of 0..classes-1
    classes: int
    dimensions: int  # d
    noisy: bool  # whether two draws differ
    seed: int
    spread: np.ndarray | None = None  # (d,): features times this have their original deviations; None: unchanged
    groups: np.ndarray | None = None  # int (N,): rows that show one photograph share a number; None: each its own

    @property
    def counts(self) -> np.ndarray:
        """Rows of each class. Figures are means over classes: attackers must not favour the frequent ones."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def scales(self) -> tuple[np.ndarray, ...]:
        """Candidate factors for features: none, or one that undoes the whitening, which amplifies noise too."""
        ones = np.ones(self.dimensions, np.float32)
        return (ones,) if self.spread is None or self.dimensions <= SMALL else (ones, self.spread)

    def scaled(self, scale: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Function that multiplies features; long ones then have values of about 1, as networks want them."""
        size = math.sqrt(self.dimensions)
        return lambda x: size * unit(x * scale) if self.dimensions > SMALL else x * scale

    def copies(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of rows, several times over where there is noise, and their labels."""
        room = max(1, NUMBERS // max(1, len(rows) * self.dimensions))
        count = min(COPIES, room) if self.noisy else 1
        return np.concatenate([self.draw(rows) for _ in range(count)]), np.tile(self.labels[rows], count)

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from and rows to judge settings on; copies of one photograph stay together."""
        rng = np.random.default_rng(self.seed)
        groups = np.arange(len(self.labels)) if self.groups is None else self.groups
        photographs, first = np.unique(groups, return_index=True)
        held = []
        for label in range(self.classes):
            own = photographs[self.labels[first] == label]
            held.append(rng.permutation(own)[: math.ceil(len(own) / HELD_OUT)] if len(own) > 1 else own[:0])
        judged = np.isin(groups, np.concatenate(held))
        return np.flatnonzero(~judged), np.flatnonzero(judged)


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the right class.

    Args:
        scores: log-odds or log-probabilities (N, classes).
        labels: int (N,).
    """
    from scipy.special import logsumexp

    return float(np.mean(logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels]))


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Probability that the right class is among the k highest when ties are broken at random.

    Args:
        scores: (N, classes).
        labels: int (N,).
        k: 1 or more.

    Returns:
        float64 (N,), 0..1.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    above, level = (scores > own).sum(1), (scores == own).sum(1)
    return np.clip((k - above) / level, 0, 1)


def _choose(candidates: Iterable[T], training: Training, fit: Callable[[T, np.ndarray, np.ndarray], Score]) -> Score:
    """Fits every candidate on a part, then the best one on all training faces."""
    candidates = list(candidates)
    best = candidates[0]
    learnt, judged = training.parts()
    if len(candidates) > 1 and len(judged):
        features, labels = training.copies(learnt)
        unseen, truth = training.draw(judged), training.labels[judged]
        weights = 1 / np.bincount(truth, minlength=training.classes)[truth]
        best = max(candidates, key=lambda c: weights @ hits(fit(c, features, labels)(unseen), truth, 1))
    return fit(best, *training.copies(np.arange(len(training.labels))))


def class_means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean feature of each class, (classes, d); each class must have a row."""
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, features)
    return sums / np.bincount(labels, minlength=classes)[:, None]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def within_whitening(features: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    """Matrix (d, d) that whitens the scatter within classes.

    Args:
        features: (N, d).
        labels: int (N,), 0..classes-1.
        shrinkage: weight of a multiple of the identity in the covariance.
    """
    from scipy.linalg import solve_triangular

    classes = int(labels.max()) + 1
    rest = features - class_means(features, labels, classes)[labels]
    covariance = rest.T @ rest / max(1, len(features) - classes)
    level = np.trace(covariance) / len(covariance)
    # The last term keeps features whose classes have no scatter at all solvable.
    ridge = shrinkage * level + 1e-9 * max(level, float(np.mean(np.square(features))), 1e-30)
    covariance = (1 - shrinkage) * covariance + ridge * np.eye(len(covariance))
    return solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True).T


def lda(training: Training) -> Score:
    """Linear discriminant analysis with a shrunken covariance, by distance to the means or by angle."""

    def fit(settings: tuple[float, bool], features: np.ndarray, labels: np.ndarray) -> Score:
        shrinkage, angle = settings
        whiten = within_whitening(features, labels, shrinkage)
        scale = unit if angle else np.asarray
        means = scale(class_means(features, labels, training.classes) @ whiten)
        return lambda x: scale(x @ whiten) @ means.T - (0 if angle else np.square(means).sum(1) / 2)

    angles = (False, True) if training.dimensions > 1 else (False,)
    return _choose([(s, a) for a in angles for s in (0.005, 0.05, 0.3)], training, fit)


def knn(training: Training) -> Score:
    """K nearest neighbours, weighted by distance, after whitening the scatter within classes or as they are."""
    from sklearn.neighbors import NearestNeighbors

    def fit(settings: tuple[int, bool], features: np.ndarray, labels: np.ndarray) -> Score:
        k, whitened = settings
        whiten = within_whitening(features, labels, 0.05) if whitened else np.eye(features.shape[1])
        scale = unit if training.dimensions > SMALL else np.asarray
        index = NearestNeighbors(n_neighbors=min(k, len(features))).fit(scale(features @ whiten))

        def score(x: np.ndarray) -> np.ndarray:
            distances, neighbours = index.kneighbors(scale(x @ whiten))
            width = np.maximum(np.median(distances, axis=1, keepdims=True), 1e-12)
            votes = np.zeros((len(x), training.classes))
            np.add.at(votes, (np.arange(len(x))[:, None], labels[neighbours]), np.exp(-np.square(distances / width)))
            return votes / training.counts

        return score

    many = COPIES if training.noisy else 1
    return _choose([(k * many, w) for w in (True, False) for k in (5, 15, 50)], training, fit)


def logistic(training: Training) -> Score:
    """Logistic regression; on products of up to three features if there are few."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    small = training.dimensions <= SMALL
    degree = 3 if training.dimensions <= 6 else 2

    def fit(settings: tuple[float, int], features: np.ndarray, labels: np.ndarray) -> Score:
        strength, which = settings
        scale = training.scaled(training.scales[which])
        # sklearn weighs the sum of losses, so that noisy copies would weaken the regularisation.
        penalty = strength * len(training.labels) / len(labels)
        steps = [PolynomialFeatures(degree, include_bias=False), StandardScaler()] if small else []
        model = make_pipeline(*steps, LogisticRegression(C=penalty, max_iter=150, tol=1e-3))
        with _quiet():
            model.fit(scale(features), labels)
        return lambda x: _columns(model.decision_function(scale(x)), training.classes) - np.log(training.counts)

    strengths = (1.0,) if small else (0.001, 0.1)
    return _choose([(s, w) for w in range(len(training.scales)) for s in strengths], training, fit)


def mlp(training: Training) -> Score:
    """A perceptron with one hidden layer, fresh noise at each epoch, stopped early, then trained on all faces."""
    learnt, judged = training.parts()
    # As many steps if there are few faces.
    batch = min(MLP_BATCH, max(MLP_BATCH // 8, len(learnt) // 12), len(learnt))
    tried = [_stopped_early(training, scale, batch, learnt, judged) for scale in training.scales]
    _, epochs, scale = min(tried, key=lambda trial: trial[0])
    model = _perceptron(training, batch)
    for _ in range(epochs):
        _epoch(model, training, scale, np.arange(len(training.labels)))
    return lambda x: _log_probabilities(model, scale(x)) - np.log(training.counts)


def _stopped_early(
    training: Training, scale: np.ndarray, batch: int, learnt: np.ndarray, judged: np.ndarray
) -> tuple[float, int, Callable[[np.ndarray], np.ndarray]]:
    """Lowest held-out loss, the number of epochs that led there, and how features were scaled."""
    scaled, model, losses, best = training.scaled(scale), _perceptron(training, batch), [], 0
    for epoch in range(MLP_EPOCHS):
        _epoch(model, training, scaled, learnt)
        unseen = scaled(training.draw(judged))
        losses.append(log_loss(_log_probabilities(model, unseen), training.labels[judged]))
        best = int(np.argmin(losses))
        if epoch - best >= MLP_PATIENCE:
            break
    return losses[best], best + 1, scaled


def _perceptron(training: Training, batch: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    # More decay if there are more weights per face.
    decay = 1e-4 if training.dimensions <= SMALL else 1e-2
    return MLPClassifier(hidden_layer_sizes=(MLP_WIDTH,), alpha=decay, batch_size=batch, random_state=training.seed)


def _epoch(model: Any, training: Training, scale: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> None:
    model.partial_fit(scale(training.draw(rows)), training.labels[rows], classes=np.arange(training.classes))


def _log_probabilities(model: Any, x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(model.predict_proba(x), 1e-30))


def _columns(decision: np.ndarray, classes: int) -> np.ndarray:
    """One column for each class, even for two classes, for which scikit-learn returns one."""
    return np.stack([-decision / 2, decision / 2], 1) if classes == 2 and decision.ndim == 1 else decision


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without scikit-learn's warnings that it reached its step limit, which is intended."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


Fit = Callable[[Training], Score]
ATTACKERS: dict[str, Fit] = {"lda": lda, "logistic": logistic, "knn": knn, "mlp": mlp}
