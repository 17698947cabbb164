"""Skellam noise on a Poisson sample: an event of its own, charged by the general Poisson subsampling theorem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from privacy.accountants import ORDERS, RdpAccountant
from privacy.errors import InvalidParameter
from privacy.events import Event
from privacy.skellam import skellam_rdp


@dataclass(frozen=True, order=True)
class SampledSkellam:
    """One Skellam release of a rounded sum over a Poisson sample of rate `q`.

    `variance` is per entry, what the guaranteed honest parties add. `l2` and `l1` bound what one sampled example
    changes in the rounded integers, but for a probability of at most `failure` over the rounding's own coins (0 where
    the bound is sure). Neighbours differ by one example added or removed.

    Raises:
        InvalidParameter: q is outside [0, 1], failure outside [0, 1), or another number is not positive and finite.
    """

    q: float
    variance: float
    l2: float
    l1: float
    failure: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.q <= 1.0:
            raise InvalidParameter(f"sampling rate q={self.q} is outside [0, 1]; give a public probability")
        if not 0.0 <= self.failure < 1.0:
            raise InvalidParameter(f"failure={self.failure} is outside [0, 1); it is a probability per release")
        for name in ("variance", "l2", "l1"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise InvalidParameter(f"SampledSkellam {name}={value} must be positive and finite")


AnyEvent = Event | SampledSkellam


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
    return float(_sampled_curve(q, [base(k) for k in range(2, int(order) + 1)], [int(order)])[0])


def _sampled_curve(q: float, base: Sequence[float], orders: Sequence[int]) -> NDArray[np.float64]:
    """Return the bound at each of `orders`; base[k - 2] is the bound at k, up to the largest order."""
    if not 0.0 <= q <= 1.0:
        raise InvalidParameter(f"sampling rate q={q} is outside [0, 1]; give a public probability")
    if q == 0.0:
        return np.zeros(len(orders))
    if q == 1.0:
        return np.array([base[a - 2] for a in orders])
    k = np.arange(2, max(orders) + 1)
    moments = (k - 1) * np.asarray(base)
    out = []
    for a in orders:
        top = k[: a - 1]
        choose = gammaln(a + 1) - gammaln(top + 1) - gammaln(a - top + 1)
        terms = choose + (a - top) * math.log1p(-q) + top * math.log(q) + moments[: a - 1]
        first = (a - 1) * math.log1p(-q) + math.log1p((a - 1) * q)
        # The value is at least 1; rounding may leave its logarithm just below 0.
        out.append(max(0.0, float(logsumexp(np.append(terms, first)))) / (a - 1))
    return np.array(out)


@lru_cache(maxsize=1024)
def sampled_skellam_curve(event: SampledSkellam) -> NDArray[np.float64]:
    """Return the Renyi bound of one event at every order of `privacy.accountants.ORDERS`; read-only.

    Proven at integers. At a fractional order it is the bound of the next integer, since a Renyi divergence does not
    fall with its order (van Erven and Harremoes 2014, Theorem 3).
    """
    integers = [int(a) for a in ORDERS if float(a).is_integer()]
    base = [skellam_rdp(k, event.variance, event.l2, event.l1) for k in range(2, max(integers) + 1)]
    known: dict[float, float] = dict(
        zip(map(float, integers), _sampled_curve(event.q, base, integers).tolist(), strict=True)
    )
    curve = np.array([known.get(a, math.inf) for a in ORDERS])
    curve = np.minimum.accumulate(curve[::-1])[::-1].copy()
    curve.setflags(write=False)
    return curve


def rdp_curve(events: Mapping[AnyEvent, int]) -> NDArray[np.float64]:
    """Return the summed Renyi bound at every order of `ORDERS`; no events give zeros.

    Raises:
        InvalidParameter: a count is negative.
    """
    total = np.zeros(len(ORDERS))
    others: dict[Event, int] = {}
    for event, count in events.items():
        if count < 0:
            raise InvalidParameter(f"count={count} of {event} must be at least 0")
        if isinstance(event, SampledSkellam):
            # inf * 0 would be NaN.
            total = total + count * sampled_skellam_curve(event) if count else total
        else:
            others[event] = count
    return np.asarray(total + RdpAccountant().curve(others), dtype=np.float64)


def total_failure(events: Mapping[AnyEvent, int]) -> float:
    """Return a bound of the probability that some release exceeded its sensitivity (union over all of them).

    An example that is not sampled rounds nothing, so a release sampled at q fails with probability q * failure.
    """
    return math.fsum(n * e.q * e.failure for e, n in events.items() if isinstance(e, SampledSkellam))


def epsilon_at(orders: Sequence[float], curve: Sequence[float], delta: float, failure: float = 0.0) -> float:
    """Return the least epsilon that a Renyi curve certifies at `delta`; an empty or infinite curve gives inf.

    Conversion of Canonne, Kamath and Steinke 2020, Proposition 12, by dp-accounting. `failure` is the probability
    that the curve does not hold: with the example's rounding coins coupled, removing it costs `failure` on top of
    delta and adding it exp(epsilon) * failure, so the larger is taken off delta first.

    Raises:
        InvalidParameter: delta is outside (0, 1).
    """
    if not 0.0 < delta < 1.0:
        raise InvalidParameter(f"delta={delta} is outside (0, 1); 1e-5 is usual")
    pairs = [(a, c) for a, c in zip(orders, curve, strict=True) if math.isfinite(c)]
    if not pairs:
        return math.inf
    if all(c == 0.0 for _, c in pairs):
        return 0.0
    from dp_accounting.rdp import rdp_privacy_accountant as rdp

    usable, bounds = [a for a, _ in pairs], [c for _, c in pairs]
    epsilon = float(rdp.compute_epsilon(usable, bounds, delta)[0])
    while failure > 0.0:
        # Tried at a slightly larger epsilon, so that the loop ends at a value that its own delta certifies.
        tried = epsilon * (1.0 + 1e-9) + 1e-12
        left = delta - math.exp(min(tried, 700.0)) * failure
        if left <= 0.0:
            return math.inf
        epsilon = float(rdp.compute_epsilon(usable, bounds, left)[0])
        if epsilon <= tried:
            return tried
    return epsilon


def rdp_epsilon(events: Mapping[AnyEvent, int], delta: float) -> float:
    """Return epsilon by RDP of any events of this package, sampled Skellam included; 0 for no events.

    Raises:
        InvalidParameter: delta is outside (0, 1) or a count is negative.
    """
    return epsilon_at(ORDERS, rdp_curve(events).tolist(), delta, total_failure(events))


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
