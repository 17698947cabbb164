"""Budgets as filters: what was not planned is refused before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from privacy.cohorts import Charge, Cohort
from privacy.errors import InvalidParameter, PrivacyError
from privacy.events import Event, NonPrivate, describe
from privacy.ledger import Ledger
from privacy.statement import best_epsilon


class BudgetSpent(PrivacyError):
    """A charge would pass the budget of a cohort; nothing was charged and nothing may be released."""


class AnyBudget(Protocol):
    """What a filter asks of a budget; `Budget` and `privacy.renyi_budget.RenyiBudget` are such."""

    @property
    def epsilon(self) -> float:
        """What the whole budget certifies, however it is used."""

    def refusal(self, history: Mapping[Event, int]) -> str | None:
        """Return why `history` as a whole does not fit, in one sentence; None if it fits."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A multiset of events laid down before the first of them: each may happen as often as it stands there.

    *Guarantee*: whoever charges through `refusal` is (`epsilon`, `delta`)-private, whatever decides which of the events
    are skipped, and in what order the others come; `epsilon` is that of the whole multiset, by PLD too. Proof: for
    either direction of neighbours let (P_i, Q_i) be the dominating pair of event i, and draw one outcome from each of
    them at the start, all independent. A mechanism that is dominated is a randomised function of its pair's outcome
    (Blackwell; Dong, Roth and Su 2022, Theorem 2.10), whatever came before only chooses which function. So the whole
    transcript, order and skips included, is computed from outcomes that were drawn once each: it is post-processing of
    the product of all pairs, which is what an accountant of the multiset bounds. An event that is not in the multiset
    has no such outcome, not even a cheaper one: it is refused. The pair of a Skellam event is the Gaussian one of
    `privacy.skellam_gdp`, or its Renyi bound stands, which adds up at every order for a schedule chosen freely within
    the sum (Feldman and Zrnic 2021, Theorem 4.3); either holds but for the probabilities that sensitivities fail, which
    add up over all of them.

    Raises:
        InvalidParameter: a count is below 1, an event stands twice, an event has no guarantee, or delta is outside
            (0, 1).
    """

    planned: tuple[tuple[Event, int], ...]
    delta: float

    def __post_init__(self) -> None:
        if len({event for event, _ in self.planned}) < len(self.planned):
            raise InvalidParameter("a budget names each of its events once, with its count")
        for event, count in self.planned:
            if count < 1:
                raise InvalidParameter(f"count={count} of {event} must be at least 1")
            if isinstance(event, NonPrivate):
                raise InvalidParameter(f"{event} has no guarantee, so no budget bounds it; leave it out of the plan")
        if not 0.0 < self.delta < 1.0:
            raise InvalidParameter(f"delta={self.delta} is outside (0, 1); 1e-5 is usual")

    @staticmethod
    def of_schedule(events: Mapping[Event, int], delta: float) -> Budget:
        """Return the budget of a planned schedule, spare rounds included; events counted 0 times are left out.

        Raises:
            InvalidParameter: as the class; a negative count.
        """
        counted = [(event, count) for event, count in events.items() if count != 0]
        return Budget(planned=tuple(sorted(counted, key=str)), delta=delta)

    @cached_property
    def epsilon(self) -> float:
        """What the whole multiset certifies: the smaller of RDP and PLD; 0 for an empty one."""
        return min(bound for bound in best_epsilon(dict(self.planned), self.delta) if bound is not None)

    def refusal(self, history: Mapping[Event, int]) -> str | None:
        """Return why `history` as a whole is not part of the multiset, in one sentence; None if it is."""
        planned = dict(self.planned)
        for event, count in history.items():
            if count > planned.get(event, 0):
                return (
                    f"{describe(event)} would happen {count} times and {planned.get(event, 0)} were planned "
                    f"(epsilon {self.epsilon:.4g})"
                )
        return None

    def most(self, history: Mapping[Event, int], step: Mapping[Event, int]) -> int:
        """Return how often `step` may still follow `history`: 0 if not once; at most 2^31 (for a step of nothing)."""
        planned = dict(self.planned)
        had = Counter(history)
        rooms = [(planned.get(event, 0) - had[event]) // count for event, count in step.items() if count]
        return 0 if self.refusal(history) is not None else max(0, min([*rooms, 2**31]))


class BudgetFilter:
    """Stands before a ledger: each cohort's charges are admitted as a whole, written ahead, or refused as a whole.

    `budgets` names budgets of single cohorts, `default` that of all others. The filter keeps no state of its own:
    what was spent is read from the ledger, so a resumed run is bound by everything that was charged before.
    """

    def __init__(self, ledger: Ledger, default: AnyBudget, budgets: Mapping[Cohort, AnyBudget] | None = None) -> None:
        self._ledger = ledger
        self._default = default
        self._budgets = dict(budgets or {})

    def budget(self, cohort: Cohort) -> AnyBudget:
        """Return the budget that binds `cohort`."""
        return self._budgets.get(cohort, self._default)

    def admit(self, charges: Sequence[Charge]) -> None:
        """Return if every cohort of `charges` keeps its budget after all of them; changes nothing.

        Raises:
            BudgetSpent: some cohort would not; the message names it, the event and the remedy.
        """
        spent = self._ledger.spent()
        for cohort, more in by_cohort(charges).items():
            if (why := self.budget(cohort).refusal(_plus(spent.get(cohort), more))) is not None:
                raise BudgetSpent(f"refused for {cohort}: {why}; retire the cohort's examples or end the training")

    def charge(self, charges: Sequence[Charge], **what: str | int) -> None:
        """Admit the charges, then write them ahead; only after this returns may the noise be drawn.

        Raises:
            BudgetSpent: nothing was written.
            LedgerClosed, LedgerDamaged, OSError: as `Ledger.charge`.
        """
        self.admit(charges)
        self._ledger.charge(charges, **what)

    def retired(self, next_step: Sequence[Charge]) -> frozenset[Cohort]:
        """Return the cohorts that `next_step` would take past their budget: their examples are sampled no more.

        Depends on the ledger alone, which is public, never on the examples.
        """
        spent = self._ledger.spent()
        wanted = by_cohort(next_step)
        return frozenset(
            cohort
            for cohort, more in wanted.items()
            if self.budget(cohort).refusal(_plus(spent.get(cohort), more)) is not None
        )

    def admitted(self, charges: Sequence[Charge]) -> tuple[Charge, ...]:
        """Return the charges of the cohorts that are not retired by them: what may run."""
        retired = self.retired(charges)
        return tuple(charge for charge in charges if charge.cohort not in retired)


def by_cohort(charges: Sequence[Charge]) -> dict[Cohort, Counter[Event]]:
    """Return what the charges together cost each cohort."""
    found: dict[Cohort, Counter[Event]] = {}
    for charge in charges:
        found.setdefault(charge.cohort, Counter())[charge.event] += charge.count
    return found


def _plus(had: Mapping[Event, int] | None, more: Mapping[Event, int]) -> Counter[Event]:
    return Counter(had) + Counter(more)
