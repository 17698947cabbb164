"""Accountants turn a multiset of events into epsilon; both stand on `dp_accounting`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.events import Event, NonPrivate, SampledGaussian, SkellamRelease
from privacy.skellam import skellam_rdp

#: Fractional orders serve large epsilons (few, since their series is slow); large integers serve small ones (a grid
#: that ends at 63 cannot certify less than about 0.1 at delta 1e-5).
FRACTIONAL_ORDERS: tuple[float, ...] = (1.25, 1.5, 1.75, 2.25, 2.5, 2.75, 3.25, 3.5, 3.75, 4.25, 4.5, 4.75, 5.5, 6.5)
INTEGER_ORDERS: tuple[float, ...] = (
    *map(float, range(2, 65)),
    *(float(round(64 * 2 ** (k / 8))) for k in range(1, 49)),
)
ORDERS: tuple[float, ...] = tuple(sorted(set(FRACTIONAL_ORDERS) | set(INTEGER_ORDERS)))


class Accountant(Protocol):
    """Interprets events. `events` maps each event to how often it happened; order does not matter."""

    @property
    def name(self) -> str:
        """Short name printed beside every epsilon."""

    def supports(self, event: Event) -> bool:
        """Whether the cost of this event is known to this accountant."""

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """Smallest epsilon this accountant certifies at `delta`; 0 for no events, inf for a NonPrivate one.

        Raises:
            UnsupportedEvent: an event it cannot interpret.
            InvalidParameter: delta outside (0, 1) or a negative count.
        """


def _checked(accountant: Accountant, events: Mapping[Event, int], delta: float) -> dict[Event, int]:
    if not 0.0 < delta < 1.0:
        raise InvalidParameter(f"delta={delta} is outside (0, 1); 1e-5 is usual")
    for event, count in events.items():
        if count < 0:
            raise InvalidParameter(f"count={count} of {event} is negative")
        if not accountant.supports(event):
            raise UnsupportedEvent(f"{accountant.name} does not know the cost of {event}; use another accountant")
    return {event: count for event, count in events.items() if count > 0 and not _is_free(event)}


def _is_free(event: Event) -> bool:
    return isinstance(event, SampledGaussian) and event.q == 0.0


@contextmanager
def _quiet_absl() -> Iterator[None]:
    # dp_accounting warns once per order whose series does not converge; such an order is inf, that is: left out.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@lru_cache(maxsize=4096)
def _rdp_curve(event: Event) -> NDArray[np.float64]:
    """Renyi divergence of one event at every order of `ORDERS` (inf where no bound is known)."""
    match event:
        case SampledGaussian(q=q, noise_multiplier=sigma):
            from dp_accounting import dp_event
            from dp_accounting.rdp import rdp_privacy_accountant as rdp

            accountant = rdp.RdpAccountant(list(ORDERS))
            with _quiet_absl():
                accountant.compose(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)))
            return np.asarray(accountant.rdp, dtype=np.float64)
        case SkellamRelease(variance=variance, l2=l2, l1=l1):
            return np.array([skellam_rdp(int(a), variance, l2, l1) if a.is_integer() else math.inf for a in ORDERS])
        case NonPrivate():
            return np.full(len(ORDERS), math.inf)


class RdpAccountant:
    """Renyi accountant (Mironov 2017; conversion of Canonne, Kamath and Steinke 2020, Proposition 12)."""

    name = "RDP"

    def supports(self, event: Event) -> bool:
        """Every event of this version is supported."""
        return isinstance(event, SampledGaussian | SkellamRelease | NonPrivate)

    def curve(self, events: Mapping[Event, int]) -> NDArray[np.float64]:
        """Return the summed Renyi divergence, shape (len(ORDERS),)."""
        total = np.zeros(len(ORDERS))
        for event, count in events.items():
            total = total + count * _rdp_curve(event)
        return total

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """See `Accountant.epsilon`."""
        kept = _checked(self, events, delta)
        if not kept:
            return 0.0
        curve = self.curve(kept)
        usable = np.isfinite(curve)
        if not usable.any():
            return math.inf
        from dp_accounting.rdp import rdp_privacy_accountant as rdp

        orders = np.asarray(ORDERS)[usable]
        return float(rdp.compute_epsilon(orders.tolist(), curve[usable].tolist(), delta)[0])


@lru_cache(maxsize=512)
def _pld(q: float, sigma: float, count: int, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld

    one = pld.from_gaussian_mechanism(
        standard_deviation=sigma,
        sampling_prob=q,
        value_discretization_interval=interval,
        neighboring_relation=pld.NeighborRel.ADD_OR_REMOVE_ONE,
    )
    return one.self_compose(count)


class PldAccountant:
    """Privacy loss distributions, pessimistic discretisation, both directions of add/remove.

    Valid for a schedule fixed in advance (or one that only stops early), never as a filter.
    """

    name = "PLD"

    def __init__(self, interval: float = 1e-3) -> None:
        self.interval = interval

    def supports(self, event: Event) -> bool:
        """Skellam releases are refused: their bound is a Renyi bound."""
        return isinstance(event, SampledGaussian | NonPrivate)

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """See `Accountant.epsilon`."""
        kept = _checked(self, events, delta)
        if any(isinstance(event, NonPrivate) for event in kept):
            return math.inf
        composed = None
        for event in sorted(e for e in kept if isinstance(e, SampledGaussian)):
            part = _pld(event.q, event.noise_multiplier, kept[event], self.interval)
            composed = part if composed is None else composed.compose(part)
        return 0.0 if composed is None else float(composed.get_epsilon_for_delta(delta))
