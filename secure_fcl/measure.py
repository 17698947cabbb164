"""Evaluation of a model on the test windows, outside every guarantee, and its records for metrics.jsonl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.accuracy import Tally
from evaluation.matrix import AccuracyMatrix
from secure_fcl.rows import RowPlan
from secure_fcl.strategies import State

PROBE_EXAMPLES = 512


class Measure:
    """The test windows of one row's scenario, and what is recorded of a model on them."""

    def __init__(self, plan: RowPlan) -> None:
        scenario = plan.scenario
        self._plan = plan
        test = scenario.test_indices()
        self._x = scenario.x[test]
        self._y = scenario.data.y[test]
        self._task = scenario.task[test]
        self._owner = scenario.owner[test]
        # Every k-th window: a fixed probe of all tasks for the progress display.
        self._probe = np.arange(0, len(test), max(1, len(test) // PROBE_EXAMPLES))

    def probe(self, state: State) -> float:
        """Return the accuracy on a fixed part of the test windows, over all tasks."""
        return float((self._predict(state, self._probe) == self._y[self._probe]).mean())

    def tally(self, state: State) -> Tally:
        """Return right and wrong on every test window."""
        correct = self._predict(state, np.arange(len(self._y))) == self._y
        return Tally(correct, self._y, self._task, self._owner)

    def _predict(self, state: State, index: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(self._plan.strategy.scores(state, self._x[index]).argmax(axis=1))

    def after_slot(self, state: State, slot: int) -> tuple[dict[str, Any], Tally]:
        """Return the record of a slot's end and the tally it came from."""
        tally = self.tally(state)
        tasks = range(self._plan.scenario.tasks)
        shares = tally.per_task(tasks)
        met = np.isin(self._task, sorted({int(t) for t in np.unique(self._plan.scenario.calendar[:, : slot + 1])}))
        record = {
            "kind": "task",
            "row": self._plan.name,
            "task": slot,
            "accuracy": [shares[t] for t in tasks],
            "micro": tally.micro,
            "seen": tally.where(met).micro,
        }
        return record, tally

    def final(self, tally: Tally, slots: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the closing record: `slots` are the records of all slots, in order.

        With asynchronous arrival the matrix's row i is the slot in which the last client closes task i.
        """
        scenario = self._plan.scenario
        lag = scenario.slots - scenario.tasks
        matrix = AccuracyMatrix.from_rows([record["accuracy"] for record in slots[lag:]])
        names = scenario.data.classes
        classes = tally.per_class(range(len(names)))
        return {
            "kind": "final",
            "row": self._plan.name,
            "strategy": self._plan.strategy.name,
            "noise": self._plan.noise,
            "micro": tally.micro,
            "task_mean": tally.task_mean,
            "class_mean": tally.class_mean,
            "worst_client": tally.worst_client,
            "per_class": {names[c]: share for c, share in classes.items()},
            "per_client": {str(k): share for k, share in tally.per_client(range(scenario.clients)).items()},
            "average_incremental_accuracy": matrix.average_incremental_accuracy(),
            "forgetting": matrix.forgetting(),
            "backward_transfer": matrix.backward_transfer(),
            "learning_accuracy": matrix.learning_accuracy(),
        }
