"""Membership with history (G-SEQ): how fast a model forgets its members, and what kept checkpoints are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.errors import CandidatesInvalid, GameInvalid
from attacks.games.attack import Candidates, FloatArray, IntArray, Losses
from attacks.games.judging import BoolArray
from attacks.games.play import Game
from attacks.games.standard import groups_of, standardise
from attacks.games.views import View
from attacks.membership.families import Family
from attacks.membership.losses import odds_table
from attacks.membership.shadow import checkpoint_scores
from attacks.shadows.models import ShadowModels
from evaluation.evidence import Score
from evaluation.intervals import delong_auc, delong_difference, mean_interval
from evaluation.roc import auc

HISTORY = Game("membership with history", "was this example trained on, now or long ago?")
"""Membership with history (G-SEQ).

b(x) = 1: x is in the training data of task k. b(x) = 0: x is from the same pool and never trained on. The
adversary gets the checkpoints of tasks k to t and scores x once from the last of them and once from all; t runs from k
to the end. The forgetting half-life is the first t at which the excess of the AUC over .5 has halved; the history
premium is the AUC from all checkpoints minus the AUC from the last (compare Jagielski et al. 2023, arXiv 2207.00099;
SeMI*, arXiv 2602.16596)."""


@dataclass(frozen=True, eq=False)
class HistoryScores:
    """Scores of one attacked model's candidates, all of one task, after each checkpoint from that task on.

    Attributes:
        last: (K, n), from checkpoint t alone.
        sequence: (K, n), from all checkpoints up to t; row 0 equals that of `last` up to monotone maps.
        truth: bool (n,).
        cluster: (n,), blocks whose examples share a coin; None if each has its own.
    """

    last: FloatArray
    sequence: FloatArray
    truth: BoolArray
    cluster: IntArray | None = None


@dataclass(frozen=True, kw_only=True)
class ForgettingCurve:
    """AUCs by checkpoint, over one attacked model (`delong_auc`, among blocks) or several (t intervals of means).

    Attributes:
        task: whose examples were asked about.
        checkpoints: task of each checkpoint, the first is `task`.
        last: AUC from that checkpoint alone.
        sequence: AUC from all checkpoints up to it.
        premium: `sequence` minus `last`, paired.
        half_life: checkpoints after the first until the excess over .5 has halved; None if it never does, or if the
            first AUC's interval reaches down to .5, so that nothing is known to be there to be forgotten.
    """

    task: int
    checkpoints: tuple[int, ...]
    last: tuple[Score, ...]
    sequence: tuple[Score, ...]
    premium: tuple[Score, ...]
    half_life: int | None


def history_scores(
    family: Family, shadows: ShadowModels, view: View, candidates: Candidates, truth: BoolArray
) -> HistoryScores:
    """Scores from shadow models (`checkpoint_scores`) for candidates of one task.

    Raises:
        GameInvalid: the candidates are of several tasks.
        CandidatesInvalid: a candidate is not in the pool, or the view lacks a checkpoint.
    """
    rows = range(shadows.row_of(_only_task(candidates)), len(shadows.tasks))
    last = np.stack([checkpoint_scores(family, shadows, view, candidates, [row]) for row in rows])
    return HistoryScores(last, last.cumsum(axis=0), truth, candidates.cluster)


def loss_history(losses: Losses, view: View, candidates: Candidates, truth: BoolArray) -> HistoryScores:
    """Scores without shadow models: log odds after each task from the candidates' own on, standardised per class.

    The sequence sums the standardised log odds, so that no checkpoint outweighs the others.

    Raises:
        GameInvalid: the candidates are of several tasks.
        CandidatesInvalid: the view lacks a checkpoint of the candidates' task.
    """
    task = _only_task(candidates)
    tasks = view.array("model_tasks").tolist()
    rows = np.array([_closing(tasks, later) for later in sorted({t for t in tasks if t >= task} | {task})])
    last = standardise(odds_table(losses, view, candidates, rows).T, groups_of(candidates)).T
    return HistoryScores(last, last.cumsum(axis=0), truth, candidates.cluster)


def _closing(tasks: list[int], task: int) -> int:
    if task not in tasks:
        raise CandidatesInvalid(
            f"the model sequence has no checkpoint of task {task} (it has {sorted(set(tasks))}); record one when each "
            "task closes"
        )
    return len(tasks) - 1 - tasks[::-1].index(task)


def _only_task(candidates: Candidates) -> int:
    tasks = np.unique(candidates.task)
    if len(tasks) != 1:
        raise GameInvalid(f"the candidates are of tasks {tasks.tolist()}; a forgetting curve is about one task")
    return int(tasks[0])


def forgetting_curve(
    task: int, checkpoints: Sequence[int], targets: Sequence[HistoryScores], confidence: float = 0.95
) -> ForgettingCurve:
    """The curve over one or more attacked models.

    Args:
        task: whose examples were asked about.
        checkpoints: tasks of the K checkpoints.
        targets: scores per attacked model; models are independent, candidates of one model are not.
        confidence: of the intervals.

    Raises:
        GameInvalid: no target, or scores that do not fit the checkpoints.
        SampleError: one target, whose members or non-members are of fewer than two clusters.
    """
    if not targets or any(
        t.last.shape != (len(checkpoints), len(t.truth)) or t.sequence.shape != t.last.shape for t in targets
    ):
        raise GameInvalid(
            f"{len(targets)} targets: scores ({len(checkpoints)}, candidates) are needed for at least one"
        )
    rows = [_row(targets, number, confidence) for number in range(len(checkpoints))]
    last, sequence, premium = zip(*rows, strict=True)
    return ForgettingCurve(
        task=task,
        checkpoints=tuple(checkpoints),
        last=last,
        sequence=sequence,
        premium=premium,
        half_life=_half_life(last),
    )


def _row(targets: Sequence[HistoryScores], row: int, confidence: float) -> tuple[Score, Score, Score]:
    """AUC from the last checkpoint, from all, and their paired difference."""
    if len(targets) > 1:
        from_last = [auc(t.last[row], t.truth) for t in targets]
        from_all = [auc(t.sequence[row], t.truth) for t in targets]
        gains = [a - b for a, b in zip(from_all, from_last, strict=True)]
        return tuple(mean_interval(values, confidence) for values in (from_last, from_all, gains))  # type: ignore[return-value]
    only = targets[0]
    late, early, truth, cluster = only.last[row], only.sequence[row], only.truth, only.cluster
    paired = delong_difference(early, late, truth, confidence, cluster)
    gain = Score(value=paired.value, low=paired.low, high=paired.high, confidence=confidence, n=len(truth))
    return delong_auc(late, truth, confidence, cluster), delong_auc(early, truth, confidence, cluster), gain


def _half_life(last: Sequence[Score]) -> int | None:
    start = last[0]
    if math.isnan(start.low) or start.low <= 0.5:
        return None
    halved = (row for row, score in enumerate(last) if score.value - 0.5 <= (start.value - 0.5) / 2)
    return next(halved, None)


def curve_record(curve: ForgettingCurve) -> dict[str, Any]:
    """A curve as JSON: one entry of "history"."""

    def cells(scores: Sequence[Score]) -> list[dict[str, float | None]]:
        found = []
        for score in scores:
            values = {"value": score.value, "low": score.low, "high": score.high}
            found.append({name: value if math.isfinite(value) else None for name, value in values.items()})
        return found

    return {
        "task": curve.task, "checkpoints": list(curve.checkpoints), "last": cells(curve.last),
        "sequence": cells(curve.sequence), "premium": cells(curve.premium), "half_life": curve.half_life,
    }  # fmt: skip
