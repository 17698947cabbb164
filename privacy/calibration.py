"""The smallest noise that keeps a whole schedule, fixed in advance, within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from privacy.accountants import Accountant, PldAccountant, RdpAccountant
from privacy.cohorts import undominated
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.events import Event
from privacy.statement import best_epsilon, given_epsilon

#: Noise multipliers beyond this drown any signal: a budget that needs more is called unreachable.
LARGEST_MULTIPLIER = 1000.0
SMALLEST_MULTIPLIER = 0.05

Schedule = Callable[[float], Iterable[Mapping[Event, int]]]


def smallest_multiplier(
    schedule: Schedule, epsilon: float, delta: float, tolerance: float = 1e-3, accountant: Accountant | None = None
) -> float:
    """Return the smallest noise multiplier whose worst cohort stays within epsilon.

    To `tolerance` (relative), rounded up; never below 0.05, which is also the answer for a schedule that charges
    nothing.

    *Guarantee*: at the multiplier returned, every history's `privacy.statement.best_epsilon` (the smaller of PLD and
    RDP), or the epsilon of the `accountant` given, is at most `epsilon`, so a certificate of the finished schedule
    meets the budget.

    Args:
        schedule: noise multiplier -> the event histories of all cohorts of the planned run.
        epsilon: target, positive and finite.
        delta: target, in (0, 1); what other parts of the run add to delta is to be taken off first.
        tolerance: relative width at which the search ends, in (0, 1).
        accountant: of the user's own, asked instead of PLD and RDP.

    Raises:
        BudgetUnreachable: even a multiplier of 1000 spends more.
        InvalidParameter: a target or the tolerance is outside its range, or a count is negative.
        ConformanceError, UnsupportedEvent: as `privacy.statement.given_epsilon`.
    """
    if not (epsilon > 0.0 and math.isfinite(epsilon)):
        raise InvalidParameter(f"epsilon={epsilon} must be positive and finite; turn the noise off to train without it")
    if not 0.0 < delta < 1.0:
        raise InvalidParameter(f"delta={delta} is outside (0, 1); 1e-5 is usual")
    if not 0.0 < tolerance < 1.0:
        raise InvalidParameter(f"tolerance={tolerance} is outside (0, 1); 1e-3 is usual")

    if accountant is not None:
        cost = _worst_cost(schedule, lambda history: given_epsilon(accountant, history, delta))
        found = _search(cost, epsilon, 1.0, tolerance)
    else:
        cost = _worst_cost(schedule, lambda history: _cost(history, delta))
        thorough_cost = _worst_cost(schedule, lambda history: _thorough_cost(history, delta))
        found = _search(cost, epsilon, 1.0, tolerance)
        # RDP or finer losses seldom give less: asked just below what was found, and searched only if they help.
        below = LARGEST_MULTIPLIER if found is None else max(SMALLEST_MULTIPLIER, found / (1.0 + tolerance))
        if found != SMALLEST_MULTIPLIER and thorough_cost(below) <= epsilon:
            found = _search(thorough_cost, epsilon, below, tolerance)
    if found is None:
        raise BudgetUnreachable(_unreachable(schedule, epsilon, delta, accountant))
    return found


def _worst_cost(schedule: Schedule, price: Callable[[Mapping[Event, int]], float]) -> Callable[[float], float]:
    """Return the function from a noise multiplier to the price of its worst cohort."""

    # The search comes back to the ends of its bracket.
    @cache
    def cost(multiplier: float) -> float:
        return max((price(history) for history in undominated(schedule(multiplier))), default=0.0)

    return cost


def _cost(history: Mapping[Event, int], delta: float) -> float:
    """Return epsilon by PLD, or by RDP where PLD does not support an event."""
    pld = PldAccountant()
    supported = all(pld.supports(event) for event in history)
    return pld.epsilon(history, delta) if supported else RdpAccountant().epsilon(history, delta)


def _thorough_cost(history: Mapping[Event, int], delta: float) -> float:
    rdp, pld = best_epsilon(history, delta)
    return rdp if pld is None else min(rdp, pld)


def _search(cost: Callable[[float], float], epsilon: float, start: float, tolerance: float) -> float | None:
    """Return the least multiplier whose cost is within epsilon, looked for from `start` on; None if none's is."""
    high, dear = start, cost(start)
    while dear > epsilon:
        if high >= LARGEST_MULTIPLIER:
            return None
        high = min(2.0 * high, LARGEST_MULTIPLIER)
        dear = cost(high)
    low = high / 2.0
    while low >= SMALLEST_MULTIPLIER and (cheap := cost(low)) <= epsilon:
        low, high, dear = low / 2.0, low, cheap
    if low < SMALLEST_MULTIPLIER:
        if (cheap := cost(SMALLEST_MULTIPLIER)) <= epsilon:
            return SMALLEST_MULTIPLIER
        low = SMALLEST_MULTIPLIER
    else:
        cheap = cost(low)
    return _between(cost, epsilon, (low, cheap), (high, dear), tolerance)


def _between(
    cost: Callable[[float], float],
    epsilon: float,
    low: tuple[float, float],
    high: tuple[float, float],
    tolerance: float,
) -> float:
    """Narrow (multiplier, cost) of one too low and one that fits to the tolerance; return the one that fits.

    Epsilon is nearly a power of the multiplier, so the next one tried is read off the chord of the logarithms, moved by
    a third of the tolerance to either side in turn; halving steps in where the chord does not help.
    """
    side = 1.0
    for number in range(200):
        if high[0] / low[0] <= 1.0 + tolerance:
            break
        tried = math.sqrt(low[0] * high[0])
        usable = math.isfinite(low[1]) and high[1] > 0.0 and low[1] > high[1]
        if usable and number % 3 < 2:
            part = math.log(low[1] / epsilon) / math.log(low[1] / high[1])
            chord = low[0] * (high[0] / low[0]) ** part * (1.0 + side * tolerance / 3.0)
            tried = min(max(chord, low[0] * (1.0 + tolerance / 4.0)), high[0] / (1.0 + tolerance / 4.0))
        found = cost(tried)
        low, high = (low, (tried, found)) if found <= epsilon else ((tried, found), high)
        side = -1.0 if found <= epsilon else 1.0
    return high[0]


def _unreachable(schedule: Schedule, epsilon: float, delta: float, accountant: Accountant | None) -> str:
    judge = RdpAccountant() if accountant is None else accountant
    spent = max(given_epsilon(judge, h, delta) for h in undominated(schedule(LARGEST_MULTIPLIER)))
    start = f"epsilon={epsilon:g} at delta={delta:g} cannot be reached: "
    if math.isinf(spent):
        return start + "the schedule holds a release without any guarantee, which no noise mends; take it out"
    return start + (
        f"a noise multiplier of {LARGEST_MULTIPLIER:g} still spends {spent:.3g}. "
        "Raise epsilon, or lower rounds, steps or sampling rates"
    )
