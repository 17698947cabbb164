"""Intervals for everything an audit counts: shares, AUCs, dependent samples, means over seeds.

Sources: Clopper and Pearson 1934; DeLong, DeLong and Clarke-Pearson 1988, computed with midranks as in Sun
and Xu 2014; Obuchowski 1997 (clusters); Hanley and McNeil 1982 and Newcombe 2006 (AUCs near 0 and 1); Efron and
Tibshirani 1993, chapter 13 (percentile interval); Field and Welsh 2007 (cluster bootstrap); Holm 1979.
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


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Variance of a mean of placements, Welch's degrees of freedom, and the units it rests on."""

    variance: float
    degrees: float
    positives: int
    negatives: int


def _units(truth: ArrayLike, clusters: ArrayLike | None) -> tuple[Ints, Ints]:
    """Cluster of each positive and of each negative, numbered together; without clusters each is its own.

    Raises:
        SampleError: the clusters have another length.
        TooFewSamples: the positives or the negatives lie in fewer than two of them.
    """
    members = np.asarray(truth).astype(bool)
    labels = np.arange(members.size) if clusters is None else np.asarray(clusters)
    if labels.shape != members.shape:
        raise SampleError(f"clusters {labels.shape} and truth {members.shape} must be of one length")
    own, other = np.unique(labels[members]).size, np.unique(labels[~members]).size
    if min(own, other) < 2:
        what = "candidates" if clusters is None else "clusters"
        raise TooFewSamples(
            f"{own} {what} with positives and {other} with negatives show no spread; an interval needs two of each: "
            "give more of them, or take `roc.auc` alone"
        )
    numbers = np.unique(labels, return_inverse=True)[1].astype(np.intp)
    return numbers[members], numbers[~members]


def _spread(above: Floats, below: Floats, units: tuple[Ints, Ints]) -> _Spread:
    """Obuchowski 1997, section 2: placements are summed within clusters; without shared ones this is DeLong's."""
    m, n, count = above.size, below.size, int(max(units[0].max(), units[1].max())) + 1
    own = np.bincount(units[0], weights=above - above.mean(), minlength=count)
    other = np.bincount(units[1], weights=below - below.mean(), minlength=count)
    k, l = np.unique(units[0]).size, np.unique(units[1]).size  # noqa: E741
    first = k / (k - 1) * float((own**2).sum()) / m**2
    second = l / (l - 1) * float((other**2).sum()) / n**2
    both = 2 * count / (count - 1) * float((own * other).sum()) / (m * n)
    scale = first**2 / (k - 1) + second**2 / (l - 1)
    degrees = (first + second) ** 2 / scale if scale > 0.0 else min(k, l) - 1.0
    # Where the same clusters hold positives and negatives, there are no more of them than there are.
    degrees = max(min(degrees, count - 1.0), 1.0)
    return _Spread(variance=max(first + second + both, 0.0), degrees=degrees, positives=k, negatives=l)


def model_variance(area: float, m: int, n: int) -> float:
    """Variance of an AUC of m and n exponential scores (Hanley and McNeil 1982; made symmetric: Newcombe 2006)."""
    size = (m + n) / 2 - 1
    return area * (1 - area) * (1 + size * (1 - area) / (2 - area) + size * area / (1 + area)) / (m * n)


#: Number of placements off the extreme that count as much as the model's variance. With 3 simulated coverage stayed
#: above .93 for AUCs up to .98 (tests/evaluation/test_coverage.py); more makes intervals longer.
_PSEUDO_PLACEMENTS = 3.0


def _informative(placements: Floats, units: Ints) -> float:
    """Effective number of clusters whose placements are off the extreme: (sum)^2 / sum of squares."""
    off = np.bincount(units, weights=1 - placements if placements.mean() > 0.5 else placements)
    squares = float((off**2).sum())
    return float(off.sum()) ** 2 / squares if squares > 0.0 else 0.0


def delong_auc(
    scores: ArrayLike, truth: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> Score:
    """AUC (ties count one half) with an interval that stays inside [0, 1].

    All areas A are in it from which the measured one is at most t standard errors away. The error at A follows Hanley
    and McNeil's shape, scaled so that at the measured area it is DeLong's (with clusters: Obuchowski's); t has Welch's
    degrees of freedom. Near 0 and 1 few placements are off the extreme and DeLong's variance is mostly too small, on
    the logit scale as well (20 against 430 at an area of .98: 86 % covered): there the model's variance takes its
    place by degrees. At exactly 0 or 1 the interval is Clopper-Pearson's for disjoint pairs of a positive and a
    negative (of clusters), all ordered alike.

    Args:
        scores: shape (n,), higher means "positive"; infinities allowed.
        truth: shape (n,), boolean or 0 and 1.
        confidence: level of the interval, in (0, 1).
        clusters: shape (n,), candidates of one cluster may depend on each other; None: all are independent.

    *Guarantee*: asymptotic in the number of clusters; measured at 4 against 6 and more.

    Raises:
        SampleError: NaN scores, unequal shapes, an empty group, or positives or negatives of fewer than two clusters.
        LevelError: `confidence` is outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    positives, negatives = split_by_truth(scores, truth)
    placed, units = _placements(positives, negatives), _units(truth, clusters)
    total, area = positives.size + negatives.size, placed.auc
    spread = _spread(placed.positives, placed.negatives, units)
    if area in (0.0, 1.0):
        pairs = min(spread.positives, spread.negatives)
        exact = clopper_pearson(pairs if area == 1.0 else 0, pairs, confidence)
        return Score(value=area, low=exact.low, high=exact.high, confidence=confidence, n=total)
    known = min(_informative(placed.positives, units[0]), _informative(placed.negatives, units[1]))
    model = model_variance(area, positives.size, negatives.size)
    if clusters is not None:
        # What clusters take from the precision is told better than the precision itself.
        alone = _spread(placed.positives, placed.negatives, _units(truth, None)).variance
        model *= max(spread.variance / alone, 1.0) if alone > 0.0 else 1.0
    variance = (known * spread.variance + _PSEUDO_PLACEMENTS * model) / (known + _PSEUDO_PLACEMENTS)
    ratio = variance / model_variance(area, positives.size, negatives.size)
    quantile = -float(special.stdtrit(spread.degrees, alpha / 2))

    def covers(other: float) -> bool:
        error = math.sqrt(ratio * model_variance(other, positives.size, negatives.size))
        return abs(area - other) <= quantile * error

    low, high = _farthest(area, 0.0, covers), _farthest(area, 1.0, covers)
    return Score(value=area, low=low, high=high, confidence=confidence, n=total)


def _farthest(inside: float, outside: float, covers: Callable[[float], bool]) -> float:
    """The point between them at which `covers` ends, by bisection."""
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if covers(middle) else (inside, middle)
    return inside


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second, with an interval and the two-sided p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float
    confidence: float


def delong_difference(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Difference:
    """Paired difference of the AUCs of two scores of the *same* candidates.

    The intervals of both areas (`delong_auc`) are added in squares, less what their correlation takes (DeLong 1988,
    equation 7; Obuchowski 1997; combined as by Zou and Donner 2008), so that areas near 1 get no interval that is too
    short. The p-value is Student's with Welch's degrees of freedom. Two scores that rank all candidates alike differ
    by exactly zero: interval [0, 0], p-value 1.

    Raises:
        SampleError: as `delong_auc`.
        LevelError: `confidence` is outside (0, 1).
    """
    one, two = (delong_auc(scores, truth, confidence, clusters) for scores in (first, second))
    value = one.value - two.value
    if np.array_equal(midranks(np.asarray(first, dtype=np.float64)), midranks(np.asarray(second, dtype=np.float64))):
        return Difference(value=0.0, low=0.0, high=0.0, p_value=1.0, confidence=confidence)
    a, b = (_placements(*split_by_truth(scores, truth)) for scores in (first, second))
    units = _units(truth, clusters)
    spread = _spread(a.positives - b.positives, a.negatives - b.negatives, units)
    own = [_spread(placed.positives, placed.negatives, units).variance for placed in (a, b)]
    scale = math.sqrt(own[0] * own[1])
    alike = min(max((own[0] + own[1] - spread.variance) / (2 * scale), -1.0), 1.0) if scale > 0.0 else 0.0
    # Few units look more alike than they are.
    alike *= spread.degrees / (spread.degrees + 1)

    def reach(mine: float, along: float, against: float) -> float:
        # As far as the areas err together, the second one's error is on the same side as the first one's.
        if alike < 0.0:
            return math.sqrt(mine**2 + against**2 - 2 * alike * mine * against)
        return math.sqrt(alike * (mine - along) ** 2 + (1 - alike) * (mine**2 + against**2))

    error = math.sqrt(spread.variance)
    chance = 2 * float(special.stdtr(spread.degrees, -abs(value) / error)) if error > 0.0 else float(value == 0.0)
    return Difference(
        value=value,
        low=value - reach(one.value - one.low, two.value - two.low, two.high - two.value),
        high=value + reach(one.high - one.value, two.high - two.value, two.value - two.low),
        p_value=chance,
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
