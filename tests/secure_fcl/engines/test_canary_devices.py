"""Canaries on a device: once its stream is put together they are examples like all others."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device
from secure_fcl.randomness import Coins
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import Scenario, build_scenario

COINS = Coins(bytes(32))
COUNT = 60


@pytest.fixture(scope="module")
def scenario(digits: Dataset, make_config: Callable[..., Config]) -> Scenario:
    return build_scenario(digits, make_config(f"attacks.canaries={COUNT}"))


@pytest.fixture(scope="module")
def plan(scenario: Scenario, make_config: Callable[..., Config]) -> RowPlan:
    return build_row(make_config(f"attacks.canaries={COUNT}"), scenario, "replay", 1.0)


def owned(scenario: Scenario, inside: np.ndarray) -> Scenario:
    """The scenario in which the canaries that are in are ordinary training examples of their clients, at their places.

    Units are counted off in the order in which they stand, so free places of canaries that are out close up.
    """
    canaries = scenario.canaries
    assert canaries is not None
    train, order = scenario.data.train.copy(), scenario.units.order.astype(np.float64)
    train[inside] = True
    for client in range(scenario.clients):
        for task in range(scenario.tasks):
            found = scenario.experience(client, task, inside).index
            times = np.sort(order[found[found < canaries.index[0]]])
            before = -1.0 if not len(times) else times[0] - 1.0
            for one in found:
                if one in inside:
                    # Just behind the example before it.
                    before = np.nextafter(before, np.inf)
                    order[one] = before
                else:
                    before = order[one]
    units = replace(scenario.units, order=np.argsort(np.argsort(order, kind="stable"), kind="stable"))
    return replace(scenario, data=replace(scenario.data, train=train, digest=""), units=units, canaries=None)


def test_a_device_with_canaries_hands_out_what_one_that_owns_them_would(plan: RowPlan, scenario: Scenario) -> None:
    """Bytes of every round, current and memory: a trainer sees inputs and labels, and no canary among them."""
    devices = [Device(plan, client, COINS) for client in range(5)]
    inside = np.concatenate([scenario.canaries.of(d.client)[d.inserted] for d in devices])  # type: ignore[union-attr]
    other = replace(plan, scenario=owned(scenario, inside))
    seen = 0
    for device in devices:
        key = dict(zip(device.items.tolist(), device.draws.tolist(), strict=True))
        bare = Device(other, device.client, COINS)
        twin = Device(other, device.client, COINS, np.array([key[item] for item in bare.items.tolist()]))
        for slot in range(2):
            for round in range(plan.rounds_per_slot):
                ours, theirs = device.view(slot, round), twin.view(slot, round)
                for mine, owner in ((ours.current, theirs.current), (ours.memory, theirs.memory)):
                    np.testing.assert_array_equal(mine.x, owner.x)
                    np.testing.assert_array_equal(mine.y, owner.y)
                seen += int(np.isin(device.held.index, inside).sum())
            device.close(slot, {})
            twin.close(slot, {})
    # Some were kept, so that the memory is compared with canaries in it.
    assert seen > 5


def test_coins_are_fair_independent_of_rows_and_stay_as_they_fell(plan: RowPlan, scenario: Scenario) -> None:
    fresh = [Device(plan, client, Coins(None)).inserted for _ in range(20) for client in range(5)]
    share = np.concatenate(fresh).mean()
    assert 0.4 < share < 0.6
    first = Device(plan, 0, Coins(None))
    again = Device(plan, 0, Coins(None), first.draws, first.inserted)
    for task, experience in first.experiences.items():
        np.testing.assert_array_equal(experience.index, again.experiences[task].index)
    named = replace(plan, name="finetune")
    assert any(not np.array_equal(Device(plan, k, COINS).inserted, Device(named, k, COINS).inserted) for k in range(5))


def test_which_keys_a_device_keeps_tells_no_coin(plan: RowPlan) -> None:
    none, everything = (
        Device(plan, 1, COINS, inserted=np.full(12, inside, dtype=np.bool_)) for inside in (False, True)
    )
    np.testing.assert_array_equal(none.items, everything.items)
    np.testing.assert_array_equal(none.draws, everything.draws)


def test_without_canaries_a_device_is_what_it_was(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan = build_row(make_config(), tiny_scenario, "replay", 1.0)
    device = Device(plan, 0, COINS)
    assert len(device.inserted) == 0
    expected = np.unique(np.concatenate([plan.scenario.experience(0, task).index for task in device.experiences]))
    np.testing.assert_array_equal(device.items, expected)
