"""Exact epsilons of a few mechanisms, in closed form or by a sum."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import norm, skellam


def exact_gaussian(mu: float, delta: float) -> float:
    """Return the exact epsilon of a Gaussian mechanism of sensitivity over noise `mu` (Balle and Wang 2018)."""

    def excess(epsilon: float) -> float:
        # As a ratio of the two: their difference would cancel beside a tiny delta.
        with_it, without = log_ndtr(mu / 2 - epsilon / mu), log_ndtr(-mu / 2 - epsilon / mu)
        return float(-np.exp(with_it) * np.expm1(min(0.0, epsilon + without - with_it))) - delta

    return _root(excess)


def exact_sampled_gaussian(q: float, sigma: float, delta: float) -> float:
    """Return what one Poisson-sampled Gaussian step spends on removing an example, exactly.

    The log ratio of q N(1, sigma^2) + (1 - q) N(0, sigma^2) to N(0, sigma^2) rises with the outcome, so the worst set
    is a half-line. For q in (0, 1] adding an example spends no more.
    """

    def excess(epsilon: float) -> float:
        edge = sigma**2 * math.log1p(math.expm1(epsilon) / q) + 0.5
        with_it = q * norm.sf((edge - 1.0) / sigma) + (1.0 - q) * norm.sf(edge / sigma)
        return float(with_it - math.exp(epsilon) * norm.sf(edge / sigma)) - delta

    return _root(excess)


def exact_skellam_bit(variance: float, delta: float) -> float:
    """Return the exact epsilon of one bit plus Skellam noise of the given variance."""
    reach = int(40 * math.sqrt(variance) + 40)
    k = np.arange(-reach, reach + 1)
    shifted, plain = skellam.pmf(k - 1, variance / 2, variance / 2), skellam.pmf(k, variance / 2, variance / 2)

    def excess(epsilon: float) -> float:
        return float(np.maximum(shifted - math.exp(epsilon) * plain, 0.0).sum()) - delta

    return _root(excess)


def _root(excess: Callable[[float], float]) -> float:
    return 0.0 if excess(0.0) <= 0.0 else float(brentq(excess, 0.0, 500.0, xtol=1e-10))
