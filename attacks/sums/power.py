"""What an attack on a sum comes to: mu of its power curve, beside the ledger's and that of the noise really there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from attacks.errors import GameInvalid
from evaluation.evidence import Score
from evaluation.intervals import delong_auc

Floats = NDArray[np.float64]


def composed(mus: Sequence[float]) -> float:
    """Mu of several Gaussian mechanisms on the same example together (Dong, Roth and Su 2022, corollary 3.3)."""
    return math.sqrt(math.fsum(mu * mu for mu in mus))


def auc_of_mu(mu: float) -> float:
    """AUC of the best test of N(0, 1) against N(mu, 1): Phi(mu / sqrt 2)."""
    return float(special.ndtr(mu / math.sqrt(2.0)))


def mu_of_auc(area: float) -> float:
    """Mu of two unit normals that an AUC belongs to; the inverse of `auc_of_mu`, infinite at 0 and 1."""
    return math.sqrt(2.0) * float(special.ndtri(area))


def power_at(mu: float, fpr: float) -> float:
    """Share of members found at a rate of false alarms: one minus the trade-off curve of mu-GDP."""
    return float(special.ndtr(special.ndtri(fpr) + mu))


@dataclass(frozen=True, kw_only=True)
class ShiftGame:
    """A game on two normals that differ by a shift: AUC and mu with intervals, and points of its power curve.

    Attributes:
        trials: independent worlds; each gives one score with the example in and one without.
        auc: with its interval, over worlds.
        mu: of the AUC, with the interval's ends; infinite where scores do not overlap.
        curve: (false alarms, members found).
    """

    trials: int
    auc: Score
    mu: float
    mu_low: float
    mu_high: float
    curve: tuple[tuple[float, float], ...]


_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)


def shift_game(outside: Floats, inside: Floats, known_law: bool = True, confidence: float = 0.95) -> ShiftGame:
    """Judge scores in pairs of one world each: an example in and out of one world share all noise.

    Sums are additive, so that leaving an example out is a subtraction; worlds are the clusters of the intervals.

    Args:
        outside: (W,) scores of worlds without the example.
        inside: (W,) of the same worlds with it.
        known_law: whether scores are N(0, 1) without the example: the curve's thresholds are then that law's quantiles,
            fixed beforehand, and its first numbers measured false alarms. Otherwise quantiles of `outside`.
        confidence: of the intervals.

    Raises:
        GameInvalid: lengths differ, or fewer than two worlds.
    """
    if outside.shape != inside.shape or outside.ndim != 1 or len(outside) < 2:
        raise GameInvalid(f"scores {outside.shape} and {inside.shape}: give one of each for two worlds at least")
    worlds = len(outside)
    truth, cluster = np.repeat((False, True), worlds), np.tile(np.arange(worlds), 2)
    area = delong_auc(np.concatenate([outside, inside]), truth, confidence, cluster)
    limits = [float(stats.norm.isf(rate) if known_law else np.quantile(outside, 1.0 - rate)) for rate in _RATES]
    curve = tuple((float((outside > limit).mean()), float((inside > limit).mean())) for limit in limits)
    return ShiftGame(
        trials=worlds, auc=area, mu=mu_of_auc(area.value), mu_low=mu_of_auc(area.low), mu_high=mu_of_auc(area.high),
        curve=curve,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NoiseFound:
    """The noise of a release as it is, beside what was charged.

    Attributes:
        entries: independent draws of it.
        ratio: its standard deviation over the declared one; `low` and `high` at `confidence`.
    """

    entries: int
    ratio: float
    low: float
    high: float
    confidence: float

    def mu(self, declared: float) -> tuple[float, float, float]:
        """Mu under this noise and its interval, where `declared` is that under the declared noise."""
        return declared / self.ratio, declared / self.high, declared / self.low


def noise_found(noise: Floats, confidence: float = 0.95) -> NoiseFound:
    """Measure whitened noise (D,), which is N(0, 1) where it is as declared: chi-square interval of its deviation.

    This tests a declared family, the same mechanism with another amount of noise; what it says of mu is conditional on
    that family.

    Raises:
        GameInvalid: no entry.
    """
    if not noise.size:
        raise GameInvalid("no entry of noise was given; a deviation needs one at least")
    squares, half = float((noise**2).sum()), (1.0 - confidence) / 2.0
    low, high = (squares / float(stats.chi2.isf(tail, noise.size)) for tail in (half, 1.0 - half))
    return NoiseFound(
        entries=noise.size, ratio=math.sqrt(squares / noise.size), low=math.sqrt(low), high=math.sqrt(high),
        confidence=confidence,
    )  # fmt: skip
