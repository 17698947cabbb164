"""Renyi curves of every event of this package, sampled Skellam noise included, and what they certify."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.accountants import ORDERS, RdpAccountant
from privacy.errors import InvalidParameter
from privacy.events import Event
from privacy.sampled_skellam import SampledSkellam, sampled_skellam_curve

AnyEvent = Event | SampledSkellam


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
            total = total + count * sampled_skellam_curve(event, ORDERS) if count else total
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
