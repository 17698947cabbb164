"""How well scores tell members from non-members, and what epsilon that proves.

A published number is a `Score` or a `LowerBound`, never a bare float; `auc` alone is a plain statistic, for
use inside `cluster_bootstrap`. Thresholds are fixed on one half of the candidates and judged on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evaluation.errors import LevelError, SampleError, TooFewSamples
from evaluation.evidence import Estimate, LowerBound, Score, checked_confidence, checked_delta
from evaluation.intervals import clopper_pearson, midranks, split_by_truth
from evaluation.power import hits_p_value
from evaluation.two_steps import share_above_quantile

__all__ = [
    "Estimate",
    "LowerBound",
    "Score",
    "TprAtFpr",
    "auc",
    "epsilon_lower_bound",
    "epsilon_lower_bound_from_scores",
    "epsilon_lower_bound_one_run",
    "roc_curve",
    "tpr_at_fpr",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.

    Raises:
        SampleError: NaN scores, unequal shapes or an empty group.
    """
    positives, negatives = split_by_truth(scores, truth)
    ranks = midranks(np.concatenate([positives, negatives]))
    smallest = positives.size * (positives.size + 1) / 2
    return float((ranks[: positives.size].sum() - smallest) / (positives.size * negatives.size))


@dataclass(frozen=True, kw_only=True)
class TprAtFpr:
    """Share of members found at a fixed rate of false alarms.

    `value`, `low` and `high` are None exactly when `reason` says why the sample cannot support the number.
    `measured_fpr` is the rate of false alarms on the half that was judged: the threshold aims at `fpr`, it
    cannot promise it. `p_value` is that of "an adversary who knows nothing finds as many" (`power.hits_p_value`), None
    where candidates share clusters: that test needs independent ones.
    """

    fpr: float
    value: float | None
    low: float | None
    high: float | None
    confidence: float
    threshold: float | None
    measured_fpr: float | None
    reason: str | None
    p_value: float | None = None


def halves(truth: ArrayLike, seed: int, clusters: ArrayLike | None = None) -> tuple[Bools, Bools]:
    """Two disjoint random halves of the candidates, as masks; clusters stay whole, truths balanced.

    Without clusters each truth value is split evenly. The split follows the public `seed`.
    """
    members = np.asarray(truth).astype(bool)
    units = np.arange(members.size) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    random = np.random.default_rng(seed)
    share = np.bincount(units, weights=members) / np.bincount(units)
    order = np.lexsort((random.random(share.size), share))
    # Of each pair of neighbours in this order one goes to either half, so both halves see the same mix.
    first = np.zeros(share.size, dtype=bool)
    pairs = order[: share.size // 2 * 2].reshape(-1, 2)
    first[pairs[np.arange(len(pairs)), random.integers(2, size=len(pairs))]] = True
    mask = first[units]
    return mask, ~mask


def tpr_at_fpr(
    scores: ArrayLike,
    truth: ArrayLike,
    fpr: float,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> TprAtFpr:
    """Members found at false positive rate `fpr`: threshold from one half, share from the other.

    Fewer than 10 / `fpr` non-members cannot place the threshold: the answer is then no number but the reason. The
    interval is about the share of members found at a rate of exactly `fpr`, and covers both errors: that of the
    threshold and that of the share (`two_steps.share_above_quantile`), among clusters where candidates share them.

    *Guarantee*: asymptotic; measured from 50 non-members on the half that places the threshold, and 20 members.

    Raises:
        LevelError: `fpr` or `confidence` is outside (0, 1).
        SampleError: NaN scores, unequal shapes or an empty group.
    """
    checked_confidence(confidence)
    if not 0.0 < fpr < 1.0:
        raise LevelError(f"fpr={fpr} must lie strictly between 0 and 1")
    _, negatives = split_by_truth(scores, truth)

    if fpr * negatives.size < 10 * (1 - 1e-12):
        return _refused(
            fpr, confidence, f"{negatives.size} non-members; a rate of {fpr:g} needs at least {math.ceil(10 / fpr)}"
        )
    values, members = np.asarray(scores, dtype=np.float64), np.asarray(truth).astype(bool)
    calibration, judged = halves(members, seed, clusters)
    nulls, found = values[calibration & ~members], values[judged & members]
    if not nulls.size or not found.size:
        return _refused(fpr, confidence, "one half of the candidates lacks members or non-members; use more clusters")
    passed = math.floor(fpr * nulls.size + 1e-9)
    threshold = float(np.sort(nulls)[::-1][passed])
    hits = int((found > threshold).sum())
    units = None
    if clusters is not None:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.intp)
        units = labels[calibration & ~members], labels[judged & members]
    interval = share_above_quantile(nulls, found, fpr, confidence, units)
    alarms = values[judged & ~members]
    measured = float((alarms > threshold).mean()) if alarms.size else None
    return TprAtFpr(
        fpr=fpr,
        value=hits / found.size,
        low=min(interval.low, hits / found.size),
        high=max(interval.high, hits / found.size),
        confidence=confidence,
        threshold=threshold,
        measured_fpr=measured,
        reason=None,
        p_value=hits_p_value(hits, found.size, passed, nulls.size) if clusters is None else None,
    )


def roc_curve(scores: ArrayLike, truth: ArrayLike, points: int = 200) -> tuple[tuple[float, float], ...]:
    """Points (false positive rate, true positive rate) from (0, 0) to (1, 1), for a figure.

    Every step of the curve if there are at most `points`; otherwise those nearest to rates of false alarms on a
    logarithmic scale, where an audit looks. Candidates of one score step together.

    Raises:
        SampleError: NaN scores, unequal shapes or an empty group.
    """
    positives, negatives = split_by_truth(scores, truth)
    order = np.argsort(-np.concatenate([positives, negatives]), kind="stable")
    ranked = np.concatenate([positives, negatives])[order]
    hit = (order < positives.size).astype(np.float64)
    last = np.append(ranked[1:] != ranked[:-1], True)
    found, alarms = np.cumsum(hit)[last] / positives.size, np.cumsum(1 - hit)[last] / negatives.size
    if found.size > points:
        wanted = np.geomspace(1 / negatives.size, 1.0, points)
        places = np.searchsorted(alarms, wanted, side="right") - 1
        kept = np.unique(np.append(np.searchsorted(alarms, 0.0, side="right") - 1, places).clip(min=0))
        found, alarms = found[kept], alarms[kept]
    return ((0.0, 0.0), *zip(alarms.tolist(), found.tolist(), strict=True))


def _refused(fpr: float, confidence: float, reason: str) -> TprAtFpr:
    nothing = dict.fromkeys(("value", "low", "high", "threshold", "measured_fpr"))
    return TprAtFpr(fpr=fpr, confidence=confidence, reason=reason, **nothing)


def _bound(tp: int, fp: int, members: int, nonmembers: int, delta: float, confidence: float) -> float:
    # Upper ends of two-sided intervals spend alpha/2 each, so both rates hold together at `confidence`.
    fpr = clopper_pearson(fp, nonmembers, confidence).high
    fnr = clopper_pearson(members - tp, members, confidence).high
    ratios = [(1 - delta - fpr) / fnr, (1 - delta - fnr) / fpr]
    return max([0.0, *(math.log(ratio) for ratio in ratios if ratio > 0.0)])


def epsilon_lower_bound(
    tp: int, fp: int, *, n_members: int, n_nonmembers: int, delta: float, confidence: float = 0.95
) -> LowerBound:
    """Epsilon shown by a test that finds `tp` of `n_members` and accuses `fp` of `n_nonmembers`.

    Any (epsilon, delta)-DP mechanism has (Kairouz et al. 2015) fpr + e^epsilon fnr >= 1 - delta and the
    same with the rates exchanged; the rates are replaced by their Clopper-Pearson upper limits (Jagielski
    et al. 2020; Nasr et al. 2021), alpha/2 each.

    *Guarantee*: at `confidence`, if the trials are independent (one training run or one independent
    mechanism output each) and the threshold was fixed on other data. Candidates of one training run
    influence each other's outcome: for them use `epsilon_lower_bound_one_run`.

    Raises:
        SampleError: a count is negative or above its total, or a group is empty.
        LevelError: `delta` is outside [0, 1) or `confidence` outside (0, 1).
    """
    checked_confidence(confidence)
    checked_delta(delta)
    if n_members < 1 or n_nonmembers < 1:
        raise SampleError(f"n_members={n_members}, n_nonmembers={n_nonmembers}; both need at least one trial")
    value = _bound(tp, fp, n_members, n_nonmembers, delta, confidence)
    ceiling = _bound(n_members, 0, n_members, n_nonmembers, delta, confidence)
    return LowerBound(
        value=value, ceiling=ceiling, confidence=confidence, delta=delta, method="Clopper-Pearson on both error rates"
    )


def epsilon_lower_bound_from_scores(
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    delta: float,
    confidence: float = 0.95,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> LowerBound:
    """`epsilon_lower_bound` with the threshold that looks best on one half, counted on the other.

    The ceiling is that of the judged half. Same guarantee and same conditions.

    Raises:
        SampleError: NaN scores or unequal shapes.
        TooFewSamples: a half without members or non-members.
        LevelError: `delta` is outside [0, 1) or `confidence` outside (0, 1).
    """
    split_by_truth(scores, truth)
    values, members = np.asarray(scores, dtype=np.float64), np.asarray(truth).astype(bool)
    calibration, judged = halves(members, seed, clusters)
    inside, outside = values[calibration & members], values[calibration & ~members]
    found, accused = values[judged & members], values[judged & ~members]
    if not (inside.size and outside.size and found.size and accused.size):
        raise TooFewSamples("one half of the candidates lacks members or non-members; use more candidates or clusters")
    thresholds = np.unique(np.quantile(values[calibration], np.linspace(0, 1, 101), method="lower"))
    bounds = [
        _bound(int((inside > t).sum()), int((outside > t).sum()), inside.size, outside.size, delta, confidence)
        for t in thresholds
    ]
    best = thresholds[int(np.argmax(bounds))]
    return epsilon_lower_bound(
        int((found > best).sum()),
        int((accused > best).sum()),
        n_members=found.size,
        n_nonmembers=accused.size,
        delta=delta,
        confidence=confidence,
    )


def _one_run_p_value(correct: int, guesses: int, candidates: int, epsilon: float, delta: float) -> float:
    accuracy = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(special.bdtrc(correct - 1, guesses, accuracy)) if correct else 1.0
    if delta == 0.0 or correct == 0:
        return min(tail, 1.0)
    # Chance of correct - i .. correct - 1 right guesses, per i: the worst slope of delta's contribution.
    counts = np.arange(correct - 1, -1, -1)
    logs = special.gammaln(guesses + 1) - special.gammaln(counts + 1) - special.gammaln(guesses - counts + 1)
    logs += counts * math.log(accuracy) + (guesses - counts) * (-epsilon + math.log(accuracy))
    slope = float((np.cumsum(np.exp(logs)) / np.arange(1, correct + 1)).max())
    return min(tail + slope * delta * 2 * candidates, 1.0)


def _largest_rejected(correct: int, guesses: int, candidates: int, delta: float, alpha: float) -> float:
    def rejected(epsilon: float) -> bool:
        return _one_run_p_value(correct, guesses, candidates, epsilon, delta) < alpha

    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, high + 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def epsilon_lower_bound_one_run(
    correct: int, guesses: int, *, candidates: int, delta: float, confidence: float = 0.95
) -> LowerBound:
    """Epsilon shown by `correct` of `guesses` about many candidates of *one* training run.

    Steinke et al. 2023 (arXiv 2305.08846), corollary 5.4 and appendix D.

    Each of `candidates` examples was included by its own fair coin; the adversary may abstain on some
    (`guesses` <= `candidates`). Which examples to guess on must not depend on the coins. No guesses show
    nothing: 0.

    *Guarantee*: at `confidence`, for fair independent coins only; with another rate it does not apply.

    Raises:
        SampleError: not `0 <= correct <= guesses <= candidates`.
        LevelError: `delta` is outside [0, 1) or `confidence` outside (0, 1).
    """
    alpha = 1.0 - checked_confidence(confidence)
    checked_delta(delta)
    if not 0 <= correct <= guesses <= candidates:
        raise SampleError(f"correct={correct}, guesses={guesses}, candidates={candidates} must not decrease")
    value = _largest_rejected(correct, guesses, candidates, delta, alpha)
    ceiling = _largest_rejected(guesses, guesses, candidates, delta, alpha)
    return LowerBound(
        value=value, ceiling=ceiling, confidence=confidence, delta=delta, method="one training run, fair coins"
    )
