"""What Skellam noise on a Poisson sample costs: the general Poisson subsampling theorem, and rounded sensitivities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from privacy.errors import InvalidParameter
from privacy.events import SampledSkellam
from privacy.skellam import skellam_rdp

_UNIT = 2.0**-53


def poisson_sampled_rdp(q: float, order: int, base: Callable[[int], float]) -> float:
    """Return the Renyi bound at an integer `order` of a mechanism run on a Poisson sample of rate `q`.

    Source: Steinke 2022 (arXiv 2210.00597), theorem on Poisson subsampling: with base(k) the mechanism's own bound at
    k, exp((a - 1) eps(a)) = (1 - q)^(a-1) (1 + (a - 1) q) + sum over k = 2..a of
    C(a, k) (1 - q)^(a-k) q^k exp((k - 1) base(k)). With a Gaussian base this is the sampled Gaussian mechanism of
    Mironov et al. 2019 exactly.

    *Guarantee*: holds for adding and for removing an example if `base` holds for both; q = 0 gives 0, q = 1
    base(order).

    Raises:
        InvalidParameter: q is outside [0, 1] or order is not an integer of at least 2.
    """
    if order < 2 or order != int(order):
        raise InvalidParameter(f"order={order}: the subsampling theorem is used at integers of at least 2")
    return float(sampled_curve(q, [base(k) for k in range(2, int(order) + 1)], [int(order)])[0])


def sampled_curve(q: float, base: Sequence[float] | NDArray[np.float64], orders: Sequence[int]) -> NDArray[np.float64]:
    """Return `poisson_sampled_rdp` at each of `orders`; base[k - 2] is the bound at k, up to the largest order.

    *Guarantee*: each value is raised by a bound of its round-off, so that a tiny rate does not cost 0: a term's
    logarithm is off by at most 4 roundings of the numbers it is summed from, and weighs by its share of the sum.
    """
    if not 0.0 <= q <= 1.0:
        raise InvalidParameter(f"sampling rate q={q} is outside [0, 1]; give a public probability")
    if q == 0.0:
        return np.zeros(len(orders))
    if q == 1.0:
        return np.array([base[a - 2] * (1.0 + 8.0 * _UNIT) for a in orders])
    k = np.arange(2, max(orders, default=1) + 1)
    moments = (k - 1) * np.asarray(base) + k * math.log(q)
    sizes = (k - 1) * np.asarray(base) - k * math.log(q)
    factorials = gammaln(np.arange(max(orders, default=1) + 1) + 1.0)
    stay = math.log1p(-q)
    out = []
    for a in orders:
        choose = factorials[a] - factorials[2 : a + 1] - factorials[a - 2 :: -1]
        terms = choose + (a - k[: a - 1]) * stay + moments[: a - 1]
        first = (a - 1) * stay + math.log1p((a - 1) * q)
        top = max(first, float(terms.max()))
        weights = np.exp(terms - top)
        total = math.exp(first - top) + float(weights.sum())
        size = factorials[a] + factorials[2 : a + 1] + factorials[a - 2 :: -1] - (a - k[: a - 1]) * stay
        off = math.exp(first - top) * (a - 1) * -stay + float(weights @ (size + sizes[: a - 1]))
        error = _UNIT * (4.0 * off / total + a + 16.0)
        # The value is at least 1; rounding may leave its logarithm just below 0.
        out.append((max(0.0, top + math.log(total)) + error) / (a - 1))
    return np.array(out)


def sampled_skellam_curve(event: SampledSkellam, orders: Sequence[float]) -> NDArray[np.float64]:
    """Return the Renyi bound of one event at every one of `orders`, all above 1; inf at those that are no integers.

    The bound is proven at integers alone; `RdpAccountant.curve` fills the orders between them.
    """
    integers = [int(a) for a in orders if float(a).is_integer()]
    base = [skellam_rdp(k, event.variance, event.l2, event.l1) for k in range(2, max(integers, default=1) + 1)]
    curve = np.full(len(orders), math.inf)
    curve[[float(a).is_integer() for a in orders]] = sampled_curve(event.q, base, integers)
    return curve


def high_probability_sensitivity(l2: float, dimension: int, failure: float) -> tuple[float, float]:
    """Return (L2, L1) bounds of one example in a rounded sum that hold but for probability `failure`.

    Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), section on randomised rounding, without its
    rejection: sqrt(c^2 + d/4 + sqrt(2 ln(1/failure)) (c + sqrt(d)/2)); never above the sure bound c + sqrt(d), which
    failure = 0 returns. Rejection rounding is not assumed: a client rounds its sum, and rejecting that bounds nothing.

    Raises:
        InvalidParameter: l2 is not positive and finite, dimension below 1, or failure outside [0, 1).
    """
    if not (l2 > 0 and math.isfinite(l2)) or dimension < 1 or not 0.0 <= failure < 1.0:
        raise InvalidParameter(
            f"l2={l2} must be positive and finite, dimension={dimension} at least 1, failure={failure} in [0, 1)"
        )
    root = math.sqrt(dimension)
    rounded = l2 + root
    if failure > 0.0:
        spread = math.sqrt(2.0 * math.log(1.0 / failure)) * (l2 + root / 2.0)
        rounded = min(rounded, math.sqrt(l2 * l2 + dimension / 4.0 + spread))
    return rounded, min(root * rounded, rounded * rounded)
