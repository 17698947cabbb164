"""Audits of Gaussian privacy from one run, and of one mechanism from many runs.

Three statements are kept apart: `evaluation.LowerBound` (no (epsilon, delta) below it holds), `GaussianBound` (no mu
below it holds, if privacy is of the Gaussian form), and scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from attacks.errors import AuditInvalid
from attacks.games.judging import GuessCounts
from evaluation.evidence import LowerBound
from evaluation.intervals import clopper_pearson
from evaluation.roc import epsilon_lower_bound_from_scores, halves

_LARGEST_MU = 60.0


@dataclass(frozen=True, kw_only=True)
class GaussianBound:
    """At `confidence`, the mechanism is not mu-GDP for any mu below `mu` (Dong, Roth and Su 2019).

    It says nothing of mechanisms whose trade-off curve is not Gaussian: epsilon is that of a Gaussian mechanism with
    this mu, and no lower bound on the epsilon of anything else.

    Attributes:
        mu: the bound; 0 shows nothing.
        ceiling: largest mu that a faultless attack of this size would have shown.
        epsilon: at `delta`, of a Gaussian mechanism with `mu`.
    """

    mu: float
    ceiling: float
    epsilon: float
    delta: float
    confidence: float


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The epsilon of mu-GDP at delta (Dong, Roth and Su 2019, corollary 2.13); 0 for mu = 0, inf for mu = inf.

    Raises:
        AuditInvalid: mu is negative or NaN, or delta outside (0, 1).
    """
    if not mu >= 0.0 or not 0.0 < delta < 1.0:
        raise AuditInvalid(f"mu={mu} must be at least 0, delta={delta} inside (0, 1)")
    if math.isinf(mu):
        return math.inf

    def excess(epsilon: float) -> float:
        second = math.exp(epsilon + float(special.log_ndtr(-epsilon / mu - mu / 2)))
        return float(special.ndtr(-epsilon / mu + mu / 2)) - second - delta

    if mu == 0.0 or excess(0.0) <= 0.0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-10))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu of the Gaussian mechanism that is exactly (epsilon, delta)-DP; the inverse of `gaussian_epsilon`.

    Raises:
        AuditInvalid: epsilon is negative or not finite, or delta outside (0, 1).
    """
    if not 0.0 <= epsilon < math.inf:
        raise AuditInvalid(f"epsilon={epsilon} must be finite and at least 0")
    if epsilon > gaussian_epsilon(_LARGEST_MU, delta):
        raise AuditInvalid(f"epsilon={epsilon} belongs to a mu above {_LARGEST_MU}; it bounds nothing worth auditing")

    def gap(mu: float) -> float:
        return gaussian_epsilon(mu, delta) - epsilon

    return float(optimize.brentq(gap, 0.0, _LARGEST_MU, xtol=1e-10))


def refuted(least: Callable[[float], float], correct: int, guessed: int, *, candidates: int, alpha: float) -> bool:
    """Return whether so many correct guesses have probability below alpha for every mechanism of a trade-off curve.

    Mahloujifar et al. 2025 (arXiv 2410.22235), algorithm for two alternatives: r bounds the chance of exactly the next
    count being right, h of being wrong; each step back in the count relates them by the trade-off curve.

    Args:
        least: of a power in [0, 1], the least rate of false alarms that the curve lets a test of it have.
        correct, guessed, candidates: 0 <= correct <= guessed <= candidates, guessed at least 1.
        alpha: in (0, 1).
    """
    right = alpha * correct / candidates
    wrong = alpha * (guessed - correct) / candidates
    for count in range(correct - 1, -1, -1):
        bound = least(min(right, 1.0))
        if bound <= wrong:
            break
        right = min(right + count / (guessed - count) * (bound - wrong), 1.0)
        wrong = bound
    return right + wrong > guessed / candidates


def _refuted(mu: float, correct: int, guessed: int, candidates: int, alpha: float) -> bool:
    return refuted(
        lambda power: float(special.ndtr(special.ndtri(power) - mu)),
        correct, guessed, candidates=candidates, alpha=alpha,
    )  # fmt: skip


def gaussian_mu_lower(correct: int, guessed: int, *, candidates: int, confidence: float = 0.95) -> float:
    """Largest mu refuted by `correct` of `guessed` guesses on `candidates` fair coins of one run; 0 if none is.

    Raises:
        AuditInvalid: not 0 <= correct <= guessed <= candidates, or confidence outside (0, 1).
    """
    if not 0 <= correct <= guessed <= candidates or not 0.0 < confidence < 1.0:
        raise AuditInvalid(
            f"correct={correct}, guessed={guessed}, candidates={candidates} must not decrease, and "
            f"confidence={confidence} must lie inside (0, 1)"
        )
    alpha = 1.0 - confidence
    if guessed == 0 or not _refuted(0.0, correct, guessed, candidates, alpha):
        return 0.0
    low, high = 0.0, 1.0
    while high < _LARGEST_MU and _refuted(high, correct, guessed, candidates, alpha):
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _refuted(middle, correct, guessed, candidates, alpha) else (low, middle)
    return low


def gaussian_bound(counts: GuessCounts, delta: float, confidence: float = 0.95) -> GaussianBound:
    """Bound on mu from one run's guesses, the best of the numbers of guesses; a union bound pays for them.

    *Guarantee*: at `confidence`, for independent fair coins and mechanisms of Gaussian form. A mechanism that is
    (epsilon, delta)-DP only can exceed it (Steinke's bound, `GuessCounts.bound`, covers those).

    Raises:
        AuditInvalid: delta or confidence out of range.
    """
    level = 1.0 - (1.0 - confidence) / len(counts.guessed)
    found = [
        gaussian_mu_lower(right, made, candidates=counts.candidates, confidence=level)
        for right, made in zip(counts.correct, counts.guessed, strict=True)
    ]
    best = [gaussian_mu_lower(made, made, candidates=counts.candidates, confidence=level) for made in counts.guessed]
    return GaussianBound(
        mu=max(found),
        ceiling=max(best),
        epsilon=gaussian_epsilon(max(found), delta),
        delta=delta,
        confidence=confidence,
    )


@dataclass(frozen=True)
class TwoRunAudit:
    """Bounds from many independent runs of one mechanism, with the canary and without."""

    trials: int
    epsilon: LowerBound
    gaussian: GaussianBound


def two_run_audit(
    run: Callable[[bool, int], float], *, trials: int, delta: float, confidence: float = 0.95, seed: int = 0
) -> TwoRunAudit:
    """Runs a mechanism `trials` times with the canary and `trials` times without (Nasr et al. 2021, 2023).

    Args:
        run: (canary present, number of the run) -> the adversary's score. Every call must be an independent run.
        trials: runs of each kind, at least 20; half of them place the threshold.
        delta: in (0, 1).
        confidence: of both bounds.
        seed: public seed of the halves.

    *Guarantee*: at `confidence`, (epsilon, delta) for any mechanism, mu for those of Gaussian form; Clopper-Pearson on
    both error rates of the judged half.

    Raises:
        AuditInvalid: too few trials, or a score is NaN.
    """
    if trials < 20:
        raise AuditInvalid(f"trials={trials}; at least 20 runs of each kind are needed to say anything")
    scores = np.array([run(bool(number % 2), number) for number in range(2 * trials)])
    truth = np.arange(2 * trials) % 2 == 1
    if np.isnan(scores).any():
        raise AuditInvalid("the run's score is NaN; a score may be infinite, but it must be a number")
    epsilon = epsilon_lower_bound_from_scores(scores, truth, delta=delta, confidence=confidence, seed=seed)
    calibration, judged = halves(truth, seed)

    def mu_at(threshold: float, part: np.ndarray) -> float:
        found, accused = scores[part & truth] > threshold, scores[part & ~truth] > threshold
        miss = clopper_pearson(int((~found).sum()), len(found), confidence).high
        alarm = clopper_pearson(int(accused.sum()), len(accused), confidence).high
        return float(max(0.0, stats.norm.isf(alarm) - stats.norm.ppf(miss)))

    thresholds = np.unique(np.quantile(scores[calibration], np.linspace(0, 1, 101), method="lower"))
    best = max(thresholds.tolist(), key=lambda t: mu_at(t, calibration))
    mu, size = mu_at(best, judged), int((judged & truth).sum())
    limit = clopper_pearson(0, size, confidence).high
    ceiling = float(-2 * stats.norm.ppf(limit))
    return TwoRunAudit(
        trials,
        epsilon,
        GaussianBound(mu=mu, ceiling=ceiling, epsilon=gaussian_epsilon(mu, delta), delta=delta, confidence=confidence),
    )
