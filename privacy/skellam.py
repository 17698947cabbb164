"""Skellam noise: integer, closed under sums, so that every party can add its share.

A Skellam(v) variable is the difference of two independent Poisson(v/2) variables; its variance is v. The
sum of independent shares of variances v_i is exactly Skellam(sum v_i), whoever drops out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py

from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes, uniforms

_SMALL = 10.0
_EXACT = 2.0**50
_LARGEST_MEAN = 2.0**56
_PIECE = 2**18


def skellam_rdp(alpha: int, variance: float, l2: float, l1: float) -> float:
    """Renyi divergence bound of order `alpha` of one Skellam release.

    Source: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), Theorem 3.5: for integer alpha > 1,
    alpha L2^2 / (2 v) + min(((2 alpha - 1) L2^2 + 6 L1) / (4 v^2), 3 L1 / (2 v)).

    *Guarantee*: holds for integer vectors whose neighbours differ by at most l2 and l1.

    Raises:
        InvalidParameter: alpha is not an integer of at least 2, or the variance is not positive.
    """
    if alpha < 2 or alpha != int(alpha):
        raise InvalidParameter(f"alpha={alpha}: the Skellam bound is proven for integers of at least 2")
    if not variance > 0.0:
        raise InvalidParameter(f"variance={variance} must be positive; without noise there is no bound")
    lead = alpha * l2 * l2 / (2.0 * variance)
    slack = min(((2 * alpha - 1) * l2 * l2 + 6.0 * l1) / (4.0 * variance * variance), 3.0 * l1 / (2.0 * variance))
    return lead + slack


def rounded_sensitivity(l2: float, dimension: int) -> tuple[float, float]:
    """Return (L2, L1) bounds after unbiased stochastic rounding of a sum in which one example weighs `l2`.

    The client rounds its *sum*. With the rounding thresholds u coupled, an entry s becomes ceil(s - u), so adding
    one example g changes the rounded sum by a stochastic rounding of g over the `dimension` entries that g touches:
    surely by at most l2 + sqrt(dimension). Clipping the sum entry by entry beforehand only shrinks the change of
    each entry, so the bound stays. For integer vectors L1 <= min(sqrt(dimension) L2, L2^2).

    Raises:
        InvalidParameter: l2 is not positive and finite, or dimension is below 1.
    """
    if not (l2 > 0 and math.isfinite(l2)) or dimension < 1:
        raise InvalidParameter(f"l2={l2} and dimension={dimension} must be positive and finite")
    rounded = l2 + math.sqrt(dimension)
    return rounded, min(math.sqrt(dimension) * rounded, rounded * rounded)


def skellam_tail(variance: float, bound: float) -> float:
    """Return an upper bound of P(|X| > bound) for X ~ Skellam(variance): Chernoff with the optimal exponent.

    log E exp(t X) = v (cosh t - 1), least at t = asinh(bound / v). Variance 0 never exceeds a bound of at least 0;
    a negative bound is always exceeded (1).
    """
    if bound < 0.0:
        return 1.0
    if variance <= 0.0:
        return 0.0
    t = math.asinh(bound / variance)
    # cosh t - 1 = 2 sinh(t/2)^2: the difference itself cancels to 0 for large variances and would hide the tail.
    return min(1.0, 2.0 * math.exp(2.0 * variance * math.sinh(t / 2.0) ** 2 - t * bound))


def skellam_bound(variance: float, entries: int, probability: float) -> int:
    """Return a bound that some |entry| of `entries` variables exceeds with at most `probability`.

    At most 5 % and one above the least bound that `skellam_tail` and the union bound give; 0 for no noise or no entry.

    Raises:
        InvalidParameter: probability is not positive, or variance is negative or not finite.
    """
    if not probability > 0.0:
        raise InvalidParameter(f"probability={probability} must be positive; no finite bound is never exceeded")
    if not 0.0 <= variance < math.inf:
        raise InvalidParameter(f"variance={variance} must be finite and at least 0")
    if variance == 0.0 or entries == 0:
        return 0
    bound = math.sqrt(variance)
    while entries * skellam_tail(variance, bound) > probability:
        bound *= 1.05
    return math.ceil(bound)


def skellam_norm_bound(variance: float, entries: int, probability: float) -> int:
    """Return a bound that the Euclidean norm of `entries` independent variables exceeds with at most `probability`.

    Bernstein's inequality for their squares, cut at the square of a bound that some entry exceeds with half the
    probability; the fourth moment is 3 v^2 + v. Never above that bound times sqrt(entries); 0 for no noise or no entry.

    Raises:
        InvalidParameter: as `skellam_bound`.
    """
    largest = float(skellam_bound(variance, entries, probability / 2.0)) ** 2
    if largest == 0.0:
        return 0
    nats = math.log(2.0 / probability)
    slope = nats * largest / 3.0
    beyond = slope + math.sqrt(slope**2 + 2.0 * nats * entries * (3.0 * variance**2 + variance))
    return math.ceil(math.sqrt(min(entries * variance + beyond, entries * largest)))


def sample_poisson(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    """Return `count` Poisson(mean) variables, int64 (count,), from the caller's random bytes; mean 0 gives zeros.

    Small means by inversion, others by transformed rejection (Hormann 1993, algorithm PTRS), in double precision;
    from 2^50 on, where a double no longer resolves the steps of that, as a sum of smaller ones.

    Raises:
        InvalidParameter: the mean is negative, NaN, or 2^56 and more.
    """
    if not 0.0 <= mean < _LARGEST_MEAN:
        raise InvalidParameter(f"Poisson mean={mean} is outside [0, 2^56); lower the noise or the scale")
    if mean == 0.0:
        return np.zeros(count, dtype=np.int64)
    if mean >= _EXACT:
        parts = math.ceil(2.0 * mean / _EXACT)
        total = np.zeros(count, dtype=np.int64)
        for _ in range(parts):
            total += sample_poisson(mean / parts, count, random)
        return total
    return _inversion(mean, count, random) if mean < _SMALL else _transformed_rejection(mean, count, random)


def _inversion(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    u = uniforms(random, (count,))
    # 200 terms: for means below 10 the rest of the series is under 2^-53.
    terms = np.exp(np.arange(200) * math.log(mean) - mean - gammaln(np.arange(200) + 1.0))
    below = np.cumsum(terms)
    # Divided by its end: rounding may leave the sum just under 1, and a u above it would become 200.
    return np.searchsorted(below / below[-1], u, side="right").astype(np.int64)


def log_poisson(k: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Return log P(X = k) of X ~ Poisson(mean) for k >= 0, to about 1e-7 absolutely for every mean below 2^50.

    The plain k log(mean) - mean - log k! cancels terms of the size of the mean (off by 16 at 2^50); the deviance form
    (Loader 2000, "Fast and accurate computation of binomial probabilities") does not.
    """
    x = (k - mean) / mean
    safe = np.maximum(k, 20.0)
    stirling = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * safe**2)) / safe**2) / safe
    large = -mean * (xlog1py(1.0 + x, x) - x) - 0.5 * np.log(2.0 * math.pi * safe) - stirling
    small = k * math.log(mean) - mean - gammaln(k + 1.0)
    return np.asarray(np.where(k < 20.0, small, large), dtype=np.float64)


def _transformed_rejection(mean: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    b = 0.931 + 2.53 * math.sqrt(mean)
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
        accepted = (us >= 0.07) & (v <= vr)
        # Logarithms only where the quick test did not decide: one candidate in six or so.
        open_ = np.flatnonzero(~accepted & (k >= 0) & ~((us < 0.013) & (v > us)))
        left = np.log(v[open_]) + math.log(inv_alpha) - np.log(a / us[open_] ** 2 + b)
        accepted[open_] = left <= log_poisson(k[open_], mean)
        good = k[accepted & (k >= 0)][: count - filled]
        out[filled : filled + good.size] = good.astype(np.int64)
        filled += good.size
    return out


def sample_skellam(variance: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    """Return `count` Skellam variables of the given variance, int64 (count,); variance 0 gives zeros.

    Raises:
        InvalidParameter: the variance is negative, NaN, or 2^57 and more.
    """
    if count > _PIECE:
        # Sampling takes some twenty times the memory of what it returns.
        sizes = [min(_PIECE, count - first) for first in range(0, count, _PIECE)]
        whole, filled = np.empty(count, dtype=np.int64), 0
        for size in sizes:
            whole[filled : filled + size] = sample_skellam(variance, size, random)
            filled += size
        return whole
    half = sample_poisson(variance / 2.0, 2 * count, random)
    return half[:count] - half[count:]
