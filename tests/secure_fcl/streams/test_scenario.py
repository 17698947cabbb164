from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.config import Config, load_config
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import IDLE, NO_ITEM, Scenario, build_scenario


def dealt(scenario: Scenario) -> np.ndarray:
    """How many experiences each example lies in."""
    count = np.zeros(len(scenario.data), dtype=np.int64)
    for client in range(scenario.clients):
        for task in range(scenario.tasks):
            np.add.at(count, scenario.experience(client, task).index, 1)
    return count


SCENARIOS = [
    (),
    ("scenario.partition=iid", "scenario.kind=domain", "scenario.tasks=3"),
    ("scenario.partition=dirichlet", "scenario.alpha=0.1", "scenario.arrival=asynchronous"),
    ("scenario.clients=3", "scenario.classes_per_client=2"),
    ("scenario.class_order=[7, 3, 1, 0]",),
    ("scenario.holdout=0", "scenario.tasks=10"),
]


@pytest.mark.parametrize("settings", SCENARIOS)
def test_every_training_example_is_in_exactly_one_place(
    digits: Dataset, make_config: Callable[..., Config], settings: tuple[str, ...]
) -> None:
    scenario = build_scenario(digits, make_config(*settings))
    nobodys = (scenario.owner == NO_CLIENT) | (scenario.task == IDLE)
    places = dealt(scenario) + scenario.held_out + (nobodys & ~scenario.held_out)
    assert (places[digits.train] == 1).all()
    assert not dealt(scenario)[digits.test].any()
    test = scenario.test_indices()
    assert digits.test[test].all()
    assert len(test) == int((digits.test & ~nobodys).sum())


def test_on_hapt_every_training_window_is_in_exactly_one_place(hapt_scenario: Scenario) -> None:
    places = dealt(hapt_scenario) + hapt_scenario.held_out
    assert (places[hapt_scenario.data.train] == 1).all()
    assert len(hapt_scenario.test_indices()) == 5360


def test_the_default_stream_of_hapt(hapt: Dataset) -> None:
    scenario = build_scenario(hapt, load_config(None, ["scenario.holdout=0"]))
    names = [{hapt.classes[c] for c in task} for task in scenario.task_classes]
    assert names[:3] == [{"walking", "sitting"}, {"upstairs", "standing"}, {"downstairs", "laying"}]
    sizes = [[len(scenario.experience(k, t).index) for k in range(30)] for t in range(6)]
    assert [sum(task) for task in sizes[3:]] == [51, 101, 121]
    assert sum(map(sum, sizes)) == 5569
    assert sizes[3].count(0) == 3
    assert scenario.most_examples_of_one_client == max(map(sum, zip(*sizes, strict=True)))


def test_experiences_are_in_time_order_and_places_follow_units(hapt_scenario: Scenario) -> None:
    units, largest = hapt_scenario.units, 0
    for client in range(30):
        for task in range(6):
            e = hapt_scenario.experience(client, task)
            assert (np.diff(units.order[e.index]) > 0).all()
            if len(e.place) == 0:
                continue
            assert e.place[0] == 0
            assert set(np.diff(e.place)) <= {0, 1}
            for place in range(int(e.place.max()) + 1):
                assert len(set(units.unit[e.index[e.place == place]])) == 1
            largest = max(largest, int(e.place.max()) + 1)
            chunks = [e.chunk(number, 7) for number in range(int(e.place.max()) // 7 + 1)]
            assert np.concatenate(chunks).tolist() == e.index.tolist()
            assert all(len(set(units.unit[chunk])) <= 7 for chunk in chunks)
    assert largest == hapt_scenario.largest_place


def test_an_experience_is_what_a_look_at_every_example_finds(hapt_scenario: Scenario, tiny_scenario: Scenario) -> None:
    for scenario in (hapt_scenario, tiny_scenario):
        learnt = scenario.data.train & ~scenario.held_out
        for client in range(scenario.clients):
            for task in range(scenario.tasks):
                mine = np.flatnonzero((scenario.owner == client) & (scenario.task == task) & learnt)
                mine = mine[np.argsort(scenario.units.order[mine], kind="stable")]
                assert np.array_equal(scenario.experience(client, task).index, mine)


def test_same_seed_same_digest_other_seed_other_digest(digits: Dataset, make_config: Callable[..., Config]) -> None:
    def digest(*settings: str) -> str:
        return build_scenario(digits, make_config(*settings)).digest

    base = digest()
    assert digest() == base
    # What the seed does not decide leaves it alone.
    assert digest("protection=bfv", "workers=2", "training.rounds=9") == base
    assert base != digest("seed=2")
    others = {
        digest(change)
        for change in ("scenario.holdout=0.2", "scenario.tasks=5", "scenario.clients=6", "scenario.partition=iid")
    }
    assert len(others | {base}) == 5


def test_synchronous_calendars_are_everyones(hapt_scenario: Scenario) -> None:
    assert (hapt_scenario.calendar == np.arange(6)).all()
    assert set(hapt_scenario.groups) == {"all clients"}
    assert hapt_scenario.slots == hapt_scenario.tasks == 6
    assert hapt_scenario.slot_classes(0) == (0, 3)


def test_asynchronous_calendars_delay_whole_clients(digits: Dataset, make_config: Callable[..., Config]) -> None:
    settings = ("scenario.arrival=asynchronous", "scenario.max_delay=3", "scenario.clients=12")
    scenario = build_scenario(digits, make_config(*settings, "scenario.partition=iid"))
    assert scenario.slots == 5
    delays = []
    for calendar, group in zip(scenario.calendar.tolist(), scenario.groups, strict=True):
        met = [t for t in calendar if t != IDLE]
        assert met == [0, 1]
        delays.append(calendar.index(0))
        assert str(delays[-1]) in group
    assert len(set(delays)) > 1
    assert max(delays) <= 3
    for slot in range(scenario.slots):
        tasks = {t for t in scenario.calendar[:, slot].tolist() if t != IDLE}
        assert set(scenario.slot_classes(slot)) == {c for t in tasks for c in scenario.task_classes[t]}


def test_domains_share_the_label_set_and_change_the_input(hapt: Dataset) -> None:
    scenario = build_scenario(hapt, load_config(None, ["scenario.kind=domain", "scenario.tasks=3"]))
    assert scenario.task_classes == (tuple(range(12)),) * 3
    assert set(np.unique(scenario.task)) == {0, 1, 2}
    first = np.unique(scenario.units.unit, return_index=True)[1]
    assert (scenario.task == scenario.task[first][scenario.units.unit]).all()
    np.testing.assert_array_equal(scenario.x[scenario.task == 0], hapt.x[scenario.task == 0])
    assert not np.allclose(scenario.x[scenario.task == 1], hapt.x[scenario.task == 1])


def test_straddlers_are_experienced_but_are_no_items(hapt_scenario: Scenario) -> None:
    index = np.concatenate([hapt_scenario.experience(k, 0).index for k in range(30)])
    assert (hapt_scenario.units.item[index] == NO_ITEM).sum() > 50


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("scenario.tasks=11", "exceeds the 10 classes"),
        ("scenario.class_order=[1, 1]", "at most once"),
        ("scenario.class_order=[10]", "at most once"),
        ("scenario.class_order=[-1, 2]", "at most once"),
        ("scenario.partition=natural", "no natural clients"),
    ],
)
def test_what_the_data_set_cannot_give(
    digits: Dataset, make_config: Callable[..., Config], setting: str, named: str
) -> None:
    with pytest.raises(ConfigInvalid, match=named):
        build_scenario(digits, make_config(setting))
