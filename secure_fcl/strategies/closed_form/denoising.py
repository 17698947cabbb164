"""A linear discriminant from noisy sums by what is publicly known of their noise: post-processing, free of charge.

It rests on two facts. Features have norm 1, so if all classes share one covariance W, the squared length of every class
mean is 1 - trace(W): one number ties lengths, counts and covariance together. And the noise is Gaussian-like with a
public variance, so its part in every square, and its largest eigenvalue, are known.

Wherever a number is mostly noise, what is usual takes its place: the length of means, the size of classes, the common
mean and what sets a class apart are each drawn to it by as much as their known noise demands (empirical Bayes, Efron
and Morris 1973). How the constants were chosen: docs/strategies-calm.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_fcl.strategies.closed_form.class_rows import ClassMoments, Linear, Values

LEAST_COUNT = 20.0
"""No class is taken to be smaller where noise is large: there it would be larger than the sum."""

THRESHOLD = 0.5
"""How much of the noise's largest eigenvalue is taken off every eigenvalue of the covariance."""

RIDGE = 0.1
"""How much of it is then added to every one: small eigenvalues are the least certain."""

SAMPLING_RIDGE = 0.3
"""The same for the accident of examples, in trace over examples, which is what chance alone puts into an eigenvalue."""

BIAS = 0.25
"""How much of the squared error of a mean is given back to its class's score; half would be right of a known W."""

USUAL_LENGTH = 0.7
"""Of class means, where counts tell nothing."""

_LENGTH_VARIANCE = 0.04  # of that
_LEAST_LENGTH = 0.05
_LENGTH_SPREAD = 0.03  # relative: how far the lengths of class means differ, about
_LEAST_VARIANCE = 1e-4  # of any direction; the shrinkage of streaming LDA (Hayes and Kanan 2020)
_SPREADS = np.geomspace(1e-6, 1.0, 61)  # candidates for the variance between class means


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassEstimates:
    """What is made of noisy class moments.

    length: of class means, common to all. counts (classes,): examples of a class, at least 1. means (classes, d).
    kept (classes,): how much of what sets a mean apart from the common one its noise leaves, 0..1. noise (classes,):
    variance of the noise in an entry of a mean before that.
    """

    length: float
    counts: Values
    means: Values
    kept: Values
    noise: Values


def estimated(classes: ClassMoments) -> ClassEstimates:
    """Return length, counts and means of noisy class moments."""
    length = mean_length(classes)
    counts = class_counts(classes, length)
    means, kept = class_means(classes, counts)
    return ClassEstimates(length=length, counts=counts, means=means, kept=kept, noise=classes.variance / counts**2)


def mean_length(classes: ClassMoments) -> float:
    """Return the common length of the class means: all lengths of sums over all counts, or the usual one for noise."""
    used = classes.released
    counted = max(float(classes.counts[used].sum()), LEAST_COUNT)
    found = min(1.0, max(_LEAST_LENGTH, float(_lengths(classes)[used].sum()) / counted))
    doubt = float((classes.count_variance + _length_variance(classes))[used].sum()) / counted**2
    return USUAL_LENGTH + _LENGTH_VARIANCE / (_LENGTH_VARIANCE + doubt) * (found - USUAL_LENGTH)


def class_counts(classes: ClassMoments, length: float) -> Values:
    """Return examples per class (classes,): noisy counts, and lengths of sums over `length`, by their precision.

    A length is a far better witness: its noise is that of one direction, that of the count is 1 / COUNT_WEIGHT larger.
    Both are drawn to the mean of all classes by as much as the noise of what they say explains how they differ.
    """
    used, by_length = classes.released, _lengths(classes) / length
    length_variance = _length_variance(classes) / length**2 + (_LENGTH_SPREAD * by_length) ** 2
    share = _ratio(length_variance, length_variance + classes.count_variance)
    found = share * classes.counts + (1.0 - share) * by_length
    if used.sum() > 1:
        doubt, some = (share * classes.count_variance)[used], found[used]
        common = max(float(some.mean()), LEAST_COUNT)
        spread = max(float(some.var(ddof=1)) - float(doubt.mean()), 0.0)
        found[used] = common + _ratio(spread, spread + doubt) * (some - common)
    least = np.minimum(LEAST_COUNT, 1.0 + 2.0 * np.sqrt(classes.variance))
    return np.asarray(np.maximum(found, least))


def class_means(classes: ClassMoments, counts: Values) -> tuple[Values, Values]:
    """Return the class means (classes, d), each drawn towards the common mean by as much as its noise demands.

    And how much of each is kept (classes,). The variance between classes is the likeliest one, of all together. A class
    of few examples has a mean that is mostly noise; a large class hardly moves. The common mean itself is drawn to 0.
    """
    used = classes.released
    means, noise = classes.sums / counts[:, None], classes.variance / counts**2
    if not used.any():
        return np.asarray(means), np.ones(len(means))
    # 1 / d is the mean square of a unit vector's entries: classes with less noise than that weigh about the same.
    weight = np.where(used, 1.0 / (noise + 1.0 / means.shape[1]), 0.0)
    weight /= weight.sum()
    common = weight @ means
    doubt, square = means.shape[1] * float(weight**2 @ noise), float(common @ common)
    common = common * (max(0.0, 1.0 - doubt / square) if square > 0.0 else 0.0)
    squares = ((means - common) ** 2).sum(axis=1)[used]
    total = _SPREADS[:, None] + noise[used]
    spread = _SPREADS[int(np.argmin((means.shape[1] * np.log(total) + squares / total).sum(axis=1)))]
    kept = spread / (spread + noise)
    return np.asarray(common + kept[:, None] * (means - common)), np.asarray(kept)


def covariance(scatter: Values, noise_edge: float, length: float) -> tuple[Values, Values, float]:
    """Return a covariance within classes from a noisy scatter of unit vectors: values (d,), vectors (d, d), trace.

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
    return values + RIDGE * edge + SAMPLING_RIDGE * size / trace, vectors, size


def discriminant(found: ClassEstimates, scatter: Values, noise_edge: float) -> Linear:
    """Return linear discriminant functions with the same prior for all classes: a rare class may be recognised.

    The error of a mean m, of its noise and of its few examples, makes m' P m too large by trace(P times its
    covariance), and so its class's score too small; a part of that is given back.
    """
    values, vectors, size = covariance(scatter, noise_edge, found.length)
    weights = found.means @ (vectors / values) @ vectors.T
    inside = size / max(float(np.trace(scatter)), LEAST_COUNT) * ((scatter @ vectors) * vectors).sum(axis=0)
    error = found.noise * float((1.0 / values).sum()) + max(0.0, float((inside / values).sum())) / found.counts
    return Linear(weights, BIAS * found.kept**2 * error - 0.5 * (found.means * weights).sum(axis=1))


def _lengths(classes: ClassMoments) -> Values:
    """Return the lengths of the class sums without noise, estimated: noise adds its variance in every entry."""
    squares = (classes.sums**2).sum(axis=1) - classes.sums.shape[1] * classes.variance
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _length_variance(classes: ClassMoments) -> Values:
    """Return the variance of `_lengths`: of one direction, and of the square of all others where a length is short."""
    v, d = classes.variance, classes.sums.shape[1]
    return np.asarray(v + d * v**2 / np.maximum(2.0 * _lengths(classes) ** 2 + np.sqrt(2.0 * d) * v, 1e-300))


def _ratio(part: Values | float, total: Values) -> Values:
    """Return part / total, 1 where both are 0."""
    return np.asarray(np.where(total > 0.0, part / np.where(total > 0.0, total, 1.0), 1.0))
