"""The ceiling: the best accuracy that any mechanism with pure epsilon can have, given a network's findings.

A mechanism sees what the network found of a face (its label, or a level of its score), sends something under epsilon-
local differential privacy, and a tail guesses the class from it. What is sent may be taken to be the guess itself: the
tail only works on it. So a mechanism is a table M of chances M[found, guess] whose rows add up to 1 and whose columns
keep M[a, guess] <= e^epsilon M[b, guess], and its accuracy is linear in M: a linear programme. For two classes and two
findings its corners are randomized response on the label and a constant, so that the best is known in closed form.
"""

from __future__ import annotations

import math

import numpy as np

from privzoo.errors import ConfigError


def ceiling(confusion: np.ndarray, epsilon: float) -> float:
    """Best accuracy of any epsilon-locally differentially private mechanism.

    Args:
        confusion: counts or chances (classes, findings) of the true class (row) and what the network found (column).
        epsilon: budget of one inference, above 0.

    Returns:
        Share of right guesses, 0..1.

    Raises:
        ConfigError: an invalid confusion matrix or budget.

    Example:
        >>> round(ceiling(np.array([[45, 5], [5, 45]]), 3.0), 4)
        0.8621
    """
    return reached(confusion, best(confusion, epsilon))


def best(confusion: np.ndarray, epsilon: float) -> np.ndarray:
    """The mechanism that reaches the ceiling: chances (findings, classes) of each guess given what was found.

    Args:
        confusion, epsilon: as for `ceiling`.

    Raises:
        ConfigError: as `ceiling`.
    """
    table = _joint(confusion, epsilon)
    return binary(table, epsilon) if table.shape == (2, 2) else programme(table, epsilon)


def reached(confusion: np.ndarray, mechanism: np.ndarray) -> float:
    """Accuracy of a mechanism.

    Args:
        confusion: as for `ceiling`.
        mechanism: as `best` returns it.
    """
    table = np.asarray(confusion, np.float64)
    return float((table.T * mechanism).sum() / table.sum())


def binary(confusion: np.ndarray, epsilon: float) -> np.ndarray:
    """Like `best`, for two classes and two findings, in closed form."""
    table = _joint(confusion, epsilon)
    same = 1 / (1 + math.exp(-epsilon))
    response = np.array([[same, 1 - same], [1 - same, same]])
    if np.trace(table) < 0.5:  # a network that is wrong more often than not is asked for the opposite
        response = response[::-1]
    constant = np.zeros((2, 2))
    constant[:, table.sum(1).argmax()] = 1
    return max((constant, response), key=lambda one: reached(table, one))


def programme(confusion: np.ndarray, epsilon: float) -> np.ndarray:
    """Like `best`, for any numbers of classes and findings, by scipy's linear programming."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix

    table = _joint(confusion, epsilon)
    classes, findings = table.shape
    # Columns scaled by e^-epsilon rather than e^epsilon: large budgets would spoil the solver's numbers.
    small = math.exp(-epsilon)
    place = np.arange(findings * classes).reshape(findings, classes)  # of M[found, guess] among the variables
    # For each guess the least of a column, as further variables, halves the number of rows: t <= M <= e^epsilon t.
    least = findings * classes + np.arange(classes)
    rows, columns, values = [], [], []
    count = 0
    for found in range(findings):
        for guess in range(classes):
            for pair in (
                ((least[guess], 1.0), (place[found, guess], -1.0)),
                ((place[found, guess], small), (least[guess], -1.0)),
            ):
                for column, value in pair:
                    rows.append(count)
                    columns.append(column)
                    values.append(value)
                count += 1
    size = findings * classes + classes
    limits = coo_matrix((values, (rows, columns)), (count, size))
    sums = coo_matrix(
        (np.ones(findings * classes), (np.repeat(np.arange(findings), classes), place.ravel())), (findings, size)
    )
    gain = np.concatenate([table.T.ravel(), np.zeros(classes)])
    solved = linprog(-gain, limits, np.zeros(count), sums, np.ones(findings), (0, 1), method="highs")
    if solved.status != 0:
        raise ConfigError(f"The ceiling at epsilon={epsilon} was not found ({solved.message}); give a smaller epsilon.")
    return solved.x[: findings * classes].reshape(findings, classes)


def _joint(confusion: np.ndarray, epsilon: float) -> np.ndarray:
    table = np.asarray(confusion, np.float64)
    usable = table.ndim == 2 and min(table.shape) >= 1 and np.isfinite(table).all() and (table >= 0).all()
    if not (usable and table.sum() > 0):
        raise ConfigError("The confusion is not a table of counts (classes, findings); give one with a count above 0.")
    if not 0 < epsilon < math.inf:
        raise ConfigError(f"epsilon={epsilon!r} is not a budget; give a number above 0.")
    return table / table.sum()
