"""What a sample could have shown: the chance that a leak of a given size is found, and how many examples that takes.

A test that finds nothing says something only about leaks that it would have found. Both statistics of an audit have a
power here: the AUC (`rank_test.rank_p_value`) and the share of members found at a rate of false alarms
(`roc.tpr_at_fpr`). Numbers of examples are those of independent ones; with clusters give the numbers of clusters.

Sources: Hanley and McNeil 1982 (variance of an AUC); order statistics of the threshold, whose rate of false alarms is
Beta distributed (David and Nagaraja 2003, section 2.3), so that the hits of an adversary who knows nothing are
Beta-binomial; a ROC curve fpr^theta through the point that is asked about (Lehmann 1953).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from evaluation.errors import LevelError, SampleError
from evaluation.evidence import checked_confidence
from evaluation.intervals import Floats, model_variance

POWER = 0.95
"""Chance with which a leak must be found before "not found" says that there is none of that size."""

_NODES = 2000
_MOST = 10**9


def auc_power(area: float, members: int, nonmembers: int, *, level: float = 0.05) -> float:
    """Chance that the rank test finds an AUC of `area` at `level`, one-sided.

    Normal with the variance of no leak under the null and Hanley and McNeil's under the leak; 0 where even a perfect
    order of so few has a p-value above `level`.

    Raises:
        SampleError: a group is empty, or the area is outside [0.5, 1].
        LevelError: the level is outside (0, 1).
    """
    _check(members, nonmembers, level)
    if not 0.5 <= area <= 1.0:
        raise SampleError(f"area={area} must lie between 0.5 and 1")
    if -special.betaln(members + 1, nonmembers + 1) - math.log(members + nonmembers + 1) < -math.log(level):
        return 0.0
    null = math.sqrt((members + nonmembers + 1) / (12 * members * nonmembers))
    ahead = area - 0.5 + float(special.ndtri(level)) * null
    spread = math.sqrt(model_variance(area, members, nonmembers))
    if spread == 0.0:
        return float(ahead >= 0.0)
    return float(special.ndtr(ahead / spread))


def smallest_auc(members: int, nonmembers: int, *, level: float = 0.05, power: float = POWER) -> float | None:
    """Smallest AUC that would be found with chance `power` (`auc_power`); None if so few cannot show any.

    Raises:
        SampleError: a group is empty.
        LevelError: level or power is outside (0, 1).
    """
    _check(members, nonmembers, power)
    return _smallest(lambda area: auc_power(area, members, nonmembers, level=level), 0.5, power)


def tpr_power(tpr: float, fpr: float, members: int, nonmembers: int, *, confidence: float = 0.95) -> float:
    """Chance that `hits_p_value` tells a rate of `tpr` from `fpr`, which an adversary without knowledge reaches.

    Half of the non-members place the threshold and half of the members are judged, as in `roc.tpr_at_fpr`, and the
    level is that of the lower end of a two-sided interval. The test is randomised at its edge, which makes it the most
    powerful one on the number of hits: its power never falls with more members.

    Raises:
        SampleError: a group is empty, or not `fpr <= tpr <= 1`.
        LevelError: `fpr` or `confidence` is outside (0, 1).
    """
    from scipy import stats  # half a second that most callers never need

    _check(members, nonmembers, confidence)
    if not 0.0 < fpr < 1.0:
        raise LevelError(f"fpr={fpr} must lie strictly between 0 and 1")
    if not fpr <= tpr <= 1.0:
        raise SampleError(f"tpr={tpr} must lie between fpr={fpr} and 1")
    judged, placing = members // 2, nonmembers // 2
    if judged < 1 or fpr * nonmembers < 10 * (1 - 1e-12):
        return 0.0
    passed = math.floor(fpr * placing + 1e-9)
    level = (1.0 - checked_confidence(confidence)) / 2
    rates = special.betaincinv(passed + 1, placing - passed, (np.arange(_NODES) + 0.5) / _NODES)
    edge, share = _critical(judged, rates, level)
    found = rates ** (math.log(tpr) / math.log(fpr))
    return float(_more_than(edge, judged, found) + share * stats.binom.pmf(edge, judged, found).mean())


def hits_p_value(hits: int, judged: int, passed: int, placing: int) -> float:
    """Chance that so many of `judged` members lie above the threshold if the scores say nothing about membership.

    Exact for continuous scores of independent candidates, too large where scores tie.

    Args:
        hits: members above the threshold.
        judged: members that were compared with it.
        passed: non-members above it among those that placed it: it is the score of the next one.
        placing: non-members that placed it.

    Raises:
        SampleError: not `0 <= hits <= judged`, or not `0 <= passed < placing`.
    """
    from scipy import stats  # half a second that most callers never need

    if not (0 <= hits <= judged and 0 <= passed < placing):
        raise SampleError(f"hits={hits} of {judged}, passed={passed} of {placing}: counts do not fit together")
    return min(float(stats.betabinom.sf(hits - 1, judged, passed + 1, placing - passed)), 1.0)


def _more_than(hits: int, judged: int, rates: Floats) -> float:
    """Chance of more hits than that, the threshold's rate being one of `rates`, each as probable (Beta-binomial)."""
    return float(special.bdtrc(hits, judged, rates).mean()) if hits < judged else 0.0


def _critical(judged: int, rates: Floats, level: float) -> tuple[int, float]:
    """More hits than the first number reject always, as many with the second one as chance: together exactly `level`.

    By quadrature over the threshold's rate: sums of the Beta-binomial law would take minutes for a million members.
    """
    from scipy import stats  # half a second that most callers never need

    low, high = -1, judged
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _more_than(middle, judged, rates) <= level else (middle, high)
    chance = float(stats.binom.pmf(high, judged, rates).mean())
    return high, min(max((level - _more_than(high, judged, rates)) / chance, 0.0), 1.0) if chance > 0.0 else 0.0


def smallest_tpr(
    fpr: float, members: int, nonmembers: int, *, confidence: float = 0.95, power: float = POWER
) -> float | None:
    """Smallest rate of members found at `fpr` that would be told from `fpr` with chance `power`; None if none would.

    Raises:
        SampleError: a group is empty.
        LevelError: `fpr`, confidence or power is outside (0, 1).
    """
    _check(members, nonmembers, power)
    return _smallest(lambda tpr: tpr_power(tpr, fpr, members, nonmembers, confidence=confidence), fpr, power)


def examples_for_auc(
    area: float, members: int, nonmembers: int, *, level: float = 0.05, power: float = POWER
) -> tuple[int, int] | None:
    """How many members and non-members, in the ratio given, find an AUC of `area` with chance `power`.

    Never fewer than given. None if no number below 10^9 does (an area of 0.5).

    Raises:
        SampleError: a group is empty, or the area is outside [0.5, 1].
        LevelError: level or power is outside (0, 1).
    """
    _check(members, nonmembers, power)
    if area == 0.5:
        return None
    return _enough(lambda m, n: auc_power(area, m, n, level=level), members, nonmembers, power)


def examples_for_tpr(
    tpr: float, fpr: float, members: int, nonmembers: int, *, confidence: float = 0.95, power: float = POWER
) -> tuple[int, int] | None:
    """How many members and non-members, in the ratio given, tell `tpr` from `fpr` with chance `power` (`tpr_power`).

    Never fewer than given. None if no number below 10^9 does (a rate of `fpr` itself).

    Raises:
        SampleError: a group is empty, or not `fpr <= tpr <= 1`.
        LevelError: `fpr`, confidence or power is outside (0, 1).
    """
    _check(members, nonmembers, power)
    if tpr == fpr:
        return None
    return _enough(lambda m, n: tpr_power(tpr, fpr, m, n, confidence=confidence), members, nonmembers, power)


def _check(members: int, nonmembers: int, level: float) -> None:
    if members < 1 or nonmembers < 1:
        raise SampleError(f"members={members}, nonmembers={nonmembers}: a test needs one of each at least")
    if not 0.0 < level < 1.0:
        raise LevelError(f"level={level} must lie strictly between 0 and 1")


def _smallest(power_at: Callable[[float], float], low: float, power: float) -> float | None:
    high = 1.0
    if power_at(high) < power:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def _enough(
    power_at: Callable[[int, int], float], members: int, nonmembers: int, power: float
) -> tuple[int, int] | None:
    def sizes(factor: float) -> tuple[int, int]:
        return math.ceil(members * factor - 1e-9), math.ceil(nonmembers * factor - 1e-9)

    low, high = 1.0, 1.0
    while power_at(*sizes(high)) < power:
        low, high = high, high * 2
        if max(sizes(high)) > _MOST:
            return None
    while min(sizes(high)) - min(sizes(low)) > 1 and high / low > 1.001:
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(*sizes(middle)) >= power else (middle, high)
    return sizes(high)
