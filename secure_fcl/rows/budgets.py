"""Budgets of a row as filters: what a round may still charge, and whose examples are sampled no more.

The budget is laid down before the run: at every stored order, what the planned schedule may spend (with room for
`privacy.spare_rounds`). Server and client decide from charges alone, which are public, never from examples; a client
keeps its own count and computes the budget itself, whatever the server says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evaluation.files import read_json, write_json
from privacy import Budget, BudgetFilter, BudgetSpent, Charge, Event, Ledger, NonPrivate, RdpAccountant, SampledGaussian
from privacy.accountants import ORDERS
from privacy.cohorts import Spent, add_to
from privacy.filters import by_cohort
from privacy.renyi import total_failure
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.row_plan import RowPlan

Arrivals = frozenset[tuple[str, int]]
"""Groups of clients and arrival tasks whose examples are retired."""


def planned_budget(plan: RowPlan) -> Budget | None:
    """Return the curve that no cohort of the row may pass: at each order the most that any planned cohort spends there.

    None for a row without a guarantee, which has nothing to keep.
    """
    histories = [h for h in plan.planned().values() if h]
    events = {event for history in histories for event in history}
    if not histories or any(isinstance(event, NonPrivate) for event in events):
        return None
    curve = np.max([RdpAccountant().curve(history) for history in histories], axis=0)
    gaussian = all(isinstance(event, SampledGaussian) for event in events)
    # Skellam bounds are proven at integers alone.
    remaining = [
        (a, float(c)) for a, c in zip(ORDERS, curve, strict=True) if math.isfinite(c) and (gaussian or a % 1 == 0)
    ]
    failure = max(total_failure(history) for history in histories)
    return Budget(
        orders=tuple(a for a, _ in remaining),
        bounds=tuple(c for _, c in remaining),
        delta=plan.accounting_delta,
        failure=failure,
    )


def kept_budget(plan: RowPlan, path: Path) -> Budget | None:
    """Return the budget that a row was started with, from `path`; a row that starts lays it down there first.

    Raises:
        ConfigInvalid: the file is not one that this function wrote.
    """
    if not path.exists():
        budget = planned_budget(plan)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, None if budget is None else asdict(budget) | {"epsilon": budget.epsilon})
        return budget
    try:
        found = read_json(path)
        return None if found is None else Budget(
            orders=tuple(found["orders"]), bounds=tuple(found["bounds"]), delta=found["delta"], failure=found["failure"]
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(f"{path} is not a budget ({error}); restore it, or start a new run") from error


def charges_of(spent: Spent) -> list[Charge]:
    """Return charges that amount to `spent`."""
    return [Charge(cohort, e, n) for cohort, events in sorted(spent.items()) for e, n in events.items() if n]


@dataclass(frozen=True)
class Admitted:
    """What one round charges, and whose examples stay out of it."""

    charges: tuple[Charge, ...]
    retired: Arrivals


def admit(plan: RowPlan, budget: Budget | None, spent: Spent, slot: int, round: int) -> Admitted:
    """Return the charges of a round without those arrivals of which a cohort would pass the budget.

    An arrival is retired as a whole: a device does not tell from an example what chunk it came in.
    """
    charges = plan.charges(slot, round)
    if budget is None:
        return Admitted(tuple(charges), frozenset())
    over = {
        (cohort.group, cohort.arrival)
        for cohort, more in by_cohort(charges).items()
        if budget.refusal(_plus(spent.get(cohort), more)) is not None
    }
    remaining = tuple(c for c in charges if (c.cohort.group, c.cohort.arrival) not in over)
    return Admitted(remaining, frozenset(over))


class RowLedger:
    """A row's ledger behind its budget: charges what is admitted, before the round runs."""

    def __init__(self, plan: RowPlan, ledger: Ledger, budget: Budget | None) -> None:
        self._plan = plan
        self._ledger = ledger
        self._budget = budget
        self._filter = None if budget is None else BudgetFilter(ledger, budget)

    def charge(self, slot: int, round: int, **what: str | int) -> Arrivals:
        """Write a round's charges ahead and return the arrivals that are retired from it.

        Raises:
            LedgerClosed, LedgerDamaged, OSError: as `Ledger.charge`.
        """
        found = admit(self._plan, self._budget, self._ledger.spent(), slot, round)
        named = {"retired": len(found.retired)} if found.retired else {}
        # The filter judges once more what `admit` let through; it alone writes.
        write = self._ledger.charge if self._filter is None else self._filter.charge
        write(found.charges, slot=slot, round=round, **what, **named)
        return found.retired


class ClientBudget:
    """The client's own count of what was charged to its group; it refuses a round that would pass the budget."""

    def __init__(self, plan: RowPlan, budget: Budget | None, spent: Spent) -> None:
        self._plan = plan
        self._budget = budget
        self._spent = {cohort: events.copy() for cohort, events in spent.items()}

    def take_part(self, groups: Iterable[str], slot: int, round: int, retired: Arrivals) -> None:
        """Count a round in which every arrival of `groups` but the retired ones may be sampled.

        Raises:
            BudgetSpent: a cohort that is not retired would pass its budget; nothing of the round may run.
        """
        own = set(groups)
        charges = [
            c for c in self._plan.charges(slot, round)
            if c.cohort.group in own and (c.cohort.group, c.cohort.arrival) not in retired
        ]  # fmt: skip
        if self._budget is not None:
            for cohort, more in by_cohort(charges).items():
                if (why := self._budget.refusal(_plus(self._spent.get(cohort), more))) is not None:
                    raise BudgetSpent(f"a client refuses task {slot}, round {round} for {cohort}: {why}")
        add_to(self._spent, charges)


def arrivals_to_json(arrivals: Arrivals) -> list[list[str | int]]:
    """Return retired arrivals as JSON; `arrivals_from_json` reads them."""
    return [[group, arrival] for group, arrival in sorted(arrivals)]


def arrivals_from_json(found: Sequence[Sequence[str | int]]) -> Arrivals:
    """Return the retired arrivals that `arrivals_to_json` wrote."""
    return frozenset((str(group), int(arrival)) for group, arrival in found)


def _plus(had: Mapping[Event, int] | None, more: Mapping[Event, int]) -> dict[Event, int]:
    total = dict(had or {})
    for event, count in more.items():
        total[event] = total.get(event, 0) + count
    return total
