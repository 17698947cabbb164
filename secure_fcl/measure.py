"""Evaluation of a model on the test windows, outside every guarantee, and its records for metrics.jsonl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.accuracy import Tally
from evaluation.anytime import Continual, anytime_accuracy
from evaluation.matrix import AccuracyMatrix
from secure_fcl.rows import RowPlan
from secure_fcl.strategies import State
from secure_fcl.streams import IDLE

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

    def after_round(self, state: State, slot: int) -> dict[str, Any]:
        """Return accuracies on a fixed part of the test windows: over all tasks, over those met, and of each."""
        probe = self._probe
        correct = self._predict(state, probe) == self._y[probe]
        tally = Tally(correct, self._y[probe], self._task[probe], self._owner[probe])
        shares = tally.per_task(range(self._plan.scenario.tasks))
        return {
            "probe_accuracy": float(correct.mean()),
            "probe_seen": tally.where(self._met(slot, probe)).micro,
            "probe_tasks": list(shares.values()),
        }

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
        record = {
            "kind": "task",
            "row": self._plan.name,
            "task": slot,
            "accuracy": [shares[t] for t in tasks],
            "micro": tally.micro,
            "seen": tally.where(self._met(slot, np.arange(len(self._y)))).micro,
        }
        return record, tally

    def _met(self, slot: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(self._task[index], np.unique(self._plan.scenario.calendar[:, : slot + 1]))

    def final(self, tally: Tally, slots: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the closing record: `slots` and `rounds` are the records of all slots and rounds, in order.

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
            **self._between_ends(rounds),
        }

    def _between_ends(self, rounds: list[dict[str, Any]]) -> dict[str, float]:
        scenario, per_slot = self._plan.scenario, self._plan.rounds_per_slot
        lag = scenario.slots - scenario.tasks
        arrived = [self._arrivals(slot) / per_slot for slot in range(scenario.slots) for _ in range(per_slot)]
        shares = [float("nan") if r["probe_seen"] is None else r["probe_seen"] for r in rounds]
        curve = Continual(
            np.array([r["probe_tasks"] for r in rounds], dtype=np.float64),
            tuple((lag + task + 1) * per_slot - 1 for task in range(scenario.tasks)),
        )
        return {
            "anytime_accuracy": anytime_accuracy(np.cumsum(arrived), shares),
            "worst_case_accuracy": curve.worst_case_accuracy(),
            "stability_gap": curve.stability_gap(),
        }

    def _arrivals(self, slot: int) -> int:
        scenario = self._plan.scenario
        meets = enumerate(scenario.calendar[:, slot])
        return sum(len(scenario.experience(k, int(task)).index) for k, task in meets if task != IDLE)
