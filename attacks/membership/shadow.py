"""Attacks that compare the attacked model with shadow models: membership, with and without history, and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.errors import CandidatesInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.views import Capability, View
from attacks.membership.families import BAVARIA, Family, family_scores, rmia_scores, signals
from attacks.shadows.models import ShadowModels


def _signals(family: Family, shadows: ShadowModels, view: View, row: int, candidates: Candidates) -> FloatArray:
    """Signals of the attacked model's last checkpoint in the task of shadow checkpoint `row`, (1, n)."""
    models, tasks = view.array("models"), view.array("model_tasks")
    rows = np.flatnonzero(tasks == shadows.tasks[row])
    if not len(rows):
        raise CandidatesInvalid(
            f"the view has no checkpoint of task {int(shadows.tasks[row])} (it has {sorted(set(tasks.tolist()))}), "
            "which the shadow models have; record one when each task closes"
        )
    return _own(family, shadows, models[rows[-1]], candidates)


def _own(family: Family, shadows: ShadowModels, weights: NDArray[Any], candidates: Candidates) -> FloatArray:
    """Signals of one model on the candidates, (n,)."""
    losses = shadows.trainer.losses(np.asarray(weights, dtype=np.float32)[None], candidates.x, candidates.y)
    own: FloatArray = signals(losses, family.signal)[0]
    return own


def checkpoint_scores(
    family: Family, shadows: ShadowModels, view: View, candidates: Candidates, rows: Sequence[int]
) -> FloatArray:
    """Membership scores (`family_scores`) summed over the shadow checkpoints `rows`, (n,).

    Summing the log ratios treats checkpoints as independent. They are not, so the sum is a score and no likelihood
    ratio; it keeps what an early checkpoint shows after the model has forgotten.

    Raises:
        CandidatesInvalid: a candidate is not in the shadow models' pool, or the view lacks a checkpoint.
    """
    columns, total = shadows.locate(candidates), np.zeros(len(candidates))
    for row in rows:
        theirs = signals(shadows.losses[:, row, columns], family.signal)
        observed = _signals(family, shadows, view, row, candidates)
        total = total + family_scores(family, observed, theirs, shadows.trained[:, columns])
    return total


@dataclass(frozen=True, eq=False)
class ShadowMembership:
    """Was the example trained on? LiRA, the ratio or BaVarIA, as the family says.

    Attributes:
        shadows: trained on the adversary's own coins; the candidates must be in their pool.
        family: the score.
        history: "final" uses the last model alone; "all" adds the scores of every checkpoint from the example's own
            task on, as an adversary does who kept the models (G-SEQ).
    """

    shadows: ShadowModels = field(repr=False)
    family: Family = BAVARIA
    history: Literal["final", "all"] = "final"

    @property
    def name(self) -> str:
        """The family's name and what of the history is used."""
        return self.family.name + (", all checkpoints" if self.history == "all" else "")

    @property
    def requires(self) -> frozenset[Capability]:
        """The final model or the sequence of models."""
        return frozenset({Capability.FINAL_MODEL if self.history == "final" else Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log likelihood ratios (summed), (n,).

        Raises:
            CandidatesInvalid: a candidate is not in the shadow models' pool, or the view lacks a checkpoint of a task.
        """
        if self.history == "final":
            columns = self.shadows.locate(candidates)
            theirs = signals(self.shadows.losses[:, -1, columns], self.family.signal)
            own = _own(self.family, self.shadows, view.array("final_model"), candidates)
            return family_scores(self.family, own, theirs, self.shadows.trained[:, columns])
        out = np.zeros(len(candidates))
        for task in np.unique(candidates.task):
            chosen = np.flatnonzero(candidates.task == task)
            rows = range(self.shadows.row_of(int(task)), len(self.shadows.tasks))
            part = candidates.take(chosen)
            out[chosen] = checkpoint_scores(self.family, self.shadows, view, part, rows)
        return out


@dataclass(frozen=True, eq=False)
class ShadowRetained:
    """Does the memory still hold the example? Shadow models that kept it against those that saw and discarded it.

    Attributes:
        shadows: with memories of their own; the candidates must be in their pool.
        family: the score. With a memory of 20 in 450 and 128 shadows, about three of them kept a given example.
        since_closing: adds the score of the change since the example's task closed, which needs all models.
    """

    shadows: ShadowModels = field(repr=False)
    family: Family = BAVARIA
    since_closing: bool = False

    @property
    def name(self) -> str:
        """The family's name and what of the history is used."""
        return self.family.name + (" with the change since the task closed" if self.since_closing else "")

    @property
    def requires(self) -> frozenset[Capability]:
        """The final model or the sequence of models."""
        return frozenset({Capability.MODEL_SEQUENCE if self.since_closing else Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log likelihood ratios, (n,).

        They are not standardised per class: a memory that drew more of one class raises all of that class, and that
        tells of the coins, which knew no classes. (Where coins do depend on class, use `membership.Standardised`.)

        Raises:
            CandidatesInvalid: a candidate is not in the pool, or no checkpoint follows its task.
        """
        columns, shadows = self.shadows.locate(candidates), self.shadows
        inside, seen = shadows.kept[:, columns], shadows.trained[:, columns]
        # Where every model that saw an example kept it, those that never saw it have to do.
        seen = seen | ~(seen & ~inside).any(axis=0)
        last = len(shadows.tasks) - 1
        after = signals(shadows.losses[:, last, columns], self.family.signal)
        own = _own(self.family, shadows, view.array("final_model"), candidates)
        total = family_scores(self.family, own, after, inside, seen)
        if self.since_closing:
            before, then = np.empty_like(after), np.empty_like(own)
            for task in np.unique(candidates.task):
                row = shadows.row_of(int(task))
                if row >= last:
                    raise CandidatesInvalid(f"no checkpoint follows task {int(task)}; leave its candidates out")
                chosen = np.flatnonzero(candidates.task == task)
                part = candidates.take(chosen)
                before[:, chosen] = signals(shadows.losses[:, row, columns[chosen]], self.family.signal)
                then[chosen] = _signals(self.family, shadows, view, row, part)
            total = total + family_scores(_plain_centre(self.family), own - then, after - before, inside, seen)
        return total


def _plain_centre(family: Family) -> Family:
    """Differences of log probabilities are no probabilities: their centre is a plain mean."""
    return replace(family, centre="signal")


OFFLINE_RMIA = 0.3
"""The a of offline RMIA that Zarifzadeh et al. 2024 use on CIFAR-10 (appendix B.2.2)."""


@dataclass(frozen=True, eq=False)
class Rmia:
    """Share of a population whose ratio the candidate's exceeds (Zarifzadeh et al. 2024, `families.rmia_scores`).

    Attributes:
        shadows: as of `ShadowMembership`.
        population: examples that no game asks about and that no model trained on. Those that are in the shadow models'
            pool are left out: as candidates their truth would leak into the scores.
        offline: the paper's a if IN models are to be left out (`families.rmia_scores`); None is online.
    """

    shadows: ShadowModels = field(repr=False)
    population: Candidates = field(repr=False)
    offline: float | None = None
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    @property
    def name(self) -> str:
        """RMIA, marked if IN models are left out."""
        return "RMIA" if self.offline is None else "RMIA, offline"

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Shares, (n,).

        Raises:
            CandidatesInvalid: a candidate is not in the shadow models' pool.
            ShadowsInvalid: nobody is left of the population.
        """
        columns, trainer = self.shadows.locate(candidates), self.shadows.trainer
        attacked = np.asarray(view.array("final_model"), dtype=np.float32)[None]
        last = self.shadows.weights[:, -1]

        def log_probability(weights: np.ndarray, asked: Candidates) -> FloatArray:
            return signals(trainer.losses(weights, asked.x, asked.y), "log probability")

        strangers = self.population.take(~self.shadows.holds(self.population))
        theirs = log_probability(attacked, strangers)[0], log_probability(last, strangers)
        own = log_probability(attacked, candidates)[0]
        shadows = signals(self.shadows.losses[:, -1, columns], "log probability")
        return rmia_scores(own, shadows, self.shadows.trained[:, columns], theirs, offline=self.offline)
