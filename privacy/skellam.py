"""Skellam noise: integer, closed under sums, so that every party can add its share.

A Skellam(v) variable is the difference of two independent Poisson(v/2) variables; its variance is v. The
sum of independent shares of variances v_i is exactly Skellam(sum v_i), whoever drops out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes, uniforms

_SMALL = 10.0


def skellam_rdp(alpha: int, variance: float, l2: float, l1: float) -> float:
    """Renyi divergence bound of order `alpha` of one Skellam release.

    Source: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), Theorem 3.5: for integer alpha > 1,
    alpha L2^2 / (2 v) + min(((2 alpha - 1) L2^2 + 6 L1) / (4 v^2), 3 L1 / (2 v)).

    Guarantee: holds for integer vectors whose neighbours differ by at most l2 and l1; alpha below 2 is refused.
    """
    if alpha < 2:
        raise InvalidParameter(f"alpha={alpha}: the Skellam bound is proven for integers of at least 2")
    lead = alpha * l2 * l2 / (2.0 * variance)
    slack = min(((2 * alpha - 1) * l2 * l2 + 6.0 * l1) / (4.0 * variance**2), 3.0 * l1 / (2.0 * variance))
    return lead + slack


def rounded_sensitivity(l2: float, dimension: int) -> tuple[float, float]:
    """Return (L2, L1) bounds after unbiased stochastic rounding of a sum in which one example weighs `l2`.

    The client rounds its *sum*; with the rounding thresholds coupled, adding one example g changes the
    rounded sum by a stochastic rounding of g over the `dimension` entries that g touches, so surely by at
    most l2 + sqrt(dimension). For integer vectors L1 <= min(sqrt(dimension) L2, L2^2).
    """
    if l2 <= 0 or dimension < 1:
        raise InvalidParameter(f"l2={l2} and dimension={dimension} must be positive")
    rounded = l2 + math.sqrt(dimension)
    return rounded, min(math.sqrt(dimension) * rounded, rounded * rounded)


def skellam_tail(variance: float, bound: float) -> float:
    """Return an upper bound of P(|X| > bound) for X ~ Skellam(variance): Chernoff with the optimal exponent.

    log E exp(t X) = v (cosh t - 1), least at t = asinh(bound / v).
    """
    if variance <= 0.0:
        return 0.0
    t = math.asinh(bound / variance)
    return min(1.0, 2.0 * math.exp(variance * (math.cosh(t) - 1.0) - t * bound))


def skellam_bound(variance: float, entries: int, probability: float) -> int:
    """Return the smallest power-of-two-ish bound that one of `entries` variables exceeds with at most `probability`."""
    if variance <= 0.0 or entries == 0:
        return 0
    bound = math.sqrt(variance)
    while entries * skellam_tail(variance, bound) > probability:
        bound *= 1.05
    return math.ceil(bound)


def sample_poisson(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    """Return `count` Poisson(mean) variables, int64, from the caller's random bytes.

    Small means by inversion; others by transformed rejection (Hormann 1993, algorithm PTRS), in double precision.
    """
    if not 0.0 <= mean < 2.0**52:
        raise InvalidParameter(f"Poisson mean={mean} is outside [0, 2^52)")
    if mean == 0.0:
        return np.zeros(count, dtype=np.int64)
    return _inversion(mean, count, random) if mean < _SMALL else _transformed_rejection(mean, count, random)


def _inversion(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    u = uniforms(random, (count,))
    # 200 terms: for means below 10 the rest of the series is under 2^-53.
    terms = np.exp(np.arange(200) * math.log(mean) - mean - gammaln(np.arange(200) + 1.0))
    return np.searchsorted(np.cumsum(terms), u, side="right").astype(np.int64)


def _transformed_rejection(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    slam, loglam = math.sqrt(mean), math.log(mean)
    b = 0.931 + 2.53 * slam
    a = -0.059 + 0.02483 * b
    inv_alpha = 1.1239 + 1.1328 / (b - 3.4)
    vr = 0.9277 - 3.6224 / (b - 2.0)
    out = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        # 1.3: the rejection constant is about 1.1 to 1.2, so one pass nearly always suffices.
        n = int(1.3 * (count - filled)) + 16
        pair = uniforms(random, (2, n))
        u, v = pair[0] - 0.5, pair[1]
        us = 0.5 - np.abs(u)
        k = np.floor((2.0 * a / us + b) * u + mean + 0.43)
        quick = (us >= 0.07) & (v <= vr)
        possible = ~quick & (k >= 0) & ~((us < 0.013) & (v > us))
        left = np.log(v) + math.log(inv_alpha) - np.log(a / (us * us) + b)
        right = -mean + k * loglam - gammaln(np.maximum(k, 0.0) + 1.0)
        good = k[(quick | (possible & (left <= right))) & (k >= 0)][: count - filled]
        out[filled : filled + good.size] = good.astype(np.int64)
        filled += good.size
    return out


def sample_skellam(variance: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    """Return `count` Skellam variables of the given variance, int64; variance 0 gives zeros."""
    half = sample_poisson(variance / 2.0, 2 * count, random)
    return half[:count] - half[count:]
