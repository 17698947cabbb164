"""An interval for the share of positives above a threshold that was itself estimated from negatives.

Two steps, two errors: where the threshold should have been, and how many positives lie above it. Each gets an interval
of its own, and they are added in squares (the MOVER of Zou and Donner 2008), which needs no density at the threshold.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from evaluation.evidence import Interval
from evaluation.intervals import Floats, Ints


def share_above_quantile(
    nulls: Floats, found: Floats, fpr: float, confidence: float, units: tuple[Ints, Ints] | None = None
) -> Interval:
    """Interval for the share of positives above the (1 - `fpr`) quantile of the negatives.

    The ranks of the negatives between which the quantile lies follow from the binomial distribution (order statistics),
    the share above a given threshold has a mid-P interval; counts of dependent candidates are divided by their design
    effect (Rao and Scott 1992).

    Args:
        nulls: negatives, shape (n,).
        found: positives, shape (m,).
        fpr: in (0, 1).
        confidence: in (0, 1).
        units: clusters of the negatives and of the positives; None: all are independent.
    """
    ordered, alpha = np.sort(nulls)[::-1], 1.0 - confidence

    def share(passed: float) -> float:
        """Positives above the threshold that so many negatives pass; a broken number interpolates."""
        whole = math.floor(passed)
        ends = [_above(found, ordered, count) for count in (whole, whole + 1)]
        return ends[0] + (passed - whole) * (ends[1] - ends[0])

    threshold = ordered[min(math.floor(fpr * nulls.size), nulls.size - 1)]
    size, level = _effective(nulls > threshold, None if units is None else units[0], alpha)
    scale = nulls.size / size
    early, middle, late = (
        share((_passed(size, fpr, chance) + 0.5) * scale - 0.5) for chance in (1 - level / 2, 0.5, level / 2)
    )
    trials, level = _effective(found > threshold, None if units is None else units[1], alpha)
    low, high = _mid_p(middle * trials, trials, level)
    return Interval(
        low=max(0.0, middle - math.hypot(middle - early, middle - low)),
        high=min(1.0, middle + math.hypot(late - middle, high - middle)),
        confidence=confidence,
    )


def _above(found: Floats, ordered: Floats, passed: int) -> float:
    if passed < 0:
        return 0.0
    return 1.0 if passed >= ordered.size else float((found > ordered[passed]).mean())


def _passed(size: float, fpr: float, chance: float) -> float:
    """Number j such that the threshold which j of `size` negatives pass has a rate of at most `fpr` with `chance`."""
    low, high = -1.0, size
    for _ in range(60):
        middle = (low + high) / 2
        # The rate of the threshold that j of n pass is Beta(j + 1, n - j).
        low, high = (middle, high) if special.betainc(middle + 1, size - middle, fpr) > chance else (low, middle)
    return low


def _mid_p(hits: float, trials: float, level: float) -> tuple[float, float]:
    """Clopper and Pearson's interval with half the weight of the observed count (Lancaster 1961), for broken counts."""

    def end(count: float) -> float:
        if count <= 0.0:
            return 0.0
        low, high = 0.0, 1.0
        for _ in range(50):
            middle, misses = (low + high) / 2, trials - count
            more = float(special.betainc(count + 1, misses, middle)) if misses > 1e-9 else 0.0
            tail = (float(special.betainc(count, misses + 1, middle)) + more) / 2
            low, high = (low, middle) if tail > level / 2 else (middle, high)
        return low

    return end(hits), 1.0 - end(trials - hits)


#: Clusters with a hit that count as much as the assumption that candidates of one cluster are all alike.
_PSEUDO_CLUSTERS = 1.0


def _effective(hit: NDArray[np.bool_], units: Ints | None, alpha: float) -> tuple[float, float]:
    """Number of independent candidates that tell as much about the share of hits, and alpha for so few clusters."""
    if units is None:
        return float(hit.size), alpha
    number = np.unique(units, return_inverse=True)[1]
    sizes = np.bincount(number)
    rate, clusters = float(hit.mean()), sizes.size
    alike = float((sizes.astype(np.float64) ** 2).sum()) / hit.size
    rare = np.bincount(number, weights=hit if rate < 0.5 else ~hit)
    known, effect = float((rare > 0).sum()), alike
    if known and clusters > 1:
        apart = np.bincount(number, weights=hit - rate)
        variance = clusters / (clusters - 1) * float((apart**2).sum()) / hit.size**2
        effect = variance * hit.size / (rate * (1 - rate))
    effect = (known * effect + _PSEUDO_CLUSTERS * alike) / (known + _PSEUDO_CLUSTERS)
    if alike > 1.0:
        # As many clusters as make the effective number tell the spread: Student's quantile at the normal's level.
        alpha = 2 * float(special.ndtr(special.stdtrit(max(clusters - 1, 1), alpha / 2)))
    return hit.size / max(effect, 1e-3), alpha
