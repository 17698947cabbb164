"""A linear discriminant from noisy sums by what is publicly known of their noise: post-processing, free of charge.

It rests on two facts. Features have norm 1, so if all classes share one covariance W, the squared length of every class
mean is 1 - trace(W): one number ties lengths, counts and covariance together. And the noise is Gaussian-like with a
public variance, so its part in every square, and its largest eigenvalue, are known.
"""

from __future__ import annotations

import numpy as np

from secure_fcl.strategies.closed_form.class_rows import ClassMoments, Linear, Values

LEAST_COUNT = 20.0
"""No class is taken to be smaller: below it, noise at any useful epsilon is larger than the sum."""

THRESHOLD = 0.5
"""How much of the noise's largest eigenvalue is taken off every eigenvalue of the covariance."""

_LENGTH_SPREAD = 0.03  # relative: how far the lengths of class means differ, about
_LEAST_VARIANCE = 1e-4  # of any direction; the shrinkage of streaming LDA (Hayes and Kanan 2020)
_SPREADS = np.geomspace(1e-6, 1.0, 61)  # candidates for the variance between class means


def mean_length(classes: ClassMoments) -> float:
    """Return the common length of the class means: all lengths of sums over all counts, between 0.5 and 1."""
    used = classes.released
    counted = max(float(classes.counts[used].sum()), LEAST_COUNT)
    return min(1.0, max(0.5, float(_lengths(classes)[used].sum()) / counted))


def class_counts(classes: ClassMoments, length: float) -> Values:
    """Return examples per class (classes,): noisy counts, and lengths of sums over `length`, by their precision.

    A length is a far better witness: its noise is that of one direction, that of the count is 1 / COUNT_WEIGHT larger.
    """
    by_length = _lengths(classes) / length
    length_variance = classes.variance / length**2 + (_LENGTH_SPREAD * by_length) ** 2
    both = length_variance + classes.count_variance
    share = np.where(both > 0.0, length_variance / np.where(both > 0.0, both, 1.0), 1.0)
    return np.asarray(np.maximum(share * classes.counts + (1.0 - share) * by_length, LEAST_COUNT))


def class_means(classes: ClassMoments, counts: Values) -> Values:
    """Return the class means (classes, d), each drawn towards the common mean by as much as its noise demands.

    Empirical Bayes (Efron and Morris 1973): the variance between classes is the likeliest one, of all together. A class
    of few examples has a mean that is mostly noise; a large class hardly moves.
    """
    used = classes.released
    means, noise = classes.sums / counts[:, None], classes.variance / counts**2
    if not used.any():
        return np.asarray(means)
    # 1 / d is the mean square of a unit vector's entries: classes with less noise than that weigh about the same.
    weight = np.where(used, 1.0 / (noise + 1.0 / means.shape[1]), 0.0)
    common = weight @ means / weight.sum()
    squares = ((means - common) ** 2).sum(axis=1)[used]
    total = _SPREADS[:, None] + noise[used]
    spread = _SPREADS[int(np.argmin((means.shape[1] * np.log(total) + squares / total).sum(axis=1)))]
    return np.asarray(common + (spread / (spread + noise))[:, None] * (means - common))


def precision(scatter: Values, noise_edge: float, length: float) -> Values:
    """Return the inverse covariance within classes (d, d) from a noisy scatter of unit vectors.

    Only the scatter's shape is used: its size follows from the class means' `length`. Eigenvalues beyond the noise's
    largest one are signal; what they leave of the trace is spread over all other directions, and none gets less.
    """
    trace = max(float(np.trace(scatter)), LEAST_COUNT)
    size = max(1.0 - length**2, _LEAST_VARIANCE)
    values, vectors = np.linalg.eigh(scatter * (size / trace))
    edge = noise_edge * size / trace
    seen = values > edge
    unseen = len(values) - int(seen.sum())
    rest = _LEAST_VARIANCE
    if unseen:
        rest = max((size - float(values[seen].sum())) / unseen, _LEAST_VARIANCE)
    values = rest + np.maximum(values - rest - THRESHOLD * edge, 0.0)
    return np.asarray((vectors / values) @ vectors.T)


def discriminant(means: Values, inverse: Values) -> Linear:
    """Return linear discriminant functions with the same prior for all classes: a rare class may be recognised."""
    weights = means @ inverse
    return Linear(weights, -0.5 * (means * weights).sum(axis=1))


def _lengths(classes: ClassMoments) -> Values:
    """Return the lengths of the class sums without noise, estimated: noise adds its variance in every entry."""
    squares = (classes.sums**2).sum(axis=1) - classes.sums.shape[1] * classes.variance
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))
