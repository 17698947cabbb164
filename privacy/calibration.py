"""The smallest noise that keeps a whole schedule, fixed in advance, within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from privacy.accountants import PldAccountant, RdpAccountant
from privacy.cohorts import undominated
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.events import Event

#: Noise multipliers beyond this drown any signal: a budget that needs more is called unreachable.
LARGEST_MULTIPLIER = 1000.0
SMALLEST_MULTIPLIER = 0.05

Schedule = Callable[[float], Iterable[Mapping[Event, int]]]


def smallest_multiplier(schedule: Schedule, epsilon: float, delta: float, tolerance: float = 1e-3) -> float:
    """Return the smallest noise multiplier whose worst cohort stays within epsilon.

    To `tolerance` (relative), rounded up; never below 0.05, which is also the answer for a schedule that charges
    nothing.

    *Guarantee*: at the multiplier returned, every history's `privacy.statement.best_epsilon` (the smaller of PLD and
    RDP) is at most `epsilon`, so a certificate of the finished schedule meets the budget.

    Args:
        schedule: noise multiplier -> the event histories of all cohorts of the planned run.
        epsilon: target, positive and finite.
        delta: target, in (0, 1); what other parts of the run add to delta is to be taken off first.
        tolerance: relative width at which the search ends, in (0, 1).

    Raises:
        BudgetUnreachable: even a multiplier of 1000 spends more.
        InvalidParameter: a target or the tolerance is outside its range, or a count is negative.
    """
    if not (epsilon > 0.0 and math.isfinite(epsilon)):
        raise InvalidParameter(f"epsilon={epsilon} must be positive and finite; turn the noise off to train without it")
    if not 0.0 < delta < 1.0:
        raise InvalidParameter(f"delta={delta} is outside (0, 1); 1e-5 is usual")
    if not 0.0 < tolerance < 1.0:
        raise InvalidParameter(f"tolerance={tolerance} is outside (0, 1); 1e-3 is usual")

    def fits(multiplier: float) -> bool:
        return all(_within(h, epsilon, delta, thorough=False) for h in undominated(schedule(multiplier)))

    def fits_thoroughly(multiplier: float) -> bool:
        return all(_within(h, epsilon, delta, thorough=True) for h in undominated(schedule(multiplier)))

    found = _search(fits, 1.0, tolerance)
    # RDP is slow and seldom the smaller bound: it is asked just below what PLD found, and searched only if it helps.
    below = LARGEST_MULTIPLIER if found is None else found / (1.0 + tolerance)
    if below >= SMALLEST_MULTIPLIER and fits_thoroughly(below):
        found = _search(fits_thoroughly, below, tolerance)
    if found is None:
        raise BudgetUnreachable(_unreachable(schedule, epsilon, delta))
    return found


def _within(history: Mapping[Event, int], epsilon: float, delta: float, thorough: bool) -> bool:
    pld = PldAccountant()
    if not all(pld.supports(event) for event in history):
        return RdpAccountant().epsilon(history, delta) <= epsilon
    if pld.epsilon(history, delta) <= epsilon:
        return True
    return thorough and RdpAccountant().epsilon(history, delta) <= epsilon


def _search(fits: Callable[[float], bool], start: float, tolerance: float) -> float | None:
    """Return the least multiplier that fits, looked for from `start` on; None if not even the largest does."""
    high = start
    while not fits(high):
        if high >= LARGEST_MULTIPLIER:
            return None
        high = min(2.0 * high, LARGEST_MULTIPLIER)
    low = high / 2.0
    while low >= SMALLEST_MULTIPLIER and fits(low):
        low, high = low / 2.0, low
    if low < SMALLEST_MULTIPLIER:
        if fits(SMALLEST_MULTIPLIER):
            return SMALLEST_MULTIPLIER
        low = SMALLEST_MULTIPLIER
    while high / low > 1.0 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _unreachable(schedule: Schedule, epsilon: float, delta: float) -> str:
    spent = max(RdpAccountant().epsilon(h, delta) for h in undominated(schedule(LARGEST_MULTIPLIER)))
    start = f"epsilon={epsilon:g} at delta={delta:g} cannot be reached: "
    if math.isinf(spent):
        return start + "the schedule holds a release without any guarantee, which no noise mends; take it out"
    return start + (
        f"a noise multiplier of {LARGEST_MULTIPLIER:g} still spends {spent:.3g}. "
        "Raise epsilon, or lower rounds, steps or sampling rates"
    )
