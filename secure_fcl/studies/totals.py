"""What all runs of a study cost together: without a private choice, who saw the table saw every run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.files import read_json
from privacy import Event, Ledger, NonPrivate, RdpAccountant
from privacy.accountants import ORDERS
from privacy.cohorts import undominated
from privacy.renyi import epsilon_at, total_failure
from privacy.statement import best_epsilon
from secure_fcl.config import load_tree
from secure_fcl.rows.budgets import RowBudget
from secure_fcl.running.folder import RunFolder

NOT_CHARGED = "which run is best was chosen by looking at all of them, and that choice was not charged"


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What one run may cost any example: the histories of which one is the worst, and the delta beside them.

    `delta_used`: the part of delta that is no accountant's (overflow of memories, noise beyond its field). `unit`: of
    the run's guarantee; where it is a person, read person for example.
    """

    run: str
    data: str
    delta: float
    delta_used: float
    histories: tuple[dict[Event, int], ...]
    unit: str = "example"

    @property
    def private(self) -> bool:
        """Whether the run has any guarantee."""
        return not any(isinstance(event, NonPrivate) for history in self.histories for event in history)


@dataclass(frozen=True, kw_only=True)
class Total:
    """All runs of a study together, for an example that was in each: epsilon is inf where one had no guarantee.

    Attributes:
        runs: how many charged anything.
        private: how many of them have a guarantee.
        epsilon_private: of those alone.
        added_later: whether cells were added when others had finished: if what those showed decided which, the total
            is no bound, as it holds for runs that were fixed before the first.
    """

    runs: int
    private: int
    added_later: bool = False
    epsilon: float
    epsilon_private: float
    delta: float
    data: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the total as a JSON object; no guarantee is null."""
        return {
            "runs": self.runs,
            "private": self.private,
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "epsilon_private": self.epsilon_private if math.isfinite(self.epsilon_private) else None,
            "delta": self.delta,
            "data": list(self.data),
            "added_later": self.added_later,
            "choice_charged": False,
        }

    def sentences(self) -> list[str]:
        """Return what is printed below a study's table."""
        if not self.runs:
            return ["no run has charged anything yet"]
        several = f", which saw the data sets {', '.join(self.data)} between them" if len(self.data) > 1 else ""
        found = [f"all {self.runs} runs together{several}: {self._said(self.epsilon)}"]
        if self.private < self.runs:
            found[0] += f", as {self.runs - self.private} had no noise"
            if self.private:
                found.append(f"the other {self.private} together: {self._said(self.epsilon_private)}")
        later = ["cells were added after others had finished: the total holds if those did not decide which"]
        return [*found, *(later if self.added_later else []), NOT_CHARGED]

    def _said(self, epsilon: float) -> str:
        return f"epsilon {epsilon:.4g} at delta {self.delta:g}" if math.isfinite(epsilon) else "no guarantee"


def spending(folder: RunFolder) -> Spending | None:
    """Return what a run, finished or not, may cost any example; None if it has charged nothing yet.

    Of a cohort that was charged, all that its budget admits counts, as on a certificate. Imports no code of the run's.

    Raises:
        LedgerDamaged: the chain of a ledger is broken.
        KeyError, ValueError: a budget is none.
    """
    tree = load_tree(folder.path / "config.toml")
    # A cell of a study has one row.
    (row,) = tree["rows"]
    delta, used = float(tree["privacy"]["delta"]), 0.0
    with Ledger(folder.ledger_path(row)) as ledger:
        spent = ledger.spent()
    path = folder.budget_path(row)
    budget = read_json(path) if path.exists() else None
    if budget is not None:
        kept = RowBudget.from_json(budget)
        spent, used = kept.certified(spent), delta - kept.delta
    worst = tuple(undominated(spent.values()))
    if not worst:
        return None
    source = tree["data"].get("source", "catalogue")
    data = tree["data"]["name"] if source == "catalogue" else str(source)
    unit = str(tree["privacy"].get("unit", "example"))
    return Spending(run=folder.path.name, data=data, delta=delta, delta_used=used, histories=worst, unit=unit)


def total(spendings: Sequence[Spending], added_later: bool = False) -> Total:
    """Return what runs cost together any example that was in all of them; `added_later`: see `Total`.

    The events of one run after another are one multiset: where every run has one worst history, the smaller of RDP and
    PLD; else the sum of the pointwise largest Renyi curves. *Guarantee*: for runs that were fixed before the first was
    looked at; see `Total.added_later`.
    """
    private = [one for one in spendings if one.private]
    delta = max((one.delta for one in spendings), default=1e-5)
    epsilon = _together(private, delta)
    return Total(
        runs=len(spendings), private=len(private), delta=delta, epsilon_private=epsilon,
        epsilon=epsilon if len(private) == len(spendings) else math.inf,
        data=tuple(dict.fromkeys(one.data for one in spendings)), added_later=added_later,
    )  # fmt: skip


def _together(runs: Sequence[Spending], delta: float) -> float:
    left = delta - math.fsum(one.delta_used for one in runs)
    # What is charged for an example bounds nothing for a person, nor the other way about.
    if not runs or left <= 0.0 or len({one.unit for one in runs}) > 1:
        return math.inf if runs else 0.0
    if all(len(one.histories) == 1 for one in runs):
        events: Counter[Event] = Counter()
        for one in runs:
            events.update(one.histories[0])
        by_rdp, by_pld = best_epsilon(events, left)
        return by_rdp if by_pld is None else min(by_rdp, by_pld)
    accountant, curve, failure = RdpAccountant(), np.zeros(len(ORDERS)), 0.0
    for one in runs:
        curve = curve + np.max([accountant.curve(history) for history in one.histories], axis=0)
        failure += max(total_failure(history) for history in one.histories)
    return epsilon_at(ORDERS, curve.tolist(), left, failure)


def total_of(folder: Path, added_later: bool = False) -> Total:
    """Return the total over every run folder of a study, also of cells that its file no longer has.

    Raises:
        LedgerDamaged, RunFolderError: a run's folder is damaged.
    """
    paths = sorted((folder / "runs").glob("*/state.json"))
    runs = [RunFolder.named(path.parent) for path in paths if not path.parent.name.startswith(".")]
    return total([one for run in runs if (one := spending(run)) is not None], added_later)
