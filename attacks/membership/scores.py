"""Membership inference from losses: was this example trained on?

Higher scores mean rather a member. The model's forward pass comes from the caller as `losses`; an attack
knows nothing of federations, clients or rounds. Scores that combine checkpoints use the log odds of the
true label instead of its loss (`losses.log_odds`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.games.attack import Attack, Candidates, FloatArray, Losses
from attacks.games.standard import groups_of, standardise
from attacks.games.views import Capability, View
from attacks.membership.losses import (
    closing_rows,
    first_rows,
    log_odds,
    losses_at,
    odds_table,
    opening_rows,
    resolved_at,
)


@dataclass(frozen=True)
class LossScore:
    """Negated loss under the final model (Yeom et al. 2018, section 3.2, without its threshold)."""

    losses: Losses = field(repr=False)
    name: str = "loss"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """-loss, (n,)."""
        return -losses_at(self.losses, view.array("final_model"), candidates)


@dataclass(frozen=True)
class OddsScore:
    """Log odds under the final model: single examples rank as by `LossScore`, but groups can be compared.

    Losses of examples that a model is sure of lie together within rounding once a mean is subtracted from them
    (`Standardised`); their log odds stay apart.
    """

    losses: Losses = field(repr=False)
    name: str = "loss"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log odds, (n,).

        Raises:
            LossesInvalid: rounding has eaten the log odds (`losses.resolved`).
        """
        return log_odds(resolved_at(self.losses, view.array("final_model"), candidates))


@dataclass(frozen=True)
class CheckpointDifference:
    """How much surer of the example the model became while the example's own task was trained.

    Log odds at the last checkpoint of the task minus those at the last checkpoint before it: the differential
    score of Zanella-Beguelin et al. 2020 and Jagielski et al. 2023 for a model updated with new data. The
    earlier model removes how hard the example is in itself. An adversary that kept the checkpoints loses
    nothing when the model forgets later.
    """

    losses: Losses = field(repr=False)
    name: str = "difference of checkpoints"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Gain in log odds, (n,).

        Raises:
            CandidatesInvalid: a task lacks a checkpoint before or in it.
        """
        before, after = opening_rows(view, candidates), closing_rows(view, candidates)
        rows = np.unique(np.concatenate([before, after]))
        table = odds_table(self.losses, view, candidates, rows)
        each = np.arange(len(candidates))
        gain: FloatArray = table[np.searchsorted(rows, after), each] - table[np.searchsorted(rows, before), each]
        return gain


@dataclass(frozen=True)
class CheckpointRatio:
    """By what factor the example's loss fell while the example's own task was trained.

    Log of the loss before the task over the loss after it: the ratio score of Jagielski et al. 2023 (section 4). Where
    a model is sure of all its members, ratios still tell them apart when differences of losses are alike.
    """

    losses: Losses = field(repr=False)
    name: str = "ratio of checkpoints"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log ratio of losses, (n,).

        Raises:
            CandidatesInvalid: a task lacks a checkpoint before or in it.
        """
        models, out = view.array("models"), np.zeros(len(candidates))
        before, after = opening_rows(view, candidates), closing_rows(view, candidates)
        for pair in {(int(b), int(a)) for b, a in zip(before, after, strict=True)}:
            chosen = np.flatnonzero((before == pair[0]) & (after == pair[1]))
            part = candidates.take(chosen)
            first, second = (resolved_at(self.losses, models[row], part) for row in pair)
            out[chosen] = np.log(first) - np.log(second)
        return out


def _since_arrival(losses: Losses, view: View, candidates: Candidates) -> tuple[FloatArray, FloatArray]:
    """Log odds standardised per checkpoint and group, (T, n), and which count."""
    first = first_rows(view, candidates)
    count = len(view.array("models"))
    rows = np.arange(int(first.min(initial=count)), count)
    table = odds_table(losses, view, candidates, rows)
    return standardise(table.T, groups_of(candidates)).T, (rows[:, None] >= first[None, :]).astype(np.float64)


@dataclass(frozen=True)
class SequenceMean:
    """Mean of the standardised log odds over every checkpoint from the first of the example's own task on.

    Averaging over the trajectory lowers the noise of a single checkpoint (compare Liu et al. 2022).
    """

    losses: Losses = field(repr=False)
    name: str = "mean over the sequence"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Mean standardised log odds, (n,).

        Raises:
            CandidatesInvalid: a task has no checkpoint.
        """
        fair, seen = _since_arrival(self.losses, view, candidates)
        mean: FloatArray = (fair * seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1.0)
        return mean


@dataclass(frozen=True)
class SequenceBest:
    """Largest standardised log odds over the checkpoints from the first of the example's own task on.

    The checkpoint is chosen per example from the scores alone, never from the truth.
    """

    losses: Losses = field(repr=False)
    name: str = "best of the sequence"
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Largest standardised log odds, (n,).

        Raises:
            CandidatesInvalid: a task has no checkpoint.
        """
        fair, seen = _since_arrival(self.losses, view, candidates)
        best: FloatArray = np.where(seen > 0, fair, -np.inf).max(axis=0, initial=-np.inf)
        return best


@dataclass(frozen=True)
class Standardised:
    """Any attack, with its scores standardised per (task, label): for candidates from several tasks."""

    inner: Attack

    @property
    def name(self) -> str:
        """The inner attack's name, marked."""
        return f"{self.inner.name}, per class"

    @property
    def requires(self) -> frozenset[Capability]:
        """As the inner attack."""
        return self.inner.requires

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Standardised scores of the inner attack, (n,)."""
        return standardise(self.inner.score(view, candidates), groups_of(candidates))
