"""The accuracy matrix of continual learning and every number computed from it.

`A[i, j]` is the accuracy on task `j`'s test set after learning task `i` (0-based, `T` tasks). NaN marks
what was not measured. Three rules hold for every metric of this module:

* rows after the last measured one are ignored: a run in progress is judged as if its last stage were the end;
* a task without a measured value where a formula needs one (no test examples) is left out of the mean;
* a metric with nothing to average is NaN, never 0: with one task there is no forgetting, transfer forward
  or back.

Formulas: Lopez-Paz and Ranzato 2017 (GEM), section 2; Chaudhry et al. 2018 (RWalk), section 3; Rebuffi et
al. 2017 (iCaRL). Code bases compute "forgetting" in ways that differ; the variants carry the code base's
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import MatrixError

Floats = NDArray[np.float64]


def _mean(values: Iterable[float]) -> float:
    finite = [float(value) for value in values if not np.isnan(value)]
    return sum(finite) / len(finite) if finite else float("nan")


def _max(values: Floats) -> float:
    measured = values[~np.isnan(values)]
    return float(measured.max()) if measured.size else float("nan")


@dataclass(frozen=True, eq=False)
class AccuracyMatrix:
    """Accuracies `values[stage, task]`, shape (T, T), each in [0, 1] or NaN; read-only.

    Entries above the diagonal (a task measured before it was learnt) are read by `forward_transfer` and by
    the variants that say so, by nothing else.

    Raises:
        MatrixError: not square, empty, or a value outside [0, 1] (infinities included).
    """

    values: Floats

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or values.shape[0] != values.shape[1] or values.size == 0:
            raise MatrixError(f"values has shape {values.shape}; it must be (T, T) with at least one task")
        measured = values[~np.isnan(values)]
        if measured.size and (measured.min() < 0.0 or measured.max() > 1.0):
            raise MatrixError(f"accuracies lie in [{measured.min()}, {measured.max()}]; they must be in [0, 1]")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @classmethod
    def empty(cls, tasks: int) -> AccuracyMatrix:
        """A matrix of `tasks` tasks in which nothing is measured yet."""
        return cls(np.full((max(tasks, 0), max(tasks, 0)), np.nan))

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[float | None]]) -> AccuracyMatrix:
        """Rows in stage order, None for "not measured"; missing rows and short rows are filled with NaN.

        Raises:
            MatrixError: no row at all, or a value outside [0, 1].
        """
        tasks = max([len(rows), *(len(row) for row in rows)])
        values = np.full((tasks, tasks), np.nan)
        for stage, row in enumerate(rows):
            for task, value in enumerate(row):
                values[stage, task] = np.nan if value is None else value
        return cls(values)

    def with_row(self, stage: int, accuracies: Sequence[float | None]) -> AccuracyMatrix:
        """A copy in which the row of `stage` holds `accuracies` (None for "no test examples").

        Raises:
            MatrixError: `stage` is outside [0, T) or there are not T accuracies.
        """
        if not 0 <= stage < self.tasks or len(accuracies) != self.tasks:
            raise MatrixError(f"stage={stage} with {len(accuracies)} accuracies does not fit {self.tasks} tasks")
        values = np.array(self.values)
        values[stage] = [np.nan if value is None else value for value in accuracies]
        return AccuracyMatrix(values)

    @property
    def tasks(self) -> int:
        """Number of tasks T."""
        return int(self.values.shape[0])

    @property
    def stages(self) -> int:
        """Number of leading rows in use: the index of the last row with a measured value, plus one."""
        measured = np.flatnonzero(~np.isnan(self.values).all(axis=1))
        return int(measured[-1]) + 1 if measured.size else 0

    @property
    def final(self) -> Floats:
        """The last measured row, shape (T,); NaN everywhere when nothing is measured."""
        row: Floats = self.values[max(self.stages - 1, 0)]
        return row

    def average_accuracy(self, stage: int | None = None) -> float:
        """AA_i: mean over the tasks learnt so far (`j <= i`) after `stage` i, by default the last measured.

        Raises:
            MatrixError: `stage` is outside [0, T).
        """
        if stage is not None and not 0 <= stage < self.tasks:
            raise MatrixError(f"stage={stage} is outside [0, {self.tasks})")
        index = self.stages - 1 if stage is None else stage
        return _mean(self.values[index, : index + 1]) if index >= 0 else float("nan")

    def average_incremental_accuracy(self) -> float:
        """AIA: mean of AA_i over the measured stages (the "average accuracy" of iCaRL)."""
        return _mean(self.average_accuracy(stage) for stage in range(self.stages))

    def learning_accuracy(self) -> float:
        """LA (plasticity): mean of A[j, j], each task judged right after it was learnt."""
        return _mean(self.values[j, j] for j in range(self.stages))

    def forgetting_per_task(self) -> Floats:
        """F_j, shape (T,): best accuracy on task j from learning it to the stage before last, minus the last.

        Chaudhry et al. 2018, equation 3. That equation also looks at stages before task j was learnt; with
        classes arriving over time the accuracy there is zero and the two agree. Negative where a task
        improved. NaN for the last learnt task and for tasks not yet learnt.
        """
        last = self.stages - 1
        result = np.full(self.tasks, np.nan)
        for j in range(last):
            result[j] = _max(self.values[j:last, j]) - self.values[last, j]
        return result

    def forgetting(self) -> float:
        """F: mean of `forgetting_per_task` over all tasks but the last; NaN with fewer than two stages."""
        return _mean(self.forgetting_per_task())

    def backward_transfer(self) -> float:
        """BWT (GEM): mean of A[last, j] - A[j, j] over `j < last`; -BWT <= F. NaN before the second stage."""
        return _mean(-drop for drop in self._diagonal_drops()[:-1])

    def forward_transfer(self, baseline: ArrayLike) -> float:
        """FWT (GEM): mean over `j >= 1` of A[j-1, j] - baseline[j].

        NaN if no task was measured before it was learnt.

        Args:
            baseline: accuracy of a randomly initialised model on each task, shape (T,).

        Raises:
            MatrixError: `baseline` does not have shape (T,).
        """
        chance = np.asarray(baseline, dtype=np.float64)
        if chance.shape != (self.tasks,):
            raise MatrixError(f"baseline has shape {chance.shape}; it needs one value per task, ({self.tasks},)")
        return _mean(self.values[j - 1, j] - chance[j] for j in range(1, self.stages))

    def forgetting_mfcl(self) -> float:
        """MFCL's and fed-mammoth's number: mean of A[j, j] - A[last, j] over *all* tasks, the last included.

        Smaller than the usual definition by (T-1)/T, and it starts from the diagonal instead of the best
        stage.
        """
        return _mean(self._diagonal_drops())

    forgetting_fed_mammoth = forgetting_mfcl

    def forgetting_lander(self) -> float:
        """LANDER's number: mean over all stages i of the best accuracy on any task then, minus A[last, i].

        The maximum runs over tasks where the usual definition runs over stages, and the last stage is
        counted too.
        """
        last = self.stages - 1
        return _mean(_max(self.values[i, : i + 1]) - self.values[last, i] for i in range(self.stages))

    def forgetting_mammoth(self) -> float:
        """Mammoth's number: best accuracy at any stage, the first and the last included, minus the last.

        Never negative: a task that improved counts as zero. Averaged over all tasks but the last.
        """
        last = self.stages - 1
        return _mean(_max(self.values[: last + 1, j]) - self.values[last, j] for j in range(max(last, 0)))

    def forgetting_multifcl(self) -> float:
        """MultiFCL's number: the average accuracy after the first stage, minus the one after the last.

        It compares the model on one task with the model on all of them, so it falls with every task that is
        harder than the first even if nothing is forgotten. Read from the paper's text, which gives no formula.
        """
        return self.average_accuracy(0) - self.average_accuracy() if self.stages > 1 else float("nan")

    def _diagonal_drops(self) -> list[float]:
        return [float(self.values[j, j] - self.final[j]) for j in range(self.stages)]
