"""The attribute attack on synthetic features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from privzoo.audit.attacks import attributes
from privzoo.errors import ConfigError, DataError
from privzoo.mechanisms.gaussian import Noise

RNG = np.random.default_rng(2)


def ages(count: int, spread: float = 0.0):
    values = RNG.integers(1, 90, count)
    angle = values / 40
    features = np.stack([np.sin(angle), np.cos(angle), RNG.normal(size=count)], 1)
    return features + spread * RNG.normal(size=features.shape), values


def test_a_number_that_is_there_is_found():
    errors = attributes.regress(*ages(600), *ages(100), seeds=(1, 2))
    means = {name: rows.mean() for name, rows in errors.items()}
    assert all(rows.shape == (2, 100) for rows in errors.values())
    assert means["chance"] > 15 and all(means[name] < 6 for name in ("ridge", "knn", "mlp")), means


def test_a_number_that_is_absent_is_not_found():
    (_, values), (_, wanted) = ages(600), ages(200)
    errors = attributes.regress(RNG.normal(size=(600, 4)), values, RNG.normal(size=(200, 4)), wanted, seeds=(1,))
    assert min(rows.mean() for rows in errors.values()) > errors["chance"].mean() - 1.5


def test_noise_hides_a_number():
    options = {"seeds": (1,), "attackers": ["ridge"]}
    data = (*ages(600), *ages(200))
    one, many = (
        attributes.regress(*data, noise=Noise(2.0, 3.0), queries=q, **options)["ridge"].mean() for q in (1, 100)
    )
    assert one > many + 3


def test_bad_values_are_refused():
    features, values = ages(20)
    with pytest.raises(DataError, match="20 training features and values of shape"):
        attributes.regress(features, values[:-1], *ages(5))
    with pytest.raises(DataError, match="one number each"):
        attributes.regress(features, np.where(values > 5, np.nan, 1.0), *ages(5))
    with pytest.raises(ConfigError, match="'lda' for numbers; there are chance, ridge"):
        attributes.regress(features, values, *ages(5), attackers=["lda"])
    with pytest.raises(DataError, match="also training inputs"):
        attributes.regress(features, values, features, values, train_ids=range(20), test_ids=range(20))
