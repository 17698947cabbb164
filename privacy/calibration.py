"""The smallest noise that keeps a whole schedule, fixed in advance, within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from privacy.accountants import Accountant, PldAccountant, RdpAccountant
from privacy.cohorts import undominated
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.events import Event

#: Noise multipliers beyond this drown any signal: a budget that needs more is called unreachable.
LARGEST_MULTIPLIER = 1000.0
_SMALLEST_MULTIPLIER = 0.05

Schedule = Callable[[float], Iterable[Mapping[Event, int]]]


def smallest_multiplier(schedule: Schedule, epsilon: float, delta: float, tolerance: float = 1e-3) -> float:
    """Return the smallest noise multiplier (to `tolerance`, relative, rounded up) whose worst cohort stays within epsilon.

    Args:
        schedule: noise multiplier -> the event histories of all cohorts of the planned run.
        epsilon: target, positive and finite.
        delta: target, in (0, 1); what other parts of the run add to delta is to be taken off first.

    Raises:
        BudgetUnreachable: even a multiplier of 1000 spends more.
    """
    if not (epsilon > 0.0 and math.isfinite(epsilon)):
        raise InvalidParameter(f"epsilon={epsilon} must be positive and finite; turn the noise off to train without it")
    if not 0.0 < delta < 1.0:
        raise InvalidParameter(f"delta={delta} is outside (0, 1); 1e-5 is usual")

    def cost(multiplier: float) -> float:
        return max((_spend(history, delta) for history in undominated(schedule(multiplier))), default=0.0)

    high = 1.0
    while cost(high) > epsilon:
        if high >= LARGEST_MULTIPLIER:
            raise BudgetUnreachable(
                f"epsilon={epsilon} at delta={delta} cannot be reached: a noise multiplier of {high:g} "
                f"still spends {cost(high):.3g}. Raise epsilon, or lower rounds, steps or sampling rates"
            )
        high = min(2.0 * high, LARGEST_MULTIPLIER)
    low = high / 2.0
    while cost(low) <= epsilon:
        if low <= _SMALLEST_MULTIPLIER:
            return low
        low, high = low / 2.0, low
    while high / low > 1.0 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if cost(middle) <= epsilon else (middle, high)
    return high


def _spend(history: Mapping[Event, int], delta: float) -> float:
    pld = PldAccountant()
    accountant: Accountant = pld if all(pld.supports(event) for event in history) else RdpAccountant()
    return accountant.epsilon(history, delta)
