from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device, exported
from secure_fcl.randomness import Coins
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import Scenario, build_scenario

COINS = Coins(bytes(32))


@pytest.fixture
def plan(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> RowPlan:
    return build_row(make_config(), tiny_scenario, "replay", 1.0)


def test_an_item_is_in_one_stratum_at_a_time(plan: RowPlan) -> None:
    scenario = plan.scenario
    kept = 0
    for client in range(5):
        device = Device(plan, client, COINS)
        for slot in range(2):
            for round in range(plan.rounds_per_slot):
                view = device.view(slot, round)
                assert len(view.memory) == len(device.held)
                current = set(device.experiences[slot].index.tolist())
                assert len(view.current) == len(current)
                assert not current & set(device.held.index.tolist())
            device.close(slot, {})
            assert set(device.held.index.tolist()) <= {
                i for t in range(slot + 1) for i in device.experiences[t].index.tolist()
            }
        kept += len(device.held)
        # Memory is decided by each item's own coin alone.
        threshold = plan.memory.thresholds[1]  # type: ignore[union-attr]
        items = scenario.units.item
        expected = [i for i in device.items.tolist() if device._lookup[i] < threshold]
        assert sorted(set(items[device.held.index].tolist())) == expected
    assert kept > 100


def test_clients_may_meet_nothing_or_one_class_of_a_task(plan: RowPlan) -> None:
    sizes = [(len(Device(plan, k, COINS).view(t, 0).current.y), t) for k in range(5) for t in range(2)]
    assert any(size == 0 for size, _ in sizes)
    classes = [len(np.unique(Device(plan, k, COINS).view(t, 0).current.y)) for k in range(5) for t in range(2)]
    assert 1 in classes


def test_chunks_come_one_after_the_other(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    settings = ("storage.budget_kib=40", "memory.capacity=4", "memory.keep=0.01", "training.rounds=9")
    plan = build_row(make_config(*settings), tiny_scenario, "replay", 1.0)
    device = Device(plan, 0, COINS)
    task = next(t for t in range(2) if len(device.experiences[t].index))
    seen = []
    for round in range(plan.rounds_per_slot):
        view = device.view(task, round)
        assert len(view.current) <= plan.storage.pool_examples
        if round == 0 or plan.chunk(round) != plan.chunk(round - 1):
            seen.append(view.current.y)
    np.testing.assert_array_equal(np.concatenate(seen), tiny_scenario.data.y[device.experiences[task].index])


def test_idle_slots_show_the_memory_only(digits: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config("scenario.arrival=asynchronous", "scenario.partition=iid")
    plan = build_row(config, build_scenario(digits, config), "replay", 1.0)
    for client in range(5):
        device = Device(plan, client, COINS)
        for slot, task in enumerate(plan.scenario.calendar[client].tolist()):
            before = len(device.held)
            view = device.view(slot, 0)
            assert len(view.current) == (len(device.experiences[task].index) if task >= 0 else 0)
            device.close(slot, {})
            assert task >= 0 or len(device.held) == before


def test_straddlers_are_never_kept(hapt_scenario: Scenario) -> None:
    from secure_fcl.config import load_config

    plan = build_row(load_config(None, ["scenario.setting=cross-silo"]), hapt_scenario, "replay", 1.0)
    device = Device(plan, 0, COINS)
    device.close(0, {})
    assert len(device.held) > 0
    assert (hapt_scenario.units.item[device.held.index] >= 0).all()
    assert len(device.held) < len(device.experiences[0].index)


def test_coins_that_are_given_back_are_used(plan: RowPlan) -> None:
    first = Device(plan, 1, Coins(None))
    again = Device(plan, 1, Coins(None), first.draws)
    fresh = Device(plan, 1, Coins(None))
    for device in (first, again, fresh):
        device.close(0, {})
        device.close(1, {})
    assert first.held.index.tolist() == again.held.index.tolist()
    assert first.draws.tolist() != fresh.draws.tolist()


def test_two_clients_draw_different_coins(plan: RowPlan) -> None:
    first, second = Device(plan, 0, COINS), Device(plan, 1, COINS)
    assert not set(first.draws.tolist()) & set(second.draws.tolist())
    np.testing.assert_array_equal(first.draws, Device(plan, 0, COINS).draws)


@pytest.mark.parametrize("row", ["replay", "derpp", "local_only", "flwf2t", "class_sums"])
def test_what_is_exported_is_named_and_makes_the_same_device(
    tiny_scenario: Scenario, make_config: Callable[..., Config], row: str
) -> None:
    plan = build_row(make_config(), tiny_scenario, row, 1.0)
    first, second = Device(plan, 0, COINS), Device(plan, 0, COINS)
    first.close(0, plan.strategy.initial())
    first.carried = {name: array + 1 for name, array in first.carried.items()}
    saved = first.export()
    assert tuple(saved) == exported(plan)
    second.restore(saved)
    assert all(np.array_equal(second.export()[name], array) for name, array in saved.items())
    assert (len(saved) > 4) == bool(plan.strategy.carried)
