"""What a Renyi curve certifies, and what any bound does that holds but for a small probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from privacy.errors import InvalidParameter
from privacy.events import Event, SampledSkellam


def total_failure(events: Mapping[Event, int]) -> float:
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
    if failure == 0.0 and all(c == 0.0 for _, c in pairs):
        return 0.0
    from dp_accounting.rdp import rdp_privacy_accountant as rdp

    usable, bounds = [a for a, _ in pairs], [c for _, c in pairs]
    return but_for(failure, delta, lambda left: float(rdp.compute_epsilon(usable, bounds, left)[0]))


def but_for(failure: float, delta: float, epsilon_of: Callable[[float], float]) -> float:
    """Return the epsilon at `delta` of what `epsilon_of` bounds but for a probability of `failure`; inf if none is.

    `epsilon_of` gives the epsilon at a delta that it is asked for. Proof of what is taken off: with the coins coupled,
    let M' be the mechanism with the example M, but as without it (N) from the first failure on. Then M and M' differ by
    `failure` in total variation, so H(M || N) <= H(M' || N) + failure and H(N || M) <= H(N || M') + e^epsilon failure
    at the order e^epsilon.
    """
    epsilon = epsilon_of(delta)
    while failure > 0.0:
        # Tried at a slightly larger epsilon, so that the loop ends at a value that its own delta certifies.
        tried = epsilon * (1.0 + 1e-9) + 1e-12
        left = delta - math.exp(min(tried, 700.0)) * failure
        if left <= 0.0:
            return math.inf
        epsilon = epsilon_of(left)
        if epsilon <= tried:
            return tried
    return epsilon
