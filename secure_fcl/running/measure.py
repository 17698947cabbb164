"""Evaluation of a model on the test windows, outside every guarantee, and its records for metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.accuracy import Tally
from evaluation.anytime import Continual, anytime_accuracy
from evaluation.matrix import AccuracyMatrix
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import State
from secure_fcl.streams import NEVER, Scenario, Wait

PROBE_EXAMPLES = 512
Models = Callable[[State], Sequence[State]]
"""The states to evaluate when the server's is given: that one, or each client's own."""

_LOWEST = float(np.finfo(np.float32).min)


class Measure:
    """The test windows of one row's scenario, and what is recorded of a model on them.

    Where clients have models of their own, each is tried on every window, and a window's owner is the model's client:
    all accuracies are then means over clients.
    """

    def __init__(self, plan: RowPlan, models: Models = lambda state: [state]) -> None:
        scenario = plan.scenario
        self._plan = plan
        self._models = models
        test = scenario.test_indices()
        self._test = test
        self._x = scenario.x[test]
        self._y = scenario.data.y[test]
        self._part = scenario.part[test]
        self._owner = scenario.owner[test]
        self._unseen = scenario.unseen_indices()
        # Every k-th window: a fixed probe of all tasks for the progress display.
        self._probe = np.arange(0, len(test), max(1, len(test) // PROBE_EXAMPLES))

    def after_round(self, state: State, slot: int) -> dict[str, Any]:
        """Return accuracies on a fixed part of the test windows: over all, over classes seen so far, and per task.

        `slot` is the running one; its classes count as seen. What the stability gap and the anytime curve need.
        """
        tally = self._tally(state, self._x[self._probe], self._probe)
        accuracies = tally.per_task(range(self._plan.scenario.parts))
        return {
            "probe_accuracy": tally.micro,
            "probe_seen": tally.where(_as_many(self._seen(slot)[self._probe], tally)).micro,
            "probe_tasks": list(accuracies.values()),
        }

    def tally(self, state: State) -> Tally:
        """Return right and wrong on every test window."""
        return self._tally(state, self._x, np.arange(len(self._y)))

    def _tally(self, state: State, x: NDArray[np.float32], index: NDArray[np.int64]) -> Tally:
        y, models = self._y[index], self._models(state)
        correct = np.concatenate([self._predict(own, x, self._part[index]) == y for own in models])
        owners = np.repeat(np.arange(len(models)), len(y)) if self._plan.own_models else self._owner[index]
        labels, parts = (np.tile(each, len(models)) for each in (y, self._part[index]))
        return Tally(correct, labels, parts, owners)

    def _predict(self, state: State, x: NDArray[np.float32], part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class of the highest score; inside the window's own task where the test names it."""
        scores = self._plan.strategy.scores(state, x)
        if self._plan.scenario.kind == "task":
            inside = _membership(self._plan.scenario)[part]
            # Below every score that a strategy may give, -inf for classes never released included.
            return np.asarray(np.where(inside, np.maximum(scores, _LOWEST), -np.inf).argmax(axis=1))
        return np.asarray(scores.argmax(axis=1))

    def _seen(self, slot: int) -> NDArray[np.bool_]:
        """Return which test windows are of a task, or online of a class, that was released up to a slot."""
        scenario = self._plan.scenario
        released = (scenario.release != NEVER) & (scenario.release <= slot)
        if scenario.kind != "online":
            return np.asarray(np.isin(self._part, np.flatnonzero(released.any(axis=0))))
        return np.asarray(np.isin(self._y, scenario.arrived_classes(slot)))

    def after_slot(self, state: State, slot: int) -> tuple[dict[str, Any], Tally]:
        """Return the record of a slot's end and the tally it came from."""
        scenario, tally = self._plan.scenario, self.tally(state)
        seen = self._seen(slot)
        record = {
            "kind": "task",
            "row": self._plan.name,
            "task": slot,
            "accuracy": list(tally.per_task(range(scenario.parts)).values()),
            "micro": tally.micro,
            "seen": tally.where(_as_many(seen, tally)).micro,
            "samples": scenario.released_examples(slot),
            **self._of_unseen(state),
        }
        if scenario.drift.course != "none":
            now = self._tally(state, scenario.inputs_now(self._test, slot), np.arange(len(self._y)))
            record["now"] = now.where(_as_many(seen, now)).micro
        return record, tally

    def _of_unseen(self, state: State) -> dict[str, float | None]:
        """Return accuracies on the persons who never trained; nothing where all did.

        Where clients have models of their own, each is tried on every window, and these are means over clients.
        """
        if not len(self._unseen):
            return {}
        scenario, index = self._plan.scenario, self._unseen
        shares = []
        for own in self._models(state):
            right = self._predict(own, scenario.x[index], scenario.part[index]) == scenario.data.y[index]
            tally = Tally(right, scenario.data.y[index], scenario.part[index], scenario.data.client[index])
            shares.append((tally.micro or 0.0, tally.task_mean or 0.0))
        micro, task_mean = np.mean(shares, axis=0)
        return {"unseen_micro": float(micro), "unseen_task_mean": float(task_mean)}

    def final(self, tally: Tally, slots: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the closing record: `slots` and `rounds` are the records of all slots and rounds, in order.

        With asynchronous arrival the matrix's row i is the slot in which the last client meets task i; in an online
        stream it is the end of task i's stretch. Where every client has an order of its own, row i is slot i.
        """
        scenario = self._plan.scenario
        matrix = AccuracyMatrix.from_rows([slots[slot]["accuracy"] for slot in _ends(scenario)])
        names = scenario.data.classes
        classes = tally.per_class(range(len(names)))
        return {
            "kind": "final",
            "row": self._plan.name,
            "strategy": self._plan.strategy.name,
            "noise": self._plan.noise,
            "scenario": scenario.kind,
            "task_identity_given": scenario.kind == "task",
            "micro": tally.micro,
            "task_mean": tally.task_mean,
            "class_mean": tally.class_mean,
            "worst_client": tally.worst_client,
            **{key: slots[-1][key] for key in ("unseen_micro", "unseen_task_mean") if key in slots[-1]},
            "per_class": {names[c]: share for c, share in classes.items()},
            "per_client": {str(k): share for k, share in tally.per_client(range(scenario.clients)).items()},
            **_over_time(matrix, scenario),
            **self._between_ends(rounds),
            "waits": [_wait(scenario, wait) for wait in scenario.waits],
        }

    def _between_ends(self, rounds: list[dict[str, Any]]) -> dict[str, float | None]:
        scenario, per_slot = self._plan.scenario, self._plan.rounds_per_slot
        upto = [0, *(scenario.released_examples(slot) for slot in range(scenario.slots))]
        arrived = np.repeat(np.diff(upto) / per_slot, per_slot)
        accuracies = [float("nan") if r["probe_seen"] is None else r["probe_seen"] for r in rounds]
        over_time = anytime_accuracy(np.cumsum(arrived), accuracies)
        if scenario.shuffled:
            return {"anytime_accuracy": over_time, "worst_case_accuracy": None, "stability_gap": None}
        curve = Continual(
            np.array([r["probe_tasks"] for r in rounds], dtype=np.float64),
            tuple((slot + 1) * per_slot - 1 for slot in _ends(scenario)),
        )
        return {
            "anytime_accuracy": over_time,
            "worst_case_accuracy": curve.worst_case_accuracy(),
            "stability_gap": curve.stability_gap(),
        }


def _as_many(windows: NDArray[np.bool_], tally: Tally) -> NDArray[np.bool_]:
    """Return a mask of windows once for each model of a tally."""
    return np.tile(windows, tally.windows // len(windows)) if len(windows) else windows


def _ends(scenario: Scenario) -> list[int]:
    """Return the slot in which the last client meets each task; in an online stream, the end of its stretch."""
    if scenario.together > 1:
        return [0] * scenario.parts
    lag = scenario.slots - scenario.tasks
    return [lag + (task + 1) * scenario.segments - 1 for task in range(scenario.parts)]


def _membership(scenario: Scenario) -> NDArray[np.bool_]:
    """Return the labels of each task, bool (tasks, classes)."""
    labels = np.arange(len(scenario.data.classes))
    return np.array([np.isin(labels, group) for group in scenario.part_classes])


def _over_time(matrix: AccuracyMatrix, scenario: Scenario) -> dict[str, float | None]:
    """Return the metrics of the matrix. Without one order of tasks, "after learning task j" has no meaning.

    Then forgetting is, for each task, the best accuracy after any earlier slot minus the last, averaged over all
    tasks; what needs the order is None.
    """
    if not scenario.shuffled:
        return {
            "average_incremental_accuracy": matrix.average_incremental_accuracy(),
            "forgetting": matrix.forgetting(),
            "backward_transfer": matrix.backward_transfer(),
            "learning_accuracy": matrix.learning_accuracy(),
        }
    values = matrix.values
    if scenario.together > 1:
        # One model for all tasks: it forgot nothing, because nothing came after anything.
        return dict.fromkeys(("average_incremental_accuracy", "forgetting", "backward_transfer", "learning_accuracy"))
    drops = np.nanmax(values[:-1], axis=0) - values[-1] if len(values) > 1 else np.full(len(values), np.nan)
    known = drops[~np.isnan(drops)]
    return {
        "average_incremental_accuracy": None,
        "forgetting": float(known.mean()) if len(known) else None,
        "backward_transfer": None,
        "learning_accuracy": None,
    }


def _wait(scenario: Scenario, wait: Wait) -> dict[str, Any]:
    return {"class": scenario.source_classes[wait.label], **{k: v for k, v in asdict(wait).items() if k != "label"}}
