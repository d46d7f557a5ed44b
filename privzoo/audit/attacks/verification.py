"""Verification: are two features of one person? And linkability: which of some people is the one of another service?

From the people of nine folds, whose identities they know, attackers learn how features of one person differ. They then
judge pairs of the tenth fold's people, of whom they know nothing (`privzoo.audit.attacks.pairs`). The two members of a
pair come from two sides, such as two services that receive features; `service` says what the two sides share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from privzoo.audit.attacks import pairs
from privzoo.audit.attacks.attackers import SMALL, class_means, hits, unit, within_whitening
from privzoo.audit.attacks.preparation import as_rows, prepare
from privzoo.audit.attacks.symbols import likelihoods
from privzoo.errors import ConfigError, DataError
from privzoo.evaluation.drawn import Coded, arrived, averaged
from privzoo.mechanisms.gaussian import Noise

COMPONENTS = 300  # principal components kept of long features
SHRINKAGE = 0.05  # of the covariance within people
TREES = 60  # number of the learnt attacker's trees
FRESH, TWO_SECRETS, ONE_SECRET = "fresh draws", "two secrets", "one secret"
LINKED = "linked"
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # what two sides sent (M, d) -> score (M,), higher: one person


@dataclass(frozen=True)
class Protocol:
    """How many pairs are drawn in each fold."""

    folds: int = pairs.FOLDS
    matched: int = 300
    mismatched: int = 30_000
    learnt: int = 6_000  # pairs of each kind from which attackers learn, from all folds but one
    candidates: int = 100  # people among whom one is searched for


@dataclass(frozen=True)
class Training:
    """What an attacker learns from: features of known photographs, as both sides received them."""

    left: np.ndarray  # (N, d)
    right: np.ndarray  # (N, d); the same array if both sides received the same
    groups: np.ndarray  # int (N,), 0..G-1: the person of each row, or its photograph
    matched: np.ndarray  # int (M, 2): rows of the left and of the right side
    mismatched: np.ndarray
    spread: np.ndarray | None  # (d,): features times this have their original standard deviations
    seed: int
    code: Coded | None = None  # if the features are shares of symbols
    symbols: np.ndarray | None = None  # int (N,): true symbols of the attacker's own photographs
    shared: bool = False  # both sides repeat the same permanent answer

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The features of both sides, and their groups."""
        if self.left is self.right:
            return self.left, self.groups
        return np.concatenate([self.left, self.right]), np.tile(self.groups, 2)


def distance(training: Training) -> Score:
    """Distance between two features in their original scale."""
    scale = 1.0 if training.spread is None else training.spread
    return lambda a, b: -np.linalg.norm((a - b) * scale, axis=1)


def cosine(training: Training) -> Score:
    """Cosine between two features, centred and with the scatter within people whitened."""
    rows, groups = training.rows()
    mean, whiten = rows.mean(0), within_whitening(rows, groups, SHRINKAGE)
    return lambda a, b: np.einsum("nd,nd->n", unit((a - mean) @ whiten), unit((b - mean) @ whiten))


def two_covariances(training: Training) -> Score:
    """Log-likelihood ratio of the two-covariance model (PLDA; Brummer and de Villiers 2010).

    A feature is the sum of a person's mean, drawn from one Gaussian, and the photograph's difference from it, from
    another. In coordinates where the second is white and the first has variances v, the ratio is a sum over them.
    """
    rows, groups = training.rows()
    whiten = within_whitening(rows, groups, SHRINKAGE)
    counts = np.bincount(groups)
    means = class_means(rows @ whiten, groups, len(counts))
    centre = means.mean(0)
    # The variance of a mean of n rows around the person's is 1/n of the scatter within.
    between = np.cov(means, rowvar=False).reshape(len(centre), -1) - np.mean(1 / counts) * np.eye(len(centre))
    variances, axes = np.linalg.eigh(between)
    v = np.maximum(variances, 1e-6)

    def score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        x, y = ((side @ whiten - centre) @ axes for side in (a, b))
        squares, product = np.square(x) + np.square(y), x * y
        together = np.log1p(2 * v) + ((1 + v) * squares - 2 * v * product) / (1 + 2 * v)
        alone = 2 * np.log1p(v) + squares / (1 + v)
        return ((alone - together) / 2).sum(axis=1)

    return score


def learnt(training: Training) -> Score:
    """Boosted trees on |a - b|, a b and a + b, for short features."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    def crossed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([np.abs(a - b), a * b, a + b], axis=1)

    model = HistGradientBoostingClassifier(max_iter=TREES, random_state=training.seed)
    chosen = np.concatenate([training.matched, training.mismatched])
    truth = np.repeat([1, 0], [len(training.matched), len(training.mismatched)])
    # On busy cores, threads that wait for each other at every node take minutes; one thread takes a second.
    with threadpool_limits(1, user_api="openmp"):
        model.fit(crossed(training.left[chosen[:, 0]], training.right[chosen[:, 1]]), truth)

    def score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with threadpool_limits(1, user_api="openmp"):
            return model.decision_function(crossed(a, b))

    return score


def bayes(training: Training) -> Score:
    """Likelihood ratio for codes: how often two photographs of one person, and of two, have each pair of symbols."""
    from scipy.special import logsumexp

    code, own = training.code, training.symbols
    assert code is not None and own is not None, "Bayes' rule attacks only codes"
    k = code.response.k
    together = np.zeros((k, k))
    np.add.at(together, (own[training.matched[:, 0]], own[training.matched[:, 1]]), 1)
    together = together + together.T
    everybody = together.sum(0) + 1
    everybody /= everybody.sum()
    together += np.outer(everybody, everybody)
    together /= together.sum()

    def score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        one, other = likelihoods(code, a), likelihoods(code, b)
        alone = sum(logsumexp(np.log(everybody) + side, axis=1) for side in (one, other))
        if training.shared:
            # Two photographs with the same symbol have the same answer; otherwise their answers are independent.
            apart = together - np.diag(np.diag(together))
            chances = np.exp(one)
            both = np.einsum("ns,st,nt->n", chances, apart, np.exp(other))
            both += (a.argmax(1) == b.argmax(1)) * (chances @ np.diag(together))
            return np.log(np.maximum(both, np.finfo(float).tiny)) - alone
        pair = one[:, :, None] + other[:, None, :] + np.log(together)
        return logsumexp(pair, axis=(1, 2)) - alone

    return score


VERIFIERS: dict[str, Callable[[Training], Score]] = {
    "distance": distance,
    "cosine": cosine,
    "two covariances": two_covariances,
    "learnt": learnt,
    "bayes": bayes,
}


def names_for(dimensions: int, code: bool, wanted: Sequence[str] = tuple(VERIFIERS)) -> list[str]:
    """Names of the attackers that apply to some features.

    Args:
        dimensions: numbers of a feature, or symbols of a code.
        code: whether the features are codes.
        wanted: names in `VERIFIERS`.

    Raises:
        ConfigError: there is no such attacker.
    """
    if unknown := [name for name in wanted if name not in VERIFIERS]:
        raise ConfigError(f"There is no attacker {unknown[0]!r} on pairs; there are {', '.join(VERIFIERS)}.")
    left_out = {*([] if dimensions <= SMALL else ["learnt"]), *([] if code else ["bayes"])}
    return [name for name in wanted if name not in left_out]


def sides(
    rows: np.ndarray, people: np.ndarray, noise: Noise | Coded | None, service: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What two services receive about photographs.

    Args:
        rows: features before noise (N, d).
        people: int (N,), 0..P-1; each person has a separate device.
        noise: includes the number of queries.
        service: `FRESH`: answers are drawn independently for each service. With permanent answers: `TWO_SECRETS`, a
            device keeps a secret for each service; `ONE_SECRET`, the same for both.
        rng: random source.

    Raises:
        ConfigError: secrets without a code, or no such service.
    """
    if service == FRESH:
        return (rows, rows) if noise is None else (arrived(rows, noise, rng), arrived(rows, noise, rng))
    if service not in (TWO_SECRETS, ONE_SECRET) or not isinstance(noise, Coded):
        raise ConfigError(f"There is no service {service!r} for this model; only codes have permanent answers.")
    symbols, k = noise.book.encode(rows), noise.response.k

    def answers() -> np.ndarray:
        # A device's answer to each symbol.
        table = rng.multinomial(1, noise.chances(), size=(int(people.max()) + 1, k)).astype(np.float32)
        return table[people, symbols]

    left = answers()
    return left, left if service == ONE_SECRET else answers()


def attack(
    features: np.ndarray,
    people: np.ndarray,
    *,
    noise: Noise | Coded | None = None,
    queries: int = 1,
    service: str = FRESH,
    photographs: bool = False,
    seeds: Sequence[int] = (1, 2, 3),
    verifiers: Sequence[str] = tuple(VERIFIERS),
    protocol: Protocol | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Runs the attackers: they verify pairs, and find people again.

    Args:
        features: before noise, numbers (N, ...).
        people: person of each (N,).
        noise: what the device adds to each, or its code.
        queries: number of features of each photograph that each side received.
        service: see `sides`.
        photographs: pairs of one person show the same photograph, rather than two.
        seeds: of pairs, noise and attackers. The folds are always the same.
        verifiers: names in `VERIFIERS`; those that do not fit the features are left out.
        protocol: numbers of pairs.

    Returns:
        Attacker -> metric of `pairs.RATES`, and `LINKED` -> float64 (seeds, folds).

    Raises:
        FeatureError: features that are not finite rows.
        DataError: too few people with two photographs, or labels that do not fit.
        ConfigError: an attacker or a service that does not exist.
    """
    protocol = protocol or Protocol()
    rows, codes = as_rows(features, "paired"), np.unique(np.asarray(people), return_inverse=True)[1]
    if codes.shape != (len(rows),):
        raise DataError(f"There are {len(rows)} features and people of shape {codes.shape}; give each its person.")
    fold_of, left = pairs.folds(codes, protocol.folds), averaged(noise, queries)
    code = left if isinstance(left, Coded) else None
    names = names_for(code.response.k if code else rows.shape[1], code is not None, verifiers)
    candidates = linkable(codes, protocol)
    found: Mapping[str, dict[str, np.ndarray]] = {
        name: {metric: np.zeros((len(seeds), protocol.folds)) for metric in (*pairs.RATES, LINKED)} for name in names
    }
    for fold in range(protocol.folds):
        known, scored = np.flatnonzero((fold_of >= 0) & (fold_of != fold)), np.flatnonzero(fold_of == fold)
        preparation = None
        for place, seed in enumerate(seeds):
            rng = np.random.default_rng((seed, fold))
            one, other = sides(rows, codes, left, service, rng)
            spread = None
            if code is None:
                if preparation is None or left:  # without noise every seed would find the same components
                    preparation = prepare(one[known], seed, count=COMPONENTS)
                    prepared = preparation(one)
                spread = preparation.spread
                one, other = prepared, prepared if other is one else preparation(other)
            training = _training(one, other, codes, known, protocol, photographs, spread, seed, rng)
            if code is not None:
                training = _with_code(training, code, code.book.encode(rows[known]), service)
            judged = _drawn_pairs(codes, scored, candidates, protocol, photographs, rng)
            for name in names:
                measured = _measure(VERIFIERS[name](training), one, other, *judged)
                for metric, value in measured.items():
                    found[name][metric][place, fold] = value
    return dict(found)


def linkable(people: np.ndarray, protocol: Protocol) -> int:
    """Number of candidates of a link: the protocol's, but at most as many as the smallest fold has people."""
    fold_of = pairs.folds(people, protocol.folds)
    return min(protocol.candidates, *(len(np.unique(people[fold_of == fold])) for fold in range(protocol.folds)))


def _training(
    one: np.ndarray,
    other: np.ndarray,
    people: np.ndarray,
    known: np.ndarray,
    protocol: Protocol,
    photographs: bool,
    spread: np.ndarray | None,
    seed: int,
    rng: np.random.Generator,
) -> Training:
    crowd = pairs.crowd(people[known], np.arange(len(known)))
    number = protocol.learnt
    matched = crowd.same(number, rng) if photographs else crowd.matched(number, rng, repeated=True)
    groups = np.arange(len(known)) if photographs else np.unique(people[known], return_inverse=True)[1]
    left = one[known]
    right = left if other is one and not photographs else other[known]
    return Training(left, right, groups, matched, crowd.mismatched(number, rng), spread, seed)


def _with_code(training: Training, code: Coded, symbols: np.ndarray, service: str) -> Training:
    return replace(training, code=code, symbols=symbols, shared=service == ONE_SECRET)


def _drawn_pairs(
    people: np.ndarray,
    scored: np.ndarray,
    candidates: int,
    protocol: Protocol,
    photographs: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    crowd = pairs.crowd(people, scored)
    matched = crowd.same(protocol.matched, rng) if photographs else crowd.matched(protocol.matched, rng)
    return matched, crowd.mismatched(protocol.mismatched, rng), crowd.one_each(candidates, photographs, rng)


def _measure(
    score: Score, one: np.ndarray, other: np.ndarray, matched: np.ndarray, mismatched: np.ndarray, linked: np.ndarray
) -> dict[str, float]:
    genuine, impostor = (score(one[own[:, 0]], other[own[:, 1]]) for own in (matched, mismatched))
    count = len(linked)
    asked, offered = np.repeat(linked[:, 0], count), np.tile(linked[:, 1], count)
    table = score(one[asked], other[offered]).reshape(count, count)
    return {**pairs.rates(genuine, impostor), LINKED: float(hits(table, np.arange(count), 1).mean())}
