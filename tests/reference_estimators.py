"""What the estimators compute, from the formulas, one query at a time in float64.

Nadaraya (1964) and Watson (1964) for the kernel mean, Shepard (1968) for inverse distances.
"""

from __future__ import annotations

import numpy as np


def nadaraya_watson(
    rows: np.ndarray,
    targets: np.ndarray,
    queries: np.ndarray,
    beta: float,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """Mean of the targets under the kernel exp(-beta d^2), each row counted `counts` times."""
    answers = []
    for query in queries:
        exponents = -beta * ((rows - query) ** 2).sum(axis=1)
        kernel = np.exp(exponents - exponents.max())  # a common factor, gone in the quotient
        if counts is not None:
            kernel = kernel * counts
        answers.append((kernel[:, None] * targets).sum(axis=0) / kernel.sum())
    return np.array(answers)


def log_density(
    rows: np.ndarray, queries: np.ndarray, bandwidth: float, counts: np.ndarray | None = None
) -> np.ndarray:
    """Logarithm of the mean of normal densities around the rows, counted `counts` times."""
    counts = np.ones(len(rows)) if counts is None else counts
    answers = []
    for query in queries:
        exponents = -((rows - query) ** 2).sum(axis=1) / (2 * bandwidth**2)
        largest = exponents.max()
        total = (counts * np.exp(exponents - largest)).sum() / counts.sum()
        volume = rows.shape[1] / 2 * np.log(2 * np.pi * bandwidth**2)
        answers.append(largest + np.log(total) - volume)
    return np.array(answers)


def shepard(rows: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Mean of the targets under 1 / d, for queries that are no rows."""
    answers = []
    for query in queries:
        weights = 1 / np.sqrt(((rows - query) ** 2).sum(axis=1))
        answers.append((weights[:, None] * targets).sum(axis=0) / weights.sum())
    return np.array(answers)


def completed_labels(
    rows: np.ndarray, labels: np.ndarray, queries: np.ndarray, beta: float, n_steps: int
) -> np.ndarray:
    """Labels of [x, 0] after steps of softmax under squared distances to [row, one-hot]."""
    one_hot = (labels[:, None] == np.unique(labels)).astype(float)
    stored = np.hstack([rows, one_hot])
    states = np.hstack([queries, np.zeros((len(queries), one_hot.shape[1]))])
    for _ in range(n_steps):
        states = nadaraya_watson(stored, stored, states, beta)
    return states[:, rows.shape[1] :]


def kernel_imputation(rows: np.ndarray, queries: np.ndarray, beta: float) -> np.ndarray:
    """Gaps (NaN) as means of the rows that know the column under exp(-beta d^2), where d^2 is
    the mean square over the features that both know, times the number of features."""
    filled = queries.copy()
    for i, query in enumerate(queries):
        shared = ~np.isnan(rows) & ~np.isnan(query)
        squares = np.where(shared, (rows - query) ** 2, 0).sum(axis=1)
        counts = shared.sum(axis=1)
        for j in np.flatnonzero(np.isnan(query)):
            donors = ~np.isnan(rows[:, j]) & (counts > 0)
            exponents = -beta * squares[donors] / counts[donors] * rows.shape[1]
            kernel = np.exp(exponents - exponents.max())
            filled[i, j] = (kernel * rows[donors, j]).sum() / kernel.sum()
    return filled
