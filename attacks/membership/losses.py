"""Losses of the candidates under a sequence of checkpoints, and scores that compare them fairly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import CandidatesInvalid, LossesInvalid
from attacks.games.attack import Candidates, FloatArray, IntArray, Losses
from attacks.games.views import View

SMALLEST_LOSS = 1e-6
"""Below this a float32 cross-entropy is rounding, and says nothing of the log odds."""


def losses_at(losses: Losses, weights: NDArray[Any], candidates: Candidates) -> FloatArray:
    """Losses of all candidates under one model, (n,).

    Raises:
        LossesInvalid: wrong shape, negative values, or values that are not finite (a model that diverged).
    """
    return _sound(_raw(losses, weights, candidates), len(candidates))


def resolved_at(losses: Losses, weights: NDArray[Any], candidates: Candidates) -> FloatArray:
    """Losses of all candidates under one model, (n,), small enough to take log odds of (`resolved`).

    Raises:
        LossesInvalid: as `losses_at` and `resolved`.
    """
    raw = _raw(losses, weights, candidates)
    _sound(raw, len(candidates))
    return resolved(raw)


def resolved(losses: NDArray[Any]) -> FloatArray:
    """The losses in float64, after checking that rounding has not eaten the smallest.

    Raises:
        LossesInvalid: a loss is 0, or below 1e-6 in a type shorter than float64.
    """
    short = losses.dtype.kind == "f" and losses.dtype.itemsize < 8
    eaten = int((losses < SMALLEST_LOSS).sum()) if short else int((losses == 0).sum())
    if eaten:
        least = f"below {SMALLEST_LOSS:g}" if short else "0"
        raise LossesInvalid(
            f"{eaten} of {losses.size} losses of type {losses.dtype} are {least}, "
            "where rounding has eaten the log odds; compute losses in float64 from logits, as "
            "modules.functions.label_losses does"
        )
    return np.asarray(losses, dtype=np.float64)


def _raw(losses: Losses, weights: NDArray[Any], candidates: Candidates) -> NDArray[Any]:
    return np.asarray(losses(np.ascontiguousarray(weights, dtype=np.float32), candidates.x, candidates.y))


def _sound(raw: NDArray[Any], count: int) -> FloatArray:
    values = raw.astype(np.float64)
    sound = np.isfinite(values) & (values >= 0)
    if values.shape != (count,) or not sound.all():
        raise LossesInvalid(
            f"the loss function returned shape {values.shape} with {int((~sound).sum())} values that are "
            f"negative or not finite; {count} cross-entropies are needed (has the model diverged?)"
        )
    return values


def log_odds(losses: FloatArray) -> FloatArray:
    """log(p / (1 - p)) of the true label's probability p = exp(-loss) (Carlini et al. 2022, section IV.C).

    A decreasing function of the loss, so that single losses rank alike; but nearly normal where losses have
    long tails, so means, differences and slopes of it are worth more. It has the losses' own precision: a float64 loss
    that was computed from logits (`modules.functions.label_losses`) gives the margin of the logits back, up to
    700. A loss of 0 counts as the smallest positive number; `resolved` refuses those of an audit.
    """
    positive = np.maximum(np.asarray(losses, dtype=np.float64), np.finfo(np.float64).tiny)
    odds: FloatArray = -(positive + np.log(-np.expm1(-positive)))
    return odds


def odds_table(losses: Losses, view: View, candidates: Candidates, rows: NDArray[Any]) -> FloatArray:
    """Log odds under the checkpoints `rows` of the view's model sequence, (len(rows), n).

    Raises:
        LossesInvalid: as `resolved_at`.
    """
    models = view.array("models")
    table = [log_odds(resolved_at(losses, models[row], candidates)) for row in rows]
    return np.stack(table) if table else np.zeros((0, len(candidates)))


def closing_rows(view: View, candidates: Candidates) -> IntArray:
    """For each candidate, the row of the last checkpoint taken in its own task, (n,).

    Raises:
        CandidatesInvalid: the sequence has no checkpoint of a candidate's task.
    """
    return _rows(candidates, {int(task): row for row, task in enumerate(view.array("model_tasks"))})


def first_rows(view: View, candidates: Candidates) -> IntArray:
    """For each candidate, the row of the first checkpoint taken in its own task.

    Raises:
        CandidatesInvalid: as `closing_rows`.
    """
    tasks = [int(task) for task in view.array("model_tasks")]
    return _rows(candidates, {task: tasks.index(task) for task in set(tasks)})


def _rows(candidates: Candidates, row_of: dict[int, int]) -> IntArray:
    missing = sorted({int(task) for task in candidates.task} - row_of.keys())
    if missing:
        raise CandidatesInvalid(
            f"the model sequence has no checkpoint of task(s) {missing} (it has {sorted(row_of)}); "
            "record one when each task closes, or leave these candidates out"
        )
    return np.array([row_of[int(task)] for task in candidates.task], dtype=np.int64)


def opening_rows(view: View, candidates: Candidates) -> IntArray:
    """For each candidate, the row of the last checkpoint taken before its own task began, (n,).

    Raises:
        CandidatesInvalid: there is no earlier checkpoint (record the initial model with task -1).
    """
    first = first_rows(view, candidates)
    bad = sorted({int(task) for task in candidates.task[first == 0]})
    if bad:
        raise CandidatesInvalid(
            f"no checkpoint was taken before task(s) {bad}; record the initial model as task -1, "
            "or leave these candidates out"
        )
    return first - 1
