"""Accountants turn a multiset of events into epsilon.

Neither answers 0 where something was released: `LEAST_EPSILON` is the least."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.events import Event, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.loss_distributions import composed_epsilon
from privacy.renyi import but_for, epsilon_at, total_failure
from privacy.sampled_skellam import sampled_curve, sampled_skellam_curve
from privacy.skellam import skellam_rdp
from privacy.skellam_gdp import dominating

#: Fractional orders serve large epsilons; large integers serve small ones (a grid that ends at 63 cannot certify
#: less than about 0.1 at delta 1e-5).
FRACTIONAL_ORDERS: tuple[float, ...] = (
    *(1.25, 1.5, 1.75, 2.25, 2.5, 2.75, 3.25, 3.5, 3.75),
    *(4.25, 4.5, 4.75, 5.5, 6.5),
)
INTEGER_ORDERS: tuple[float, ...] = (
    *map(float, range(2, 65)),
    *(float(round(64 * 2 ** (k / 8))) for k in range(1, 49)),
)
ORDERS: tuple[float, ...] = tuple(sorted(set(FRACTIONAL_ORDERS) | set(INTEGER_ORDERS)))
_IS_INTEGER = np.array([order.is_integer() for order in ORDERS])
_INTEGERS = [int(order) for order in ORDERS if order.is_integer()]
_BASE_ORDERS = np.arange(2.0, max(_INTEGERS) + 1.0)

#: A history or a single step whose expected privacy loss is larger is certified as inf by PLD: the distribution
#: would need gigabytes, and no epsilon of that size means anything.
MOST_LOSS, MOST_LOSS_OF_A_STEP = 2000.0, 200.0
#: A history of more steps is certified as inf by PLD too: it would take minutes, and RDP is within 5 % there.
MOST_STEPS = 2_000_000
#: What is certified at least where anything was released. A step of a tiny rate may lie within delta as a whole, so
#: that (0, delta) is true of it; but a 0 is read as "nothing happened", and is kept for that.
LEAST_EPSILON = 1e-6
#: What dp_accounting's series at fractional orders may lack: it ends at a term of e^-30 of the sum.
_SERIES_ERROR = 1e-12


@runtime_checkable
class Accountant(Protocol):
    """Interprets events. `events` maps each event to how often it happened; order does not matter.

    `privacy.testing.check_accountant` checks an implementation against the laws.
    """

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
        if not count >= 0:
            raise InvalidParameter(f"count={count} of {event} must be at least 0")
        if not accountant.supports(event):
            raise UnsupportedEvent(f"{accountant.name} does not know the cost of {event}; use another accountant")
    return {event: count for event, count in events.items() if count > 0 and not _is_free(event)}


def _is_free(event: Event) -> bool:
    return isinstance(event, SampledGaussian | SampledSkellam) and event.q == 0.0


@contextmanager
def _quiet_absl() -> Iterator[None]:
    # dp_accounting warns once per order whose series does not converge; such an order is inf: left out.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@lru_cache(maxsize=4096)
def _rdp_curve(event: Event) -> NDArray[np.float64]:
    """Renyi divergence of one event at every order of `ORDERS` (inf where no bound is known); read-only."""
    match event:
        case SampledGaussian(q=q, noise_multiplier=sigma):
            curve = _sampled_gaussian(q, sigma)
        case SkellamRelease(variance=variance, l2=l2, l1=l1):
            bounds = [skellam_rdp(int(a), variance, l2, l1) if a.is_integer() else math.inf for a in ORDERS]
            curve = np.array(bounds)
        case SampledSkellam():
            curve = sampled_skellam_curve(event, ORDERS)
        case NonPrivate():
            curve = np.full(len(ORDERS), math.inf)
    # A negative or NaN value is a failed series, and dp_accounting would turn it into epsilon 0.
    curve = np.where(curve >= 0.0, curve, math.inf)
    # Renyi divergence does not fall with its order (van Erven and Harremoes 2014, Theorem 3): the bound of a higher
    # order holds at a lower one. It fills the orders that failed, and those between the integers for Skellam noise.
    curve = np.minimum.accumulate(curve[::-1])[::-1].copy()
    curve.setflags(write=False)
    return curve


def _sampled_gaussian(q: float, sigma: float) -> NDArray[np.float64]:
    """Mironov, Talwar and Zhang 2019: the finite sum at integers, dp_accounting's series between them."""
    if q == 0.0:
        return np.zeros(len(ORDERS))
    curve = np.full(len(ORDERS), math.inf)
    curve[_IS_INTEGER] = sampled_curve(q, _BASE_ORDERS / (2.0 * sigma * sigma), _INTEGERS)
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant as rdp

    accountant = rdp.RdpAccountant(list(FRACTIONAL_ORDERS))
    with _quiet_absl(), np.errstate(over="ignore", invalid="ignore"):
        accountant.compose(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)))
    found = np.asarray(accountant.rdp, dtype=np.float64)
    # A failed series stays failed.
    curve[~_IS_INTEGER] = np.where(found >= 0.0, found * (1.0 + _SERIES_ERROR) + _SERIES_ERROR, found)
    return curve


class RdpAccountant:
    """Renyi accountant (Mironov 2017; conversion of Canonne, Kamath and Steinke 2020, Proposition 12).

    The probability that a sensitivity does not hold (`SampledSkellam.failure`) is taken off delta first.
    """

    name = "RDP"

    def supports(self, event: Event) -> bool:
        """Every event of this version is supported."""
        return isinstance(event, SampledGaussian | SkellamRelease | SampledSkellam | NonPrivate)

    def curve(self, events: Mapping[Event, int]) -> NDArray[np.float64]:
        """Return the summed Renyi divergence, shape (len(ORDERS),); events counted 0 times add nothing.

        Raises:
            InvalidParameter: a count is negative.
        """
        total = np.zeros(len(ORDERS))
        for event, count in events.items():
            if not count >= 0:
                raise InvalidParameter(f"count={count} of {event} must be at least 0")
            # inf * 0 would be NaN.
            if count:
                total = total + count * _rdp_curve(event)
        return total

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """See `Accountant.epsilon`."""
        remaining = _checked(self, events, delta)
        if not remaining:
            return 0.0
        epsilon = epsilon_at(ORDERS, self.curve(remaining).tolist(), delta, total_failure(remaining))
        return max(epsilon, LEAST_EPSILON)


def _expected_loss(event: SampledGaussian) -> float:
    """Return a bound of KL(with the example || without): by convexity in q, and by the divergence of order 2."""
    plain = 0.5 / event.noise_multiplier / event.noise_multiplier
    if plain > MOST_LOSS_OF_A_STEP * (1.0 + 1e-9):
        return math.inf
    if plain > 100.0:
        return event.q * plain
    return min(event.q * plain, math.log1p(event.q**2 * math.expm1(2.0 * plain)))


@dataclass(frozen=True)
class PldAccountant:
    """Privacy loss distributions (Koskela et al. 2020; Doroshenko et al. 2022), both directions of add/remove.

    Skellam releases count as the Gaussian ones that dominate them (`privacy.skellam_gdp`), and the probability that a
    sensitivity does not hold (`SampledSkellam.failure`) is taken off delta first.

    *Guarantee*: an upper bound, since losses are discretised pessimistically on multiples of `interval`, and a bound of
    all round-off is added (`privacy.loss_masses.one_step`, `privacy.loss_distributions`); inf where delta is not above
    the mass of infinite losses, 2e-33 a step. It is loose where one step's loss is small beside `interval` (q = 0.001,
    sigma = 5, a million steps: 1.55 at 1e-3, 0.75 at 1e-4, RDP 0.80), so print the smaller of this and RDP. Valid for a
    multiset of events fixed in advance, however they are skipped and reordered (`privacy.filters.Budget`), not for
    events chosen on the way. An expected loss beyond `MOST_LOSS`, sigma below 0.05, more than `MOST_STEPS` steps, or a
    Skellam variance outside [1e-6, 2^58] give inf.

    Raises:
        InvalidParameter: `interval` is not in (0, 1].
    """

    interval: float = 1e-3

    def __post_init__(self) -> None:
        if not 0.0 < self.interval <= 1.0:
            raise InvalidParameter(f"interval={self.interval} is outside (0, 1]; 1e-3 is usual, 1e-4 is tighter")

    @property
    def name(self) -> str:
        """See `Accountant.name`."""
        return "PLD"

    def supports(self, event: Event) -> bool:
        """Every event of this version is supported."""
        return isinstance(event, SampledGaussian | SkellamRelease | SampledSkellam | NonPrivate)

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """See `Accountant.epsilon`."""
        remaining = _checked(self, events, delta)
        if any(isinstance(event, NonPrivate) for event in remaining):
            return math.inf
        if not remaining:
            return 0.0
        gaussians = dominating(remaining)
        if gaussians is None or sum(gaussians.values()) > MOST_STEPS:
            return math.inf
        if sum(count * _expected_loss(event) for event, count in sorted(gaussians.items())) > MOST_LOSS:
            return math.inf
        composed = partial(composed_epsilon, gaussians, interval=self.interval)
        return max(but_for(total_failure(remaining), delta, composed), LEAST_EPSILON)
