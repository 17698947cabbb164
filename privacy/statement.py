"""From a ledger to what may be printed: epsilon per cohort and the worst of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from privacy.accountants import PldAccountant, RdpAccountant
from privacy.cohorts import Cohort, Spent
from privacy.events import Event, describe


@dataclass(frozen=True, kw_only=True)
class CohortStatement:
    """What one cohort spent. `epsilon_pld` is None where PLD refuses an event of the cohort."""

    cohort: Cohort
    epsilon_rdp: float
    epsilon_pld: float | None
    events: tuple[str, ...]

    @property
    def epsilon(self) -> float:
        """The smaller of the valid bounds."""
        return self.epsilon_rdp if self.epsilon_pld is None else min(self.epsilon_rdp, self.epsilon_pld)

    @property
    def accountant(self) -> str:
        """Name of the accountant whose bound `epsilon` is."""
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
    if 0.0 < pld < math.inf and small and sum(events.values()) <= _MOST_FINE_STEPS:
        pld = min(pld, FINE.epsilon(events, delta))
    return rdp, pld


def statements(spent: Spent, delta: float) -> tuple[CohortStatement, ...]:
    """Return one statement per cohort, in cohort order. An empty ledger gives an empty tuple."""
    known: dict[frozenset[tuple[Event, int]], tuple[float, float | None]] = {}
    rows = []
    for cohort, events in sorted(spent.items()):
        key = frozenset(events.items())
        if key not in known:
            known[key] = best_epsilon(events, delta)
        lines = tuple(f"{count} x {describe(event)}" for event, count in sorted(events.items(), key=str))
        rdp, pld = known[key]
        rows.append(CohortStatement(cohort=cohort, epsilon_rdp=rdp, epsilon_pld=pld, events=lines))
    return tuple(rows)


def worst(rows: tuple[CohortStatement, ...]) -> CohortStatement | None:
    """Return the cohort with the largest epsilon, None for an empty ledger.

    *Guarantee*: the data of different cohorts are disjoint, so the largest epsilon holds for every example.
    """
    return max(rows, key=lambda row: row.epsilon if not math.isnan(row.epsilon) else math.inf, default=None)
