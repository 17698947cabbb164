"""From a ledger to what may be printed: epsilon per cohort and the worst of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from privacy.accountants import PldAccountant, RdpAccountant
from privacy.cohorts import Cohort, Spent
from privacy.events import Event, describe


@dataclass(frozen=True)
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


def best_epsilon(events: Mapping[Event, int], delta: float) -> tuple[float, float | None]:
    """Return (epsilon by RDP, epsilon by PLD or None where PLD does not support an event); (0, 0) for no events.

    Raises:
        InvalidParameter: delta outside (0, 1).
    """
    rdp, pld = RdpAccountant(), PldAccountant()
    supported = all(pld.supports(event) for event in events)
    return rdp.epsilon(events, delta), pld.epsilon(events, delta) if supported else None


def statements(spent: Spent, delta: float) -> tuple[CohortStatement, ...]:
    """Return one statement per cohort, in cohort order. An empty ledger gives an empty tuple."""
    known: dict[frozenset[tuple[Event, int]], tuple[float, float | None]] = {}
    rows = []
    for cohort, events in sorted(spent.items()):
        key = frozenset(events.items())
        if key not in known:
            known[key] = best_epsilon(events, delta)
        lines = tuple(f"{count} x {describe(event)}" for event, count in sorted(events.items(), key=str))
        rows.append(CohortStatement(cohort, *known[key], events=lines))
    return tuple(rows)


def worst(rows: tuple[CohortStatement, ...]) -> CohortStatement | None:
    """Return the cohort with the largest epsilon, None for an empty ledger.

    *Guarantee*: the data of different cohorts are disjoint, so the largest epsilon holds for every example.
    """
    return max(rows, key=lambda row: row.epsilon if not math.isnan(row.epsilon) else math.inf, default=None)
