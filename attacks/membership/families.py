"""Membership scores from shadow models: one family that holds LiRA, RMIA's ratio and BaVarIA as settings.

A signal (log odds or log probability of the true label) of an example is modelled as normal, with one mean for models
that trained on it (IN) and one for models that did not (OUT); the score is the log likelihood ratio at the attacked
model's signal. LiRA, RMIA and BASE differ in how many of these parameters are estimated per example (Brannvall 2026,
arXiv 2603.11799). Here that is two numbers: how many pseudo-observations pull an example's own mean shift, and its own
variance, towards those of all examples (a normal-inverse-gamma prior).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.errors import ShadowsInvalid
from attacks.games.attack import FloatArray

Bools = NDArray[np.bool_]
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Family:
    """One member of the exponential family of scores.

    Attributes:
        name: for reports.
        signal: "log odds" (LiRA) or "log probability" (RMIA, BASE).
        mean_weight: pseudo-observations of the common IN-OUT shift; 0 trusts the example's own IN models alone,
            infinity takes the common shift for all.
        variance_weight: pseudo-observations of the common variance; 0 estimates per example, infinity is common.
        centre: OUT mean of the signals ("signal") or log of the mean probability ("probability", as RMIA).
        predictive: "normal", or "student": the posterior predictive under the prior.
        online: compare with IN models; otherwise how improbable the signal is among OUT models.
    """

    name: str
    signal: Literal["log odds", "log probability"] = "log odds"
    mean_weight: float = 1.0
    variance_weight: float = 4.0
    centre: Literal["signal", "probability"] = "signal"
    predictive: Literal["normal", "student"] = "normal"
    online: bool = True

    def __post_init__(self) -> None:
        if not (self.mean_weight >= 0 and self.variance_weight >= 0):
            raise ShadowsInvalid(f"weights {self.mean_weight}, {self.variance_weight} must be at least 0")
        if self.centre == "probability" and self.signal != "log probability":
            raise ShadowsInvalid("a mean of probabilities needs the signal 'log probability'")

    def offline(self) -> Family:
        """The same without IN models."""
        return replace(self, name=f"{self.name}, offline", online=False)


LIRA = Family(name="LiRA", mean_weight=0.0, variance_weight=0.0)
"""Carlini et al. 2022, algorithm 1: own means and own variances. Needs many shadows (64 and more)."""
LIRA_FIXED = Family(name="LiRA, common variance", mean_weight=0.0, variance_weight=math.inf)
"""Carlini et al. 2022, section VI.C: own means, one variance for all IN and one for all OUT signals."""
RATIO = Family(
    name="ratio", signal="log probability", mean_weight=math.inf, variance_weight=math.inf, centre="probability"
)
"""RMIA's core, the likelihood ratio against the mean OUT probability (Zarifzadeh et al. 2024; BASE1): an increasing
function of log p - log mean OUT p, as every parameter but the centre is common. `rmia_scores` compares with others."""
BAVARIA = Family(name="BaVarIA-n", mean_weight=1.0, variance_weight=4.0)
"""Stabilised variance, normal predictive (arXiv 2603.11799). The weights are this package's choice."""
BAVARIA_T = Family(name="BaVarIA-t", mean_weight=1.0, variance_weight=4.0, predictive="student")
"""As `BAVARIA`, with the Student-t predictive."""


def signals(losses: NDArray[Any], kind: str) -> FloatArray:
    """Cross-entropies as log odds or log probabilities of the true label, same shape.

    Raises:
        LossesInvalid: rounding has eaten the smallest of them (`losses.resolved`).
    """
    from attacks.membership.losses import log_odds, resolved

    values = resolved(losses)
    return log_odds(values) if kind == "log odds" else -values


@dataclass(frozen=True)
class _Side:
    mean: FloatArray
    scale: FloatArray
    degrees: FloatArray

    def log_density(self, value: FloatArray, predictive: str) -> FloatArray:
        z = (value - self.mean) / self.scale
        if predictive == "student":
            return np.asarray(stats.t.logpdf(z, self.degrees) - np.log(self.scale))
        return -0.5 * z**2 - np.log(self.scale)


def _moments(values: FloatArray, mask: Bools) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Counts, means (0 where nothing is) and sums of squares about them, by column."""
    count = mask.sum(axis=0).astype(np.float64)
    mean = np.where(mask, values, 0.0).sum(axis=0) / np.maximum(count, 1.0)
    squares = np.where(mask, (values - mean) ** 2, 0.0).sum(axis=0)
    return count, mean, squares


def _side(
    family: Family, count: FloatArray, mean: FloatArray, squares: FloatArray, prior: FloatArray, weight: float
) -> _Side:
    """Posterior of a normal-inverse-gamma prior whose variance is the mean square over all examples."""
    common = float(squares.sum() / max(float(np.maximum(count - 1, 0).sum()), 1.0)) + _TINY
    none = count == 0
    posterior = np.where(none, prior, mean)
    if math.isinf(weight):
        posterior = prior
    elif weight > 0:
        posterior = (count * mean + weight * prior) / (count + weight)
    nu, own = family.variance_weight, np.maximum(count - 1, 0.0)
    if math.isinf(nu):
        variance = np.full_like(mean, common)
    else:
        # With no weight and fewer than two models, there is no variance but the common one.
        known = nu + own > 0
        variance = np.where(known, (nu * common + squares) / np.where(known, nu + own, 1.0), common) + _TINY
    degrees = np.maximum(nu + own, 1.0)
    if family.predictive == "student":
        pseudo = count + (0.0 if math.isinf(weight) else weight)
        variance = variance * (1.0 + 1.0 / np.maximum(pseudo, 1.0))
    return _Side(posterior, np.sqrt(variance), degrees)


def log_mean_probability(logs: FloatArray, mask: Bools) -> FloatArray:
    """Log of the mean of exp(`logs`) over the rows in `mask`, (n,): as exact near 0 as far below it."""
    count = mask.sum(axis=0)
    top = np.where(mask, logs, -np.inf).max(axis=0)
    far = top + np.log(np.where(mask, np.exp(np.minimum(logs - top, 0.0)), 0.0).sum(axis=0) / count)
    # Of probabilities near 1 the complements are averaged: 1 - 1e-20 is 1 in float64, 1e-20 is not 0.
    missing = np.where(mask, -np.expm1(np.minimum(logs, 0.0)), 0.0).sum(axis=0) / count
    near = np.log1p(-np.minimum(missing, 0.5))
    return np.asarray(np.where(far > -0.5, near, far))


def family_scores(
    family: Family, observed: FloatArray, shadows: FloatArray, member: Bools, outside: Bools | None = None
) -> FloatArray:
    """Scores of the attacked model's signals against those of shadow models.

    Args:
        family: the setting.
        observed: (n,), signals of the attacked model.
        shadows: (S, n), signals of the shadow models.
        member: bool (S, n), whether a shadow model trained on the example.
        outside: bool (S, n), shadow models of the other kind; None takes all that are not members. A game that asks
            "kept or merely seen" leaves out the models that never saw the example.

    Returns:
        (n,), higher: rather a member. Online: log likelihood ratio. Offline: minus the log of the probability that an
        OUT model gives a signal at least as high. An example without IN models gets the common shift (online).

    Raises:
        ShadowsInvalid: shapes differ, values are not finite, an example has no OUT model, or (online) none has IN.
    """
    null = ~member if outside is None else outside & ~member
    _check(observed, shadows, null)
    if family.online and not member.any():
        raise ShadowsInvalid("no shadow model trained on any candidate; use the family's offline() form")
    count, mean, squares = _moments(shadows, null)
    if family.centre == "probability":
        mean = log_mean_probability(shadows, null)
    out = _side(family, count, mean, squares, mean, 0.0)
    if not family.online:
        z = (observed - out.mean) / out.scale
        tail = stats.t.logsf(z, out.degrees) if family.predictive == "student" else stats.norm.logsf(z)
        return -np.asarray(tail)
    inside, own, spread = _moments(shadows, member)
    some = inside > 0
    shift = float((inside * (own - mean))[some].sum() / inside.sum())
    within = _side(family, inside, own, spread, mean + shift, family.mean_weight)
    if math.isinf(family.mean_weight) and math.isinf(family.variance_weight):
        # All parameters common: with one variance for both sides the ratio is linear in the signal.
        within = replace(within, scale=out.scale)
    return within.log_density(observed, family.predictive) - out.log_density(observed, family.predictive)


def rmia_scores(
    observed: FloatArray,
    shadows: FloatArray,
    member: Bools,
    population: tuple[FloatArray, FloatArray],
    gamma: float = 1.0,
    offline: float | None = None,
) -> FloatArray:
    """Share of population examples whose likelihood ratio is at most 1/gamma times the candidate's (RMIA, eq. 10).

    The ratio of x is p(x | attacked model) / p(x). Online p(x) is the mean of its averages over IN and over OUT models,
    (in + out) / 2; offline IN models are left out and p(x) is ((1 + a) out + 1 - a) / 2 (Zarifzadeh et al. 2024,
    section 3.3 and appendix B.2.2): a model that trained on x is taken to be the surer the less sure the others are.

    Args:
        observed: (n,), log probabilities under the attacked model.
        shadows: (S, n), under the shadow models; `member` (S, n).
        population: log probabilities (z,) and (S, z) of examples that no game asks about and that neither the attacked
            model nor any shadow trained on. Candidates must not be among them: their truth would leak into the scores.
        gamma: at least 1.
        offline: a, in [0, 1]; None is online. The paper uses .3 (CIFAR-10) to .6; 1 is the plain average over OUT.

    Raises:
        ShadowsInvalid: shapes differ, values are not finite, an empty population, gamma below 1, or a outside [0, 1].
    """
    _check(observed, shadows, ~member)
    theirs, reference = population
    everyone = np.ones(reference.shape, dtype=bool)
    _check(theirs, reference, everyone)
    if not gamma >= 1.0 or not len(theirs):
        raise ShadowsInvalid(f"gamma={gamma} must be at least 1, and the population ({len(theirs)}) not empty")
    if offline is not None and not 0.0 <= offline <= 1.0:
        raise ShadowsInvalid(f"offline={offline} must lie in [0, 1], such as 0.3, or be None for the online ratio")
    out, z = log_mean_probability(shadows, ~member), log_mean_probability(reference, everyone)
    if offline is None:
        known = member.any(axis=0)
        inside = np.where(known, log_mean_probability(shadows, member | ~known), out)
        mean = log_mean_probability(np.stack([inside, out]), np.ones((2, len(out)), dtype=bool))
    else:
        # 1 - p shrinks by (1 + a) / 2, which keeps its precision where p is nearly 1.
        mean, z = (np.log1p((1 + offline) / 2 * np.expm1(np.minimum(logs, 0.0))) for logs in (out, z))
    ratio = observed - mean
    others = np.sort(theirs - z)
    return np.asarray(np.searchsorted(others, ratio - math.log(gamma), side="right") / len(others))


def _check(observed: FloatArray, shadows: FloatArray, null: Bools) -> None:
    fits = shadows.ndim == 2 and shadows.shape == null.shape and observed.shape == shadows.shape[1:]
    if not fits or not (np.isfinite(observed).all() and np.isfinite(shadows).all()):
        raise ShadowsInvalid(
            f"observed {observed.shape}, shadows {shadows.shape}, coins {null.shape}: (n,), (S, n), (S, n) of finite "
            "numbers are needed"
        )
    if not null.any(axis=0).all():
        raise ShadowsInvalid("an example was trained on by every shadow model; flip coins per model")
