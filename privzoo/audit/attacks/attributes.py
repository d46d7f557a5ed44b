"""The attribute attack, protocol 4: race and age from gender features, gender from emotion features (DataMix, 5).

Race and gender are classes: the identity attack's attackers learn them, and the figure is the balanced accuracy, the
mean over classes. Age is a number: attackers predict it, and the figure is the mean absolute error in years.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from privzoo.audit.attacks import identity
from privzoo.audit.attacks.attackers import SMALL
from privzoo.audit.attacks.identity import SEEDS, drawer
from privzoo.audit.attacks.preparation import as_rows, prepare
from privzoo.audit.attacks.scored import scored
from privzoo.errors import ConfigError, DataError
from privzoo.evaluation.drawn import Coded, arrived, averaged
from privzoo.mechanisms.gaussian import Noise

HELD_OUT = 0.15
RIDGES = np.logspace(-1, 4, 6)
NEIGHBOURS = 25
MLP_WIDTH, MLP_BATCH, MLP_EPOCHS, MLP_PATIENCE = 128, 128, 60, 6


def regress(
    train_features: np.ndarray,
    train_values: np.ndarray,
    test_features: np.ndarray,
    test_values: np.ndarray,
    *,
    noise: Noise | Coded | None = None,
    queries: int = 1,
    seeds: Sequence[int] = SEEDS,
    attackers: Sequence[str] | None = None,
    train_ids: Sequence[str] | None = None,
    test_ids: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Trains attackers to predict a number, such as the age, and measures their errors.

    Args:
        train_features: before noise (N, ...).
        train_values: what to learn (N,).
        test_features: before noise (M, ...), of other images.
        test_values: (M,).
        noise: as in `identity.attack`, like the next arguments.
        queries: features of one image that the attacker averages.
        seeds: of noise, start values and held-out parts.
        attackers: names in `REGRESSORS`; None for all.
        train_ids: identifiers of the training images.
        test_ids: identifiers of the scored images.

    Returns:
        Attacker -> absolute errors (seeds, M).

    Raises:
        FeatureError: features that are not finite rows.
        DataError: values that are not one finite number for each feature, or an image on both sides.
        ConfigError: an attacker that does not exist.
    """
    names = tuple(REGRESSORS) if attackers is None else tuple(attackers)
    if unknown := [name for name in names if name not in REGRESSORS]:
        raise ConfigError(f"There is no attacker {unknown[0]!r} for numbers; there are {', '.join(REGRESSORS)}.")
    train, test = as_rows(train_features, "training"), as_rows(test_features, "scored")
    truth, wanted = _numbers(train_values, train, "training"), _numbers(test_values, test, "scored")
    if train_ids is not None and test_ids is not None:
        identity.check_apart(train_ids, test_ids)
    left = averaged(noise, queries)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    preparation = None
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if preparation is None or left:  # without noise each seed would find the same components again
            preparation = prepare(arrived(train, left, rng), seed)
        draw = drawer(train, left, rng, preparation)
        judged = scored(test, left, rng)
        unseen = preparation(judged.rows)
        for name in names:
            errors[name].append(judged.errors(REGRESSORS[name](draw, truth, seed)(unseen), wanted))
    return {name: np.stack(rows) for name, rows in errors.items()}


def _numbers(values: np.ndarray, rows: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (len(rows),) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataError(
            f"There are {len(rows)} {name} features and values of shape {values.shape}; give one number each."
        )
    return values.astype(np.float64)


Draw = Callable[[np.ndarray], np.ndarray]
Predict = Callable[[np.ndarray], np.ndarray]


def median(draw: Draw, values: np.ndarray, seed: int) -> Predict:
    """Predicts the training median, whatever the feature: what is known without it."""
    return lambda x: np.full(len(x), np.median(values))


def ridge(draw: Draw, values: np.ndarray, seed: int) -> Predict:
    """Ridge regression, on products of up to three features if there are few."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    features = draw(np.arange(len(values)))
    degree = (3 if features.shape[1] <= 6 else 2) if features.shape[1] <= SMALL else 1
    model = make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler(), RidgeCV(RIDGES))
    return model.fit(features, values).predict


def knn(draw: Draw, values: np.ndarray, seed: int) -> Predict:
    """Median of the nearest training faces' values, which errs least in absolute terms."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(values))).fit(draw(np.arange(len(values))))
    return lambda x: np.median(values[index.kneighbors(x, return_distance=False)], axis=1)


def mlp(draw: Draw, values: np.ndarray, seed: int) -> Predict:
    """A perceptron with one hidden layer, fresh noise at each epoch, stopped early."""
    from sklearn.neural_network import MLPRegressor

    order = np.random.default_rng(seed).permutation(len(values))
    judged, learnt = np.split(order, [max(1, int(HELD_OUT * len(order)))])
    centre, scale = values[learnt].mean(), values[learnt].std() or 1.0
    model = MLPRegressor(
        hidden_layer_sizes=(MLP_WIDTH,), alpha=1e-2, batch_size=min(MLP_BATCH, len(learnt)), random_state=seed
    )
    weights: list[np.ndarray] | None = None
    best, since = np.inf, 0
    for _ in range(MLP_EPOCHS):
        model.partial_fit(draw(learnt), (values[learnt] - centre) / scale)
        error = np.abs(model.predict(draw(judged)) * scale + centre - values[judged]).mean()
        since += 1
        if error < best:
            weights = [w.copy() for w in (*model.coefs_, *model.intercepts_)]
            best, since = error, 0
        if since >= MLP_PATIENCE:
            break
    assert weights is not None, "scikit-learn raises where weights are not finite"
    model.coefs_, model.intercepts_ = weights[: len(model.coefs_)], weights[len(model.coefs_) :]
    return lambda x: model.predict(x) * scale + centre


REGRESSORS: dict[str, Callable[[Draw, np.ndarray, int], Predict]] = {
    "chance": median,
    "ridge": ridge,
    "knn": knn,
    "mlp": mlp,
}
