"""Retained or merely seen: does the replay memory still hold this example?

Every candidate was trained on in its own task; the question is whether the memory kept it. All scores are
standardised per (task, label) without the truth, so that neither task nor class identity can enter the AUC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.errors import CandidatesInvalid
from attacks.games.attack import Candidates, FloatArray, IntArray, Losses
from attacks.games.standard import groups_of, standardise
from attacks.games.views import Capability, View
from attacks.membership.losses import closing_rows, log_odds, odds_table, resolved_at


def _closed_before_last(view: View, candidates: Candidates) -> IntArray:
    """Closing rows, after checking that some checkpoint follows each."""
    close = closing_rows(view, candidates)
    last = len(view.array("models")) - 1
    late = sorted({int(task) for task in candidates.task[close >= last]})
    if late:
        raise CandidatesInvalid(
            f"no checkpoint was taken after task(s) {late} closed, so the models cannot tell retained from "
            "seen; leave these candidates out"
        )
    return close


@dataclass(frozen=True)
class RetainedLoss:
    """Log odds under the final model: what is replayed stays learned."""

    losses: Losses = field(repr=False)
    name: str = "loss"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log odds, standardised, (n,)."""
        odds = log_odds(resolved_at(self.losses, view.array("final_model"), candidates))
        return standardise(odds, groups_of(candidates))


@dataclass(frozen=True)
class RetainedDifference:
    """Log odds at the last checkpoint minus those when the task closed: what is not replayed is forgotten."""

    losses: Losses = field(repr=False)
    name: str = "difference since the task closed"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Standardised difference, (n,).

        Raises:
            CandidatesInvalid: candidates of the last task.
        """
        close = _closed_before_last(view, candidates)
        rows = np.unique(np.append(close, len(view.array("models")) - 1))
        table = odds_table(self.losses, view, candidates, rows)
        at_close = table[np.searchsorted(rows, close), np.arange(len(candidates))]
        return standardise(table[-1] - at_close, groups_of(candidates))


@dataclass(frozen=True)
class RetainedSlope:
    """Least-squares slope of the log odds over the checkpoints from the close of the task to the end."""

    losses: Losses = field(repr=False)
    name: str = "slope of the trajectory"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Standardised slope per checkpoint, (n,).

        Raises:
            CandidatesInvalid: as `RetainedDifference`.
        """
        if not len(candidates):
            return np.zeros(0)
        close = _closed_before_last(view, candidates)
        rows = np.arange(int(close.min()), len(view.array("models")))
        table = odds_table(self.losses, view, candidates, rows)
        seen = (rows[:, None] >= close[None, :]).astype(np.float64)
        time = rows[:, None] - (seen * rows[:, None]).sum(axis=0) / seen.sum(axis=0)
        slope = (seen * time * table).sum(axis=0) / (seen * time**2).sum(axis=0)
        return standardise(slope, groups_of(candidates))
