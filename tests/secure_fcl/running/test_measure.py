from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.measure import Measure
from secure_fcl.streams import Scenario, build_scenario


class Oracle:
    """A strategy that knows the labels of the tasks in `state`, and says class 0 otherwise."""

    name = "oracle"
    once_per_chunk = False
    uploads: ClassVar = {"train": None}

    def __init__(self, scenario: Scenario, rounds: int) -> None:
        self.rounds = rounds
        test = scenario.test_indices()
        self._label = {scenario.x[i].tobytes(): int(scenario.data.y[i]) for i in test}
        self._task = {scenario.x[i].tobytes(): int(scenario.part[i]) for i in test}

    def scores(self, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        out = np.zeros((len(x), 10), dtype=np.float32)
        for row, one in enumerate(x):
            if self._task.get(one.tobytes()) in state["tasks"]:
                out[row, self._label[one.tobytes()]] = 1.0
        return out


@pytest.fixture
def make(digits: Dataset, make_config: Callable[..., Config]) -> Callable[..., RowPlan]:
    def plan(*settings: str, data: Dataset = digits) -> RowPlan:
        config = make_config("scenario.class_order=[1, 2, 3, 4, 5, 6]", "scenario.partition=iid", *settings)
        scenario = build_scenario(data, config)
        row = build_row(config, scenario, "finetune", 1.0)
        object.__setattr__(row, "strategy", Oracle(scenario, config.training.rounds))
        return row

    return plan


def test_persons_who_never_train_are_measured_apart(make: Callable[..., RowPlan], digits: Dataset) -> None:
    people = replace(digits, client=np.arange(len(digits)) % 5, digest="")
    plan = make("scenario.tasks=3", "data.unseen_persons=2", data=people)
    # The oracle knows the test examples of those who train alone, and says 0 to everybody else's.
    measure, state = Measure(plan), knows(0, 1, 2)
    record, tally = measure.after_slot(state, 2)
    assert (record["micro"], record["accuracy"]) == (1.0, [1.0, 1.0, 1.0])
    assert (record["unseen_micro"], record["unseen_task_mean"]) == (0.0, 0.0)
    assert tally.windows == len(plan.scenario.test_indices())
    rounds = [measure.after_round(state, slot) for slot in range(3) for _ in range(plan.rounds_per_slot)]
    final = measure.final(tally, [record] * 3, rounds)
    assert (final["micro"], final["unseen_micro"], final["unseen_task_mean"]) == (1.0, 0.0, 0.0)
    everyone = Measure(make("scenario.tasks=3", data=people)).after_slot(state, 2)[0]
    assert "unseen_micro" not in everyone


def knows(*tasks: int) -> dict[str, np.ndarray]:
    return {"tasks": np.array(tasks)}


def test_known_answers(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=3")
    measure = Measure(plan)
    slots, rounds, tally = [], [], None
    for slot, state in enumerate((knows(0), knows(1), knows(1, 2))):
        rounds += [measure.after_round(state, slot)] * plan.rounds_per_slot
        record, tally = measure.after_slot(state, slot)
        slots.append(record)
    assert [r["accuracy"] for r in slots] == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert slots[0]["seen"] == 1.0
    assert slots[1]["seen"] == pytest.approx(0.5, abs=0.05)
    assert tally is not None
    final = measure.final(tally, slots, rounds)
    # Task 0 was at 1 and is at 0, task 1 stayed: Chaudhry's forgetting averages over the tasks before the last.
    assert final["forgetting"] == 0.5
    assert final["learning_accuracy"] == 1.0
    assert final["task_mean"] == pytest.approx(2 / 3)
    assert final["micro"] == slots[2]["micro"] == pytest.approx(2 / 3, abs=0.05)
    assert final["per_class"]["1"] == 0.0
    assert final["per_class"]["6"] == 1.0
    assert final["per_class"]["9"] is None
    assert 0.0 < final["worst_client"] < final["micro"] + 1e-9
    assert measure.after_round(knows(0, 1, 2), 0)["probe_accuracy"] == 1.0
    # Task 2 is right at its end; after their ends task 0 is 0 and task 1 is 1. Nothing recovers, so there is no gap.
    assert final["worst_case_accuracy"] == pytest.approx((1.0 + 0.0 + 1.0) / 3)
    assert final["stability_gap"] == 0.0
    assert final["anytime_accuracy"] == pytest.approx((1.0 + 0.5 + 2 / 3) / 3, abs=0.05)


def test_between_the_ends_of_tasks_by_hand(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=2", "training.rounds=2")
    measure = Measure(plan)
    states = (knows(), knows(0), knows(1), knows(0, 1))
    rounds = [measure.after_round(state, number // 2) for number, state in enumerate(states)]
    assert [r["probe_tasks"] for r in rounds] == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    assert [r["probe_seen"] for r in rounds[:2]] == [0.0, 1.0]
    slots = [measure.after_slot(states[end], end // 2)[0] for end in (1, 3)]
    final = measure.final(measure.tally(states[-1]), slots, rounds)
    # Task 0 falls from 1 to 0 in the first round of slot 1 and comes back: no forgetting, and the largest gap.
    assert final["forgetting"] == 0.0
    assert final["stability_gap"] == 1.0
    assert final["worst_case_accuracy"] == 0.5
    first, second = slots[0]["samples"], slots[1]["samples"] - slots[0]["samples"]
    area = first * (0.0 + 1.0) / 2 + second * (rounds[2]["probe_seen"] + 1.0) / 2
    assert final["anytime_accuracy"] == pytest.approx(area / (first + second))


def test_with_delays_the_matrix_counts_from_the_last_client(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=2", "scenario.arrival=asynchronous", "scenario.max_delay=2")
    measure = Measure(plan)
    states = (knows(0), knows(0), knows(0), knows(1))
    slots = [measure.after_slot(state, slot)[0] for slot, state in enumerate(states)]
    rounds = [
        measure.after_round(state, slot) for slot, state in enumerate(states) for _ in range(plan.rounds_per_slot)
    ]
    final = measure.final(measure.tally(states[-1]), slots, rounds)
    # Task 0 ends with slot 2, when the last client has met it, and is 0 ever after; task 1 is right at its end.
    assert final["worst_case_accuracy"] == 0.5
    assert final["forgetting"] == 1.0
    assert final["learning_accuracy"] == 1.0


def rounds_of(measure: Measure, plan: RowPlan, states: Sequence[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """The records of all rounds, with one state per slot."""
    return [measure.after_round(state, slot) for slot, state in enumerate(states) for _ in range(plan.rounds_per_slot)]


class Guesses:
    """A strategy that scores class 0 highest, then the classes in falling order; class 3 is not released."""

    name = "guesses"
    once_per_chunk = False
    uploads: ClassVar = {"train": None}
    rounds = 2

    def scores(self, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        row = np.array([99.0, 1.0, 2.0, -np.inf, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], dtype=np.float32)
        return np.repeat(row[None], len(x), axis=0)


def test_with_task_identity_only_the_tasks_own_classes_compete(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=3", "scenario.kind=task")
    object.__setattr__(plan, "strategy", Guesses())
    measure = Measure(plan)
    record, tally = measure.after_slot({}, 0)
    y = plan.scenario.data.y[plan.scenario.test_indices()]
    shares = [float((y[np.isin(y, pair)] == best).mean()) for pair, best in (((1, 2), 2), ((3, 4), 4), ((5, 6), 6))]
    assert record["accuracy"] == pytest.approx(shares)
    final = measure.final(tally, [record] * 3, rounds_of(measure, plan, [{}] * 3))
    assert (final["scenario"], final["task_identity_given"]) == ("task", True)
    # Without it the same scores are always wrong: negative control.
    blind = make("scenario.tasks=3")
    object.__setattr__(blind, "strategy", Guesses())
    assert Measure(blind).after_slot({}, 0)[0]["micro"] == 0.0


def test_where_even_no_class_of_the_task_was_released_one_of_them_is_guessed(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=3", "scenario.kind=task", "scenario.class_order=[3, 1, 2, 4, 5, 6]")
    object.__setattr__(plan, "strategy", Guesses())
    measure = Measure(plan)
    record, _ = measure.after_slot({}, 0)
    assert record["accuracy"][0] == pytest.approx(
        float((plan.scenario.data.y[measure._test][measure._part == 0] == 1).mean())
    )


def test_forgetting_without_a_common_order(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=3", "scenario.order=shuffle")
    measure = Measure(plan)
    states = (knows(2), knows(0, 1), knows(1))
    slots = [measure.after_slot(state, slot)[0] for slot, state in enumerate(states)]
    final = measure.final(measure.tally(states[-1]), slots, rounds_of(measure, plan, states))
    # Task 0 and task 2 were at 1 after some slot and end at 0, task 1 stays.
    assert final["forgetting"] == pytest.approx(2 / 3)
    assert (final["learning_accuracy"], final["backward_transfer"], final["stability_gap"]) == (None, None, None)


def test_a_blurry_stream_is_judged_over_classes_that_arrived(make: Callable[..., RowPlan]) -> None:
    plan = make("scenario.tasks=3", "scenario.kind=online", "online.segments=2", "online.blur=0")
    measure = Measure(plan)
    states = (knows(0), knows(0), knows(1), knows(0, 1), knows(2), knows(2))
    slots = [measure.after_slot(state, slot)[0] for slot, state in enumerate(states)]
    assert [r["seen"] for r in slots[:2]] == [1.0, 1.0]
    assert slots[2]["seen"] == pytest.approx(0.5, abs=0.05)
    assert slots[3]["seen"] == 1.0
    assert np.diff([r["samples"] for r in slots]).min() > 0
    members = plan.scenario.data.train & ~plan.scenario.held_out & (plan.scenario.part >= 0)
    assert slots[-1]["samples"] == int(members.sum())
    final = measure.final(measure.tally(states[-1]), slots, rounds_of(measure, plan, states))
    # The matrix has one row per task: after segments 1, 3 and 5.
    assert final["learning_accuracy"] == 1.0
    assert final["forgetting"] == 1.0


def test_under_drift_the_world_of_today_is_measured_too(make: Callable[..., RowPlan]) -> None:
    drift = ("drift.course=gradual", "drift.kind=gain", "drift.amount=-50")
    record, _ = Measure(make("scenario.tasks=3", "scenario.kind=task", *drift)).after_slot(knows(), 2)
    assert 0.0 <= record["now"] <= 1.0
    assert "now" not in Measure(make("scenario.tasks=3")).after_slot(knows(), 0)[0]


def test_a_task_without_test_windows_is_left_out(hapt: Dataset, make_config: Callable[..., Config]) -> None:
    settings = ("data.name=hapt", "scenario.partition=natural", "scenario.clients=3", "scenario.tasks=6",
                "storage.budget_kib=512")  # fmt: skip
    config = make_config(*settings)
    from dataclasses import replace

    scenario = build_scenario(hapt, config)
    part = scenario.part.copy()
    part[(part == 5) & hapt.test] = -1
    plan = build_row(config, replace(scenario, part=part), "class_sums", 1.0)
    measure = Measure(plan)
    state = plan.strategy.initial()
    slots = [measure.after_slot(state, slot)[0] for slot in range(6)]
    assert slots[0]["accuracy"][5] is None
    rounds = [measure.after_round(state, slot) for slot in range(6) for _ in range(plan.rounds_per_slot)]
    assert rounds[0]["probe_tasks"][5] is None
    final = measure.final(measure.tally(state), slots, rounds)
    assert final["task_mean"] is not None
    assert 0.0 <= final["task_mean"] <= 1.0
