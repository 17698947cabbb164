"""What the closed-form strategies share: class rows that count, folded matrices, exact sums in a float32 state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.strategies.base import Ints

Values = NDArray[np.float64]

COUNT_WEIGHT = 0.15
"""Share of a class row's norm that counts examples: 2 % of its square, for a count with seven times the noise."""

_LINEAR_WEIGHT = math.sqrt(1.0 - COUNT_WEIGHT**2)


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Sums and counts of classes, with the variance of the noise in every entry (0 where there is none).

    sums (classes, d), counts (classes,), variance (classes,): of an entry of a class's sum, count_variance (classes,),
    released (classes,): whether a class was ever asked for.
    """

    sums: Values
    counts: Values
    variance: Values
    count_variance: Values
    released: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Linear:
    """Class scores f @ weights.T + bias; weights (classes, d), bias (classes,)."""

    weights: Values
    bias: Values

    def scores(self, features: Values, released: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return float32 (n, classes), -inf for classes that were never released."""
        out = np.full((len(features), len(released)), -np.inf, dtype=np.float32)
        out[:, released] = (features @ self.weights[released].T + self.bias[released]).astype(np.float32)
        return out


def class_rows(features: Values, labels: Ints, classes: tuple[int, ...], rows: int) -> Values:
    """Return (rows, 1 + d): by class of `classes` a weighted count and the weighted sum of features.

    An example whose features have norm at most 1 lies in one row and adds a vector of norm at most 1 to it.
    """
    out = np.zeros((rows, 1 + features.shape[1]))
    for row, label in enumerate(classes):
        found = features[labels == label]
        out[row, 0] = COUNT_WEIGHT * len(found)
        out[row, 1:] = _LINEAR_WEIGHT * found.sum(axis=0)
    return out


def read_rows(rows: Values, weight: float, releases: Values, noise: float) -> ClassMoments:
    """Return the classes' moments from summed `class_rows` (classes, 1 + d) that were scaled by `weight`.

    releases (classes,): how often a class was released, each time with noise of standard deviation `noise` per entry.
    """
    count, linear = weight * COUNT_WEIGHT, weight * _LINEAR_WEIGHT
    variance = releases * noise**2
    return ClassMoments(
        rows[:, 1:] / linear, rows[:, 0] / count, variance / linear**2, variance / count**2, releases > 0
    )


def fold(matrix: Values) -> Values:
    """Return the upper triangle of a symmetric matrix as a vector of the same Euclidean norm."""
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, math.sqrt(2.0)))


def unfold(vector: Values, size: int) -> Values:
    """Return the symmetric matrix (size, size) of a folded one; the inverse of `fold`."""
    rows, columns = np.triu_indices(size)
    out = np.zeros((size, size))
    out[rows, columns] = vector / np.where(rows == columns, 1.0, math.sqrt(2.0))
    return out + np.triu(out, 1).T


def triangle(size: int) -> int:
    """Return the number of entries of a folded matrix."""
    return size * (size + 1) // 2


def noise_edge(noise: float, size: int) -> float:
    """Return the largest eigenvalue of an unfolded vector of independent noise, asymptotically.

    Off the diagonal its standard deviation is noise / sqrt 2; Wigner's semicircle ends at twice that times sqrt(size).
    """
    return noise * math.sqrt(2.0 * size)


def split_exactly(values: Values) -> NDArray[np.float32]:
    """Return float32 (2, ...): rounded values and what rounding left, so that sums in a state keep 48 bits."""
    high = values.astype(np.float32)
    return np.stack([high, (values - high).astype(np.float32)])


def whole(pair: NDArray[np.float32]) -> Values:
    """Return the float64 values of `split_exactly`."""
    return np.asarray(pair[0].astype(np.float64) + pair[1])
