"""Intervals for everything an audit counts: shares, AUCs, dependent samples, means over seeds.

Sources: Clopper and Pearson 1934; DeLong, DeLong and Clarke-Pearson 1988, computed with midranks as in Sun
and Xu 2014; Efron and Tibshirani 1993, chapter 13 (percentile interval); Field and Welsh 2007 (cluster
bootstrap); Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evaluation.errors import SampleError, TooFewSamples
from evaluation.evidence import Interval, Score, checked_confidence

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Exact two-sided interval for a binomial share; [0, 1] for no trials.

    *Guarantee*: covers the true share with at least `confidence`, if the trials are independent.

    Raises:
        SampleError: not `0 <= successes <= trials`.
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    if not 0 <= successes <= trials:
        raise SampleError(f"successes={successes} must lie between 0 and trials={trials}")
    low = float(special.betaincinv(successes, trials - successes + 1, alpha / 2)) if successes else 0.0
    high = float(special.betainccinv(successes + 1, trials - successes, alpha / 2)) if successes < trials else 1.0
    return Interval(low=low, high=high, confidence=confidence)


def split_by_truth(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Scores of the positives and of the negatives; infinite scores are allowed, they rank first or last.

    Raises:
        SampleError: shapes differ, a score is NaN, or a truth is not 0 or 1.
        TooFewSamples: one of the two groups is empty.
    """
    values, truths = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    if values.ndim != 1 or values.shape != truths.shape:
        raise SampleError(f"scores {values.shape} and truth {truths.shape} must be one-dimensional and of one length")
    if np.isnan(values).any():
        raise SampleError(f"{int(np.isnan(values).sum())} scores are NaN; an attack must score every candidate")
    if not np.isin(truths, (0, 1)).all():
        raise SampleError("truth must be boolean, or hold 0 and 1 only")
    members = truths.astype(bool)
    if members.all() or not members.any():
        raise TooFewSamples(f"{int(members.sum())} of {members.size} candidates are positive; both groups need one")
    return values[members], values[~members]


def midranks(values: Floats) -> Floats:
    """Ranks from 1, shape (n,); equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


@dataclass(frozen=True, eq=False)
class _Placements:
    """Per positive the share of negatives below it, per negative the share of positives above it."""

    positives: Floats
    negatives: Floats

    @property
    def auc(self) -> float:
        return float(self.positives.mean())


def _placements(positives: Floats, negatives: Floats) -> _Placements:
    m, n = positives.size, negatives.size
    ranks = midranks(np.concatenate([positives, negatives]))
    above = (ranks[:m] - midranks(positives)) / n
    below = 1.0 - (ranks[m:] - midranks(negatives)) / m
    return _Placements(above, below)


def _variance_of_mean(values: Floats) -> float:
    return float(values.var(ddof=1) / values.size) if values.size > 1 else math.nan


def delong_auc(scores: ArrayLike, truth: ArrayLike, confidence: float = 0.95) -> Score:
    """AUC (ties count one half) with DeLong's interval, clipped to [0, 1].

    At an AUC of exactly 0 or 1 DeLong's variance is zero and its interval a point. The interval returned
    there is Clopper-Pearson's for min(m, n) disjoint pairs of a positive and a negative, all ordered alike.
    With one positive or one negative the interval is NaN.

    Args:
        scores: shape (n,), higher means "positive"; infinities allowed.
        truth: shape (n,), boolean or 0 and 1.
        confidence: level of the interval, in (0, 1).

    *Guarantee*: asymptotic, for independent candidates; for dependent ones use `cluster_bootstrap`.

    Raises:
        SampleError: NaN scores, unequal shapes or an empty group.
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    positives, negatives = split_by_truth(scores, truth)
    placed = _placements(positives, negatives)
    total = positives.size + negatives.size
    if placed.auc in (0.0, 1.0):
        pairs = min(positives.size, negatives.size)
        exact = clopper_pearson(pairs if placed.auc == 1.0 else 0, pairs, confidence)
        return Score(value=placed.auc, low=exact.low, high=exact.high, confidence=confidence, n=total)
    error = math.sqrt(_variance_of_mean(placed.positives) + _variance_of_mean(placed.negatives))
    half = -float(special.ndtri(alpha / 2)) * error
    low, high = np.clip([placed.auc - half, placed.auc + half], 0.0, 1.0)
    return Score(value=placed.auc, low=float(low), high=float(high), confidence=confidence, n=total)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second, with an interval and the two-sided p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float
    confidence: float


def delong_difference(first: ArrayLike, second: ArrayLike, truth: ArrayLike, confidence: float = 0.95) -> Difference:
    """Paired difference of the AUCs of two scores of the *same* candidates (DeLong 1988, equation 7).

    Two scores that order every pair alike differ by exactly zero: interval [0, 0], p-value 1. With one
    positive or one negative the interval and the p-value are NaN.

    Raises:
        SampleError: NaN scores, unequal shapes or an empty group.
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    one = _placements(*split_by_truth(first, truth))
    two = _placements(*split_by_truth(second, truth))
    value = one.auc - two.auc
    error = math.sqrt(
        _variance_of_mean(one.positives - two.positives) + _variance_of_mean(one.negatives - two.negatives)
    )
    if error == 0.0:
        return Difference(
            value=value, low=value, high=value, p_value=1.0 if value == 0.0 else 0.0, confidence=confidence
        )
    half = -float(special.ndtri(alpha / 2)) * error
    return Difference(
        value=value,
        low=value - half,
        high=value + half,
        p_value=float(2 * special.ndtr(-abs(value) / error)),
        confidence=confidence,
    )


def cluster_bootstrap(
    statistic: Callable[[Ints], float],
    clusters: ArrayLike,
    seed: int,
    *,
    repeats: int = 1000,
    confidence: float = 0.95,
) -> Score:
    """Percentile interval of a statistic of dependent rows: whole clusters are drawn with replacement.

    Args:
        statistic: takes row numbers (shape (k,), with repetitions) and returns a number, NaN where it is
            undefined (for instance a draw without members); undefined draws are left out.
        clusters: cluster of each row, shape (n,); rows of one cluster may depend on each other, clusters
            may not.
        seed: of the public generator.
        repeats: number of draws, at least 100.
        confidence: level of the interval, in (0, 1).

    *Guarantee*: asymptotic in the number of clusters (`Score.n`); below about 20 it covers too little. It
    cannot be wider than what was seen: a statistic at its extreme in every draw gets a point.

    Raises:
        SampleError: fewer than 100 repeats.
        TooFewSamples: fewer than two clusters, or more than half of the draws undefined.
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    labels, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if labels.size < 2 or repeats < 100:
        few = SampleError if labels.size >= 2 else TooFewSamples
        raise few(f"{labels.size} clusters, repeats={repeats}: needs two clusters and 100 repeats at least")
    order = np.argsort(inverse, kind="stable").astype(np.intp)
    rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    random = np.random.default_rng(seed)
    draws = np.empty(repeats)
    for repeat in range(repeats):
        chosen = random.integers(labels.size, size=labels.size)
        draws[repeat] = statistic(np.concatenate([rows[cluster] for cluster in chosen]))
    defined = draws[~np.isnan(draws)]
    if defined.size * 2 < repeats:
        raise TooFewSamples(
            f"the statistic was undefined in {repeats - defined.size} of {repeats} draws; merge clusters"
        )
    low, high = np.quantile(defined, [alpha / 2, 1 - alpha / 2])
    return Score(
        value=float(statistic(np.arange(inverse.size))),
        low=float(low),
        high=float(high),
        confidence=confidence,
        n=int(labels.size),
    )


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's adjusted p-values, in the order given; reject where the adjusted value is at most alpha.

    *Guarantee*: the chance of any false rejection is at most alpha, whatever the dependence. Empty in,
    empty out.

    Raises:
        SampleError: a value is NaN or outside [0, 1].
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if not ((raw >= 0.0) & (raw <= 1.0)).all():
        raise SampleError(f"p-values {raw.tolist()} must all lie in [0, 1]")
    order = np.argsort(raw, kind="stable")
    scaled = raw[order] * np.arange(raw.size, 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if raw.size else scaled
    return adjusted


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Score:
    """Mean over independent seeds with Student's t interval; NaN values are left out.

    One value has no interval (NaN); no value has no mean either.

    *Guarantee*: exact for normal values; for few seeds a description rather than a proof.

    Raises:
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    known = np.asarray([value for value in values if not math.isnan(value)], dtype=np.float64)
    if known.size == 0:
        return Score(value=math.nan, low=math.nan, high=math.nan, confidence=confidence, n=0)
    mean = float(known.mean())
    if known.size == 1:
        return Score(value=mean, low=math.nan, high=math.nan, confidence=confidence, n=1)
    half = -float(special.stdtrit(known.size - 1, alpha / 2)) * math.sqrt(_variance_of_mean(known))
    return Score(value=mean, low=mean - half, high=mean + half, confidence=confidence, n=int(known.size))
