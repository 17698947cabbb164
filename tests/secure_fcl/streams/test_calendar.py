from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fcl.config import Config, load_config
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import IDLE, NEVER, Scenario, build_scenario
from secure_fcl.streams.calendar import group_names, make_calendar
from secure_fcl.testing.streams import scenarios

Make = Callable[..., Config]


def test_shuffled_clients_meet_every_task_once_in_orders_of_their_own(make_config: Make) -> None:
    dates = make_calendar(make_config("scenario.order=shuffle", "scenario.clients=8"), 6)
    assert (np.sort(dates.met, axis=1) == np.arange(6)).all()
    assert len({tuple(row) for row in dates.met.tolist()}) > 4
    groups = group_names(dates, np.argsort(dates.met, axis=1))
    assert len(set(groups)) == len({tuple(row) for row in dates.met.tolist()})


@given(st.integers(1, 8), st.floats(0, 1), st.floats(0, 1), st.integers(1, 6), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_clients_join_once_and_leave_once(
    clients: int, joining: float, leaving: float, tasks: int, late: bool, seed: int
) -> None:
    arrival = "asynchronous" if late else "synchronous"
    config = load_config(None, [
        f"seed={seed}", f"scenario.clients={clients}", f"scenario.joining={joining}", f"scenario.leaving={leaving}",
        f"scenario.arrival={arrival}",
    ])  # fmt: skip
    dates = make_calendar(config, tasks)
    assert dates.present.any(axis=1).all()
    changes = np.diff(np.pad(dates.present.astype(int), ((0, 0), (1, 1))), axis=1)
    assert ((changes == 1).sum(axis=1) == 1).all()
    assert (dates.met[~dates.present] == IDLE).all()
    if joining == 0.0 and leaving == 0.0:
        assert dates.present.all()
    if joining == 1.0 and dates.met.shape[1] > 1:
        assert not dates.present[:, 0].any()


@given(scenarios())
@settings(max_examples=60, deadline=None)
def test_every_example_reaches_exactly_one_client_and_at_most_one_slot(scenario: Scenario) -> None:
    met, brought = np.zeros((2, len(scenario.data)), dtype=np.int64)
    for client in range(scenario.clients):
        for task in range(scenario.tasks):
            index = scenario.experience(client, task).index
            assert (scenario.owner[index] == client).all()
            np.add.at(met, index, 1)
        tasks = [task for slot in range(scenario.slots) for task in scenario.released(client, slot)]
        assert sorted(tasks) == np.flatnonzero(scenario.release[client] != NEVER).tolist()
        for task in tasks:
            np.add.at(brought, scenario.experience(client, task).index, 1)
    nobodys = scenario.held_out | (scenario.owner == NO_CLIENT) | (scenario.task == IDLE)
    assert (met[scenario.data.train] == ~nobodys[scenario.data.train]).all()
    assert (brought <= met).all()
    assert not met[scenario.data.test].any()
    # Labels of what is released are announced for the slot.
    for slot in range(scenario.slots):
        labels = scenario.slot_classes(slot)
        for client in range(scenario.clients):
            for task in scenario.released(client, slot):
                assert set(scenario.data.y[scenario.experience(client, task).index].tolist()) <= set(labels)


@given(scenarios(kind="class", arrival="asynchronous", order="shuffle"))
@settings(max_examples=40, deadline=None)
def test_clients_of_one_group_have_one_history(scenario: Scenario) -> None:
    for group in set(scenario.groups):
        mine = [k for k, name in enumerate(scenario.groups) if name == group]
        assert len({scenario.release[k].tobytes() for k in mine}) == 1
    assert len({scenario.release[k].tobytes() for k in range(scenario.clients)}) <= len(set(scenario.groups))


def test_a_slot_without_clients_is_refused(digits: Dataset, make_config: Make) -> None:
    with pytest.raises(ConfigInvalid, match=r"leave slot 0 without any client"):
        build_scenario(digits, make_config("scenario.joining=1", "scenario.tasks=4"))


def test_a_cohort_that_nobody_reaches_is_refused(digits: Dataset, make_config: Make) -> None:
    # Five clients hold two classes each: no class has four holders.
    with pytest.raises(ConfigInvalid, match="min_cohort = 4: no class ever has that many holders"):
        build_scenario(digits, make_config("scenario.min_cohort=4"))


def test_long_calendars_get_short_names(make_config: Make) -> None:
    dates = make_calendar(make_config("scenario.order=shuffle"), 100)
    names = group_names(dates, np.argsort(dates.met, axis=1))
    assert max(map(len, names)) < 40
    assert len(set(names)) == len(names)
