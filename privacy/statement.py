"""From a ledger to what may be printed: epsilon per cohort and the worst of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from privacy.accountants import LEAST_EPSILON, Accountant, PldAccountant, RdpAccountant
from privacy.cohorts import Cohort, Spent
from privacy.errors import ConformanceError
from privacy.events import Event, NonPrivate, describe


@dataclass(frozen=True, kw_only=True)
class CohortStatement:
    """What one cohort spent. `epsilon_pld` is None where PLD refuses an event of the cohort.

    `given`: name and epsilon of an accountant of the user's own, where one was asked.
    """

    cohort: Cohort
    epsilon_rdp: float
    epsilon_pld: float | None
    events: tuple[str, ...]
    given: tuple[str, float] | None = None

    @property
    def epsilon(self) -> float:
        """The bound of the accountant that was given; without one, the smaller of the valid bounds."""
        return self.epsilon_built_in if self.given is None else self.given[1]

    @property
    def accountant(self) -> str:
        """Name of the accountant whose bound `epsilon` is."""
        return self.accountant_built_in if self.given is None else self.given[0]

    @property
    def epsilon_built_in(self) -> float:
        """The smaller of the valid bounds of this package's accountants."""
        return self.epsilon_rdp if self.epsilon_pld is None else min(self.epsilon_rdp, self.epsilon_pld)

    @property
    def accountant_built_in(self) -> str:
        """Name of the accountant whose bound `epsilon_built_in` is."""
        return "PLD" if self.epsilon_pld is not None and self.epsilon_pld <= self.epsilon_rdp else "RDP"


#: Losses are rounded up to multiples of these; the fine one is asked where the coarse one is no clear gain on RDP.
COARSE, FINE = PldAccountant(1e-3), PldAccountant(1e-4)
#: Steps from which the fine interval would take long; there the smaller of the coarse one and RDP stands.
_MOST_FINE_STEPS = 200_000


def best_epsilon(events: Mapping[Event, int], delta: float) -> tuple[float, float | None]:
    """Return (epsilon by RDP, epsilon by PLD or None where PLD does not support an event); (0, 0) for no events.

    Small spends are queried at the finer interval, where rounding losses up to multiples of 1e-3 would show.

    Raises:
        InvalidParameter: delta outside (0, 1).
    """
    rdp = RdpAccountant().epsilon(events, delta)
    if not all(COARSE.supports(event) for event in events):
        return rdp, None
    pld = COARSE.epsilon(events, delta)
    small = pld < 0.2 or pld > 0.97 * rdp
    if LEAST_EPSILON < pld < math.inf and small and sum(events.values()) <= _MOST_FINE_STEPS:
        pld = min(pld, FINE.epsilon(events, delta))
    return rdp, pld


def given_epsilon(accountant: Accountant, events: Mapping[Event, int], delta: float) -> float:
    """Return what an accountant of somebody else's certifies; inf, without asking it, for a release without guarantee.

    Raises:
        ConformanceError: it gives a negative number, or none.
        UnsupportedEvent, InvalidParameter: as `Accountant.epsilon`.
    """
    if any(isinstance(event, NonPrivate) for event, count in events.items() if count):
        return math.inf
    claimed = accountant.epsilon(events, delta)
    # Written so that a NaN fails.
    if not (isinstance(claimed, float | int) and claimed >= 0.0):
        raise ConformanceError(
            f"accountant {accountant.name!r} gives epsilon {claimed!r} for {dict(events)}; it must be 0 or more"
        )
    return float(claimed)


def statements(spent: Spent, delta: float, accountant: Accountant | None = None) -> tuple[CohortStatement, ...]:
    """Return one statement per cohort, in cohort order. An empty ledger gives an empty tuple.

    `accountant`: of the user's own, whose figures then stand beside those of this package.

    Raises:
        ConformanceError, UnsupportedEvent: as `given_epsilon`.
    """
    known: dict[frozenset[tuple[Event, int]], tuple[float, float | None]] = {}
    asked: dict[frozenset[tuple[Event, int]], tuple[str, float]] = {}
    rows = []
    for cohort, events in sorted(spent.items()):
        key = frozenset(events.items())
        if key not in known:
            known[key] = best_epsilon(events, delta)
            if accountant is not None:
                asked[key] = accountant.name, given_epsilon(accountant, events, delta)
        lines = tuple(f"{count} x {describe(event)}" for event, count in sorted(events.items(), key=str))
        rdp, pld = known[key]
        rows.append(
            CohortStatement(cohort=cohort, epsilon_rdp=rdp, epsilon_pld=pld, events=lines, given=asked.get(key))
        )
    return tuple(rows)


def worst(rows: tuple[CohortStatement, ...]) -> CohortStatement | None:
    """Return the cohort with the largest epsilon, None for an empty ledger.

    *Guarantee*: the data of different cohorts are disjoint, so the largest epsilon holds for every example.
    """
    return max(rows, key=lambda row: row.epsilon if not math.isnan(row.epsilon) else math.inf, default=None)
