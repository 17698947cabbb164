"""How often a model is right, over all test windows and over every group that can hide behind that average.

The share over all windows follows the largest classes; the mean over tasks or classes weighs each equally;
the worst client shows whom the average leaves behind. They can differ by tens of points, so they are
reported together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import SampleError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Fractions = dict[int, float | None]


def _share(correct: Bools) -> float | None:
    return float(correct.mean()) if correct.size else None


def _by_group(correct: Bools, sorts: Ints, groups: Iterable[int] | None) -> Fractions:
    wanted = np.unique(sorts).tolist() if groups is None else list(groups)
    return {int(group): _share(correct[sorts == group]) for group in wanted}


def _mean(shares: Fractions) -> float | None:
    known = [value for value in shares.values() if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, eq=False)
class Tally:
    """One prediction per test window, right or wrong, with the groups the window belongs to; all shape (n,).

    A group without windows has accuracy None and is left out of means; with no window at all every number
    is None.

    Args:
        correct: whether the prediction was right, boolean (or 0 and 1).
        labels: class of each window.
        tasks: task each window's class belongs to.
        clients: owner of each window.

    Raises:
        SampleError: the arrays differ in length, are not one-dimensional, or `correct` holds something else
            than 0, 1.
    """

    correct: Bools
    labels: Ints
    tasks: Ints
    clients: Ints

    def __post_init__(self) -> None:
        correct = np.asarray(self.correct)
        if correct.dtype != np.bool_ and not np.isin(correct, (0, 1)).all():
            raise SampleError("correct must be boolean, or hold 0 and 1 only; pass `predictions == labels`")
        object.__setattr__(self, "correct", np.array(correct, dtype=np.bool_))
        for name in ("labels", "tasks", "clients"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.int64))
        shapes = {name: getattr(self, name).shape for name in ("correct", "labels", "tasks", "clients")}
        if self.correct.ndim != 1 or len(set(shapes.values())) != 1:
            raise SampleError(f"shapes {shapes} differ; every array needs one entry per test window")

    @property
    def windows(self) -> int:
        """Number of test windows."""
        return int(self.correct.size)

    @property
    def micro(self) -> float | None:
        """Share of all test windows that were classified correctly."""
        return _share(self.correct)

    def per_task(self, groups: Iterable[int] | None = None) -> Fractions:
        """Accuracy per task; `groups` lists the tasks to report, by default those that occur."""
        return _by_group(self.correct, self.tasks, groups)

    def per_class(self, groups: Iterable[int] | None = None) -> Fractions:
        """Accuracy (recall) per class; `groups` lists the classes to report, by default those that occur."""
        return _by_group(self.correct, self.labels, groups)

    def per_client(self, groups: Iterable[int] | None = None) -> Fractions:
        """Accuracy per client; `groups` lists the clients to report, by default those that occur."""
        return _by_group(self.correct, self.clients, groups)

    @property
    def task_mean(self) -> float | None:
        """Mean over tasks that have windows."""
        return _mean(self.per_task())

    @property
    def class_mean(self) -> float | None:
        """Mean over classes that have windows (balanced accuracy)."""
        return _mean(self.per_class())

    @property
    def worst_client(self) -> float | None:
        """Accuracy of the client that is served worst, among those that have windows."""
        known = [value for value in self.per_client().values() if value is not None]
        return min(known) if known else None

    def where(self, mask: ArrayLike) -> Tally:
        """The tally of the windows `mask` selects (boolean, shape (n,)), such as those of classes seen.

        Raises:
            SampleError: `mask` is not boolean of shape (n,).
        """
        chosen = np.asarray(mask)
        if chosen.dtype != np.bool_ or chosen.shape != self.correct.shape:
            raise SampleError(f"mask has {chosen.dtype} {chosen.shape}; it must be bool {self.correct.shape}")
        return Tally(self.correct[chosen], self.labels[chosen], self.tasks[chosen], self.clients[chosen])
