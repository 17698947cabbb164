"""Accuracy between the ends of tasks: a model that is asked at any time, and the dip that task ends hide.

A matrix of accuracies looks at a model when a task is finished. A deployed model is asked before that. What is
measured here needs accuracies after every round (or every few): the curve of `Continual`.

Formulas: area under the curve of Koh et al. 2022 (i-Blurry, section 3.2); min-ACC and WC-ACC of De Lange, van de
Ven and Tuytelaars 2023 (the stability gap, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import MatrixError

Floats = NDArray[np.float64]


def anytime_accuracy(seen: ArrayLike, accuracies: ArrayLike) -> float:
    """Area under the accuracy over examples seen, divided by the examples seen: a share in [0, 1].

    The accuracy measured after n examples counts for the examples since the measurement before. With even
    spacing it is the mean of the accuracies (A_AUC of i-Blurry). Measure over the classes seen so far. A value
    that was not measured (NaN) is bridged by the next one; after the last measured value nothing counts, and a
    measurement at which no example is new counts nothing.

    Args:
        seen: examples seen at each measurement, never falling, above 0 at the last, shape (n,).
        accuracies: accuracy at each measurement, shape (n,).

    Returns:
        The area, NaN if nothing was measured.

    Raises:
        MatrixError: shapes differ or are not (n,), `seen` falls, starts below 0 or stays 0, or an accuracy is
            outside [0, 1].
    """
    places, shares = np.asarray(seen, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if places.ndim != 1 or places.shape != shares.shape:
        raise MatrixError(f"seen has shape {places.shape} and accuracies {shares.shape}; both need one per measurement")
    known = ~np.isnan(shares)
    places, shares = places[known], shares[known]
    if not places.size:
        return float("nan")
    steps = np.diff(places, prepend=0.0)
    if not np.isfinite(places).all() or (steps < 0.0).any() or places[-1] <= 0.0:
        raise MatrixError("seen must never fall, start at 0 or more and end above 0")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise MatrixError(f"accuracies lie in [{shares.min()}, {shares.max()}]; they must be in [0, 1]")
    return float((steps * shares).sum() / places[-1])


@dataclass(frozen=True, eq=False)
class Continual:
    """Accuracies on every task at every measurement of a run, and where in it each task ended; read-only.

    Args:
        values: accuracy per measurement and task, shape (measurements, T), each in [0, 1] or NaN.
        ends: index of the measurement at the end of each task learnt so far, in order, at most T of them. The
            stage of task i consists of the measurements after `ends[i - 1]` up to `ends[i]`.

    Raises:
        MatrixError: a shape that does not fit, an accuracy outside [0, 1], or ends that do not increase inside
            the measurements.
    """

    values: Floats
    ends: tuple[int, ...]

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or not values.size:
            raise MatrixError(f"values has shape {values.shape}; it must be (measurements, tasks), neither 0")
        measured = values[~np.isnan(values)]
        if measured.size and (measured.min() < 0.0 or measured.max() > 1.0):
            raise MatrixError(f"accuracies lie in [{measured.min()}, {measured.max()}]; they must be in [0, 1]")
        ends = tuple(int(end) for end in self.ends)
        rising = all(a < b for a, b in zip((-1, *ends), ends, strict=False))
        if not rising or len(ends) > values.shape[1] or (ends and ends[-1] >= len(values)):
            raise MatrixError(
                f"ends={ends}: need at most {values.shape[1]} increasing places among {len(values)} measurements"
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "ends", ends)

    @property
    def learnt(self) -> int:
        """Number of tasks that have ended."""
        return len(self.ends)

    def minimum_accuracies(self) -> Floats:
        """Worst accuracy of each task after its end, shape (T,); NaN for the last one learnt and those to come."""
        result = np.full(self.values.shape[1], np.nan)
        for task in range(self.learnt - 1):
            result[task] = np.fmin.reduce(self.values[self.ends[task] + 1 : self.ends[-1] + 1, task])
        return result

    def minimum_accuracy(self) -> float:
        """min-ACC: mean of `minimum_accuracies`, the worst that old tasks ever were; NaN before the second end."""
        return _mean(self.minimum_accuracies())

    def worst_case_accuracy(self) -> float:
        """WC-ACC: the last task's accuracy at its end with weight 1/k, min-ACC with weight (k-1)/k, k tasks learnt.

        A lower bound on the average accuracy at the end that no moment since undercuts. With one task it is
        that task's accuracy; NaN if no task has ended or a part of it was not measured.
        """
        if not self.learnt:
            return float("nan")
        newest = float(self.values[self.ends[-1], self.learnt - 1])
        if self.learnt == 1:
            return newest
        return newest / self.learnt + (1.0 - 1.0 / self.learnt) * self.minimum_accuracy()

    def stability_gap(self) -> float:
        """Depth of the dip that measurements at task ends alone cannot see; never negative.

        For every later stage and every task learnt before it: the smaller of its accuracies at the stage's two
        ends, minus its minimum inside the stage, or 0 if it never falls below; averaged over all such pairs.
        Accuracy that only declines has no gap (that is forgetting), accuracy that falls and recovers has.
        De Lange et al. 2023 name the phenomenon and plot it; the one number is ours. NaN before the second end.
        """
        dips = []
        for stage in range(1, self.learnt):
            first, last = self.ends[stage - 1], self.ends[stage]
            for task in range(stage):
                curve = self.values[first : last + 1, task]
                dips.append(np.minimum(curve[0], curve[-1]) - np.fmin.reduce(curve))
        return _mean(np.array(dips))


def _mean(values: Floats) -> float:
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if measured.size else float("nan")
