"""Budgets of a row as filters: what a round may still charge, and whose examples are sampled no more.

The budgets are laid down before the run: for every cohort the multiset of events that the planned schedule charges it,
with `privacy.spare_rounds` of each kind of round. Server and client decide from charges alone, which are public, never
from examples; a client keeps its own count and computes the budgets itself, whatever the server says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.files import read_json, write_json
from evaluation.tasks import task_name
from privacy import Budget, BudgetFilter, BudgetSpent, Charge, Cohort, Event, Ledger, NonPrivate, PrivacyError
from privacy.cohorts import Spent, add_to
from privacy.events import from_json, to_json
from privacy.filters import by_cohort
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.row_plan import RowPlan

Arrivals = frozenset[tuple[str, int]]
"""Groups of clients and arrival tasks: of examples that are retired, or that an earlier charge covers."""

NO_ARRIVALS: Arrivals = frozenset()


@dataclass(frozen=True, kw_only=True)
class RowBudget:
    """The budget of every cohort of a row; a cohort that was not planned may spend nothing.

    Cohorts are disjoint sets of examples, so `epsilon` is that of the worst.
    """

    delta: float
    cohorts: Mapping[Cohort, Budget]

    @property
    def epsilon(self) -> float:
        """What the row certifies, however its rounds are skipped, repeated or reordered."""
        return max((budget.epsilon for budget in {b.planned: b for b in self.cohorts.values()}.values()), default=0.0)

    def of(self, cohort: Cohort) -> Budget:
        """Return the budget that binds `cohort`."""
        return self.cohorts.get(cohort, Budget(planned=(), delta=self.delta))

    def refusal(self, cohort: Cohort, history: Mapping[Event, int]) -> str | None:
        """Return why a cohort may not have `history` as a whole, in one sentence; None if it may."""
        return self.of(cohort).refusal(history)

    def certified(self, spent: Spent) -> Spent:
        """Return what is to be accounted for the cohorts of a ledger: all they may still be charged, and were."""
        return {cohort: Counter(dict(self.of(cohort).planned)) | events for cohort, events in spent.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the budgets as a JSON object."""
        rows = [
            {"cohort": cohort.to_json(), "events": [{"event": to_json(e), "count": n} for e, n in budget.planned]}
            for cohort, budget in sorted(self.cohorts.items())
        ]
        return {"delta": self.delta, "epsilon": self.epsilon, "cohorts": rows}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> RowBudget:
        """Return the budgets of a JSON object made by `to_json`.

        Raises:
            KeyError, TypeError, ValueError, privacy.errors.PrivacyError: it is none.
        """
        delta = float(record["delta"])
        cohorts = {
            Cohort.from_json(row["cohort"]): Budget(
                planned=tuple((from_json(found["event"]), int(found["count"])) for found in row["events"]), delta=delta
            )
            for row in record["cohorts"]
        }
        return RowBudget(delta=delta, cohorts=cohorts)


def planned_budget(plan: RowPlan) -> RowBudget | None:
    """Return what no cohort of the row may pass; None for a row without a guarantee, which has nothing to keep."""
    histories = {cohort: events for cohort, events in plan.planned().items() if events}
    if not histories or any(isinstance(event, NonPrivate) for events in histories.values() for event in events):
        return None
    delta = plan.accounting_delta
    return RowBudget(delta=delta, cohorts={c: Budget.of_schedule(events, delta) for c, events in histories.items()})


def kept_budget(plan: RowPlan, path: Path) -> RowBudget | None:
    """Return the budgets that a row was started with, from `path`; a row that starts lays them down there first.

    Raises:
        ConfigInvalid: the file is not one that this function wrote.
    """
    if not path.exists():
        budget = planned_budget(plan)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, None if budget is None else budget.to_json())
        return budget
    try:
        found = read_json(path)
        return None if found is None else RowBudget.from_json(found)
    except (KeyError, TypeError, ValueError, AttributeError, PrivacyError) as error:
        raise ConfigInvalid(f"{path} is not a budget ({error}); restore it, or start a new run") from error


def charges_of(spent: Spent) -> list[Charge]:
    """Return charges that amount to `spent`."""
    return [Charge(cohort, e, n) for cohort, events in sorted(spent.items()) for e, n in events.items() if n]


@dataclass(frozen=True)
class Admitted:
    """What one round charges, and whose examples stay out of it."""

    charges: tuple[Charge, ...]
    retired: Arrivals


def admit(
    plan: RowPlan, budget: RowBudget | None, spent: Spent, slot: int, round: int, covered: Arrivals = NO_ARRIVALS
) -> Admitted:
    """Return the charges of a round without those arrivals of which a cohort has not all of it left.

    An arrival is retired as a whole: a device does not tell from an example what chunk it came in. `covered`: arrivals
    that take part under a charge for this very round that nothing was released for; they are not charged again.
    """
    charges = [c for c in plan.charges(slot, round) if (c.cohort.group, c.cohort.arrival) not in covered]
    if budget is None:
        return Admitted(tuple(charges), frozenset())
    over = {
        (cohort.group, cohort.arrival)
        for cohort, more in by_cohort(charges).items()
        if budget.refusal(cohort, _plus(spent.get(cohort), more)) is not None
    }
    remaining = tuple(c for c in charges if (c.cohort.group, c.cohort.arrival) not in over)
    return Admitted(remaining, frozenset(over))


def covered_by(what: Mapping[str, Any]) -> Arrivals:
    """Return the arrivals that an entry with these labels does not charge, as an earlier one covers them.

    Raises:
        ValueError, TypeError: the label is not one that `RowLedger.charge` writes.
    """
    return arrivals_from_json(json.loads(what.get("covered", "[]")))


class RowLedger:
    """A row's ledger behind its budget: charges what is admitted, before the round runs."""

    def __init__(self, plan: RowPlan, ledger: Ledger, budget: RowBudget | None) -> None:
        self._plan = plan
        self._ledger = ledger
        self._budget = budget
        unplanned = Budget(planned=(), delta=plan.config.privacy.delta)
        self._filter = None if budget is None else BudgetFilter(ledger, unplanned, budget.cohorts)

    def charge(self, slot: int, round: int, covered: Arrivals = NO_ARRIVALS, **what: str | int) -> Arrivals:
        """Write a round's charges ahead and return the arrivals that are retired from it; `covered` as in `admit`.

        Raises:
            LedgerClosed, LedgerDamaged, OSError: as `Ledger.charge`.
        """
        found = admit(self._plan, self._budget, self._ledger.spent(), slot, round, covered)
        named: dict[str, str | int] = {"retired": len(found.retired)} if found.retired else {}
        if covered:
            named["covered"] = json.dumps(arrivals_to_json(covered))
        # The filter judges once more what `admit` let through; it alone writes.
        write = self._ledger.charge if self._filter is None else self._filter.charge
        write(found.charges, slot=slot, round=round, **what, **named)
        return found.retired


class ClientBudget:
    """The client's own count of what was charged to its group; it refuses a round that would pass the budget."""

    def __init__(self, plan: RowPlan, budget: RowBudget | None, spent: Spent) -> None:
        self._plan = plan
        self._budget = budget
        self._spent = {cohort: events.copy() for cohort, events in spent.items()}

    def take_part(
        self, groups: Iterable[str], slot: int, round: int, retired: Arrivals, covered: Arrivals = NO_ARRIVALS
    ) -> None:
        """Count a round in which every arrival of `groups` but the retired ones may be sampled.

        `covered`: arrivals counted before for the attempt that is repeated, which released nothing; their devices must
        know that themselves.

        Raises:
            BudgetSpent: a cohort that is not retired would pass its budget; nothing of the round may run.
        """
        add_to(self._spent, self.admitted(groups, slot, round, retired, covered))

    def admitted(
        self, groups: Iterable[str], slot: int, round: int, retired: Arrivals, covered: Arrivals = NO_ARRIVALS
    ) -> list[Charge]:
        """Return what `take_part` would count, and count nothing.

        Raises:
            BudgetSpent: as `take_part`.
        """
        own = set(groups)
        charges = [
            c for c in self._plan.charges(slot, round)
            if c.cohort.group in own and (c.cohort.group, c.cohort.arrival) not in retired | covered
        ]  # fmt: skip
        if self._budget is not None:
            for cohort, more in by_cohort(charges).items():
                if (why := self._budget.refusal(cohort, _plus(self._spent.get(cohort), more))) is not None:
                    raise BudgetSpent(f"a client refuses {task_name(slot)}, round {round + 1} for {cohort}: {why}")
        return charges


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
