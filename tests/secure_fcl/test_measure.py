from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.measure import Measure
from secure_fcl.rows import RowPlan, build_row
from secure_fcl.streams import Scenario, build_scenario


class Oracle:
    """A strategy that knows the labels of the tasks in `state`, and says class 0 otherwise."""

    name = "oracle"

    def __init__(self, scenario: Scenario) -> None:
        test = scenario.test_indices()
        self._label = {scenario.x[i].tobytes(): int(scenario.data.y[i]) for i in test}
        self._task = {scenario.x[i].tobytes(): int(scenario.task[i]) for i in test}

    def scores(self, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        out = np.zeros((len(x), 10), dtype=np.float32)
        for row, one in enumerate(x):
            if self._task[one.tobytes()] in state["tasks"]:
                out[row, self._label[one.tobytes()]] = 1.0
        return out


@pytest.fixture
def make(digits: Dataset, make_config: Callable[..., Config]) -> Callable[..., RowPlan]:
    def plan(*settings: str) -> RowPlan:
        config = make_config("scenario.class_order=[1, 2, 3, 4, 5, 6]", "scenario.partition=iid", *settings)
        scenario = build_scenario(digits, config)
        row = build_row(config, scenario, "finetune", 1.0)
        object.__setattr__(row, "strategy", Oracle(scenario))
        return row

    return plan


def knows(*tasks: int) -> dict[str, np.ndarray]:
    return {"tasks": np.array(tasks)}


def test_known_answers(make: Callable[..., RowPlan]) -> None:
    measure = Measure(make("scenario.tasks=3"))
    slots, tally = [], None
    for slot, state in enumerate((knows(0), knows(1), knows(1, 2))):
        record, tally = measure.after_slot(state, slot)
        slots.append(record)
    assert [r["accuracy"] for r in slots] == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert slots[0]["seen"] == 1.0
    assert slots[1]["seen"] == pytest.approx(0.5, abs=0.05)
    assert tally is not None
    final = measure.final(tally, slots)
    # Task 0 was at 1 and is at 0, task 1 stayed: Chaudhry's forgetting averages over the tasks before the last.
    assert final["forgetting"] == 0.5
    assert final["learning_accuracy"] == 1.0
    assert final["task_mean"] == pytest.approx(2 / 3)
    assert final["micro"] == slots[2]["micro"] == pytest.approx(2 / 3, abs=0.05)
    assert final["per_class"]["1"] == 0.0
    assert final["per_class"]["6"] == 1.0
    assert final["per_class"]["9"] is None
    assert 0.0 < final["worst_client"] < final["micro"] + 1e-9
    assert measure.probe(knows(0, 1, 2)) == 1.0


def test_with_delays_the_matrix_counts_from_the_last_client(make: Callable[..., RowPlan]) -> None:
    measure = Measure(make("scenario.tasks=2", "scenario.arrival=asynchronous", "scenario.max_delay=2"))
    states = (knows(0), knows(0), knows(0), knows(1))
    slots = [measure.after_slot(state, slot)[0] for slot, state in enumerate(states)]
    final = measure.final(measure.tally(states[-1]), slots)
    assert final["forgetting"] == 1.0
    assert final["learning_accuracy"] == 1.0


def test_a_task_without_test_windows_is_left_out(hapt: Dataset, make_config: Callable[..., Config]) -> None:
    settings = ("data.name=hapt", "scenario.partition=natural", "scenario.clients=3", "scenario.tasks=6",
                "storage.budget_kib=512")  # fmt: skip
    config = make_config(*settings)
    from dataclasses import replace

    scenario = build_scenario(hapt, config)
    task = scenario.task.copy()
    task[(task == 5) & hapt.test] = -1
    plan = build_row(config, replace(scenario, task=task), "class_sums", 1.0)
    measure = Measure(plan)
    state = plan.strategy.initial()
    slots = [measure.after_slot(state, slot)[0] for slot in range(6)]
    assert slots[0]["accuracy"][5] is None
    final = measure.final(measure.tally(state), slots)
    assert final["task_mean"] is not None
    assert 0.0 <= final["task_mean"] <= 1.0
