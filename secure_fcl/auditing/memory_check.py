"""The memories of a run against its policy: what each device held after each slot, item by item, by key and threshold.

A game about the memory asks what the run's models tell of it. Whether it holds what it should needs no game: the
simulation kept every key, and thresholds, capacity and timetable are public. The rules are written here a second time,
from their definition, so that a mistake in `secure_fcl.memory` does not repeat itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.laws import LAW_LEVEL, uniformity_p_value
from secure_fcl.engines.simulation import SIMULATION, coins_path, file_stem, inserted_canaries, load_arrays
from secure_fcl.memory import EverythingMemory, Held, HerdingMemory, OwnMemory, ThresholdMemory
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.streams import NO_ITEM

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Device:
    """One client's public timetable, its keys by item, and which canaries it put in."""

    plan: RowPlan
    client: int
    keys: dict[int, float]
    inside: Ints

    def arrivals(self, slot: int) -> list[Ints]:
        """Return the examples with an item that each of the slot's tasks brings, in the order of the tasks."""
        scenario = self.plan.scenario
        found = []
        for task in scenario.released(self.client, slot):
            index = scenario.experience(self.client, task, self.inside).index
            found.append(index[scenario.units.item[index] != NO_ITEM])
        return found

    def below(self, index: Ints, threshold: float) -> Ints:
        """Return the examples whose item's key is below a threshold."""
        items = self.plan.scenario.units.item[index].tolist()
        return index[np.array([self.keys[item] < threshold for item in items], dtype=np.bool_)]


def check_memory(plan: RowPlan, folder: RunFolder) -> dict[str, Any] | None:
    """Return how many memories were compared with the policy, and every contradiction as a sentence.

    None for a row without a memory.

    Raises:
        RunFolderError: a file of keys or of a memory is missing or damaged.
    """
    policy = plan.memory
    if policy is None:
        return None
    devices, found = _devices(plan, folder)
    if found:
        return {"compared": 0, "contradictions": found}
    judge: Callable[[_Device, Iterator[tuple[int, Ints]]], Iterator[str]]
    match policy:
        case ThresholdMemory():
            judge = _by_threshold
        case EverythingMemory():
            judge = _everything
        case HerdingMemory():
            judge = _by_class
        case OwnMemory():
            judge = _by_its_own_code
        case _:
            return {"compared": 0, "contradictions": []}
    slots = [_held(plan, folder, slot) for slot in range(plan.scenario.slots)]
    for device in devices:
        found += judge(device, enumerate(held[device.client] for held in slots))
    return {"compared": len(devices) * len(slots), "contradictions": found}


def _held(plan: RowPlan, folder: RunFolder, slot: int) -> list[Ints]:
    stored = load_arrays(folder.path / SIMULATION / f"memory-{file_stem(plan.name)}-{slot:03d}.npz")
    none = np.empty(0, dtype=np.int64)
    return [stored.get(f"held{client}", none).astype(np.int64) for client in range(plan.scenario.clients)]


def _devices(plan: RowPlan, folder: RunFolder) -> tuple[list[_Device], list[str]]:
    """Return every device with its keys, and what is wrong with the keys themselves."""
    stored = load_arrays(coins_path(folder.path, plan.name))
    inside, devices, every, wrong = inserted_canaries(plan, folder.path), [], [], list[str]()
    for client in range(plan.scenario.clients):
        keys, items = stored.get(f"keys{client}", np.empty(0)), stored.get(f"items{client}", np.empty(0))
        by_item = dict(zip(items.astype(np.int64).tolist(), keys.tolist(), strict=False))
        device = _Device(plan, client, by_item, inside)
        met = {
            item
            for slot in range(plan.scenario.slots)
            for index in device.arrivals(slot)
            for item in plan.scenario.units.item[index].tolist()
        }
        if not met <= set(device.keys) or len(keys) != len(items):
            wrong.append(f"client {client} has no key of its own for {len(met - set(device.keys))} of {len(met)} items")
        devices.append(device)
        every.append(keys.astype(np.float64))
    return devices, wrong or _odd_keys(np.concatenate(every))


def _odd_keys(keys: Floats) -> list[str]:
    """Return what uniform and independent keys would not be."""
    if not len(keys):
        return []
    if keys.min() <= 0.0 or keys.max() >= 1.0:
        return [f"keys lie between {keys.min():.3g} and {keys.max():.3g}, and not inside (0, 1)"]
    again = len(keys) - len(np.unique(keys))
    # 52 bits each: among a million keys two are equal once in ten thousand runs.
    if again > 1:
        return [f"{again} of {len(keys)} keys are those of other items, where each item has a coin of its own"]
    p_value = uniformity_p_value(keys)
    if p_value < LAW_LEVEL:
        return [f"the {len(keys)} keys are not uniform (p = {p_value:.2g}, below {LAW_LEVEL:g})"]
    return []


def _by_threshold(device: _Device, held: Iterator[tuple[int, Ints]]) -> Iterator[str]:
    """An item is held from its task's end on while its key is below the threshold of the tasks closed so far.

    A task whose items would not fit beside those that are there leaves none.
    """
    policy = device.plan.memory
    assert isinstance(policy, ThresholdMemory)
    right, closed = np.empty(0, dtype=np.int64), 0
    for slot, found in held:
        for arrived in device.arrivals(slot):
            threshold = policy.thresholds[closed]
            older, newer = device.below(right, threshold), device.below(arrived, threshold)
            fits = len(older) + len(newer) <= policy.capacity
            right, closed = np.concatenate([older, newer]) if fits else older, closed + 1
        yield from _difference(device, slot, found, right, policy.thresholds[closed - 1] if closed else 0.0)


def _everything(device: _Device, held: Iterator[tuple[int, Ints]]) -> Iterator[str]:
    right = np.empty(0, dtype=np.int64)
    for slot, found in held:
        right = np.concatenate([right, *device.arrivals(slot)])
        yield from _difference(device, slot, found, right, 1.0)


def _by_its_own_code(device: _Device, held: Iterator[tuple[int, Ints]]) -> Iterator[str]:
    """A policy of the user's own is asked again, with the same keys, for what should be held."""
    policy, scenario = device.plan.memory, device.plan.scenario
    assert isinstance(policy, OwnMemory)
    keys = np.ones(int(scenario.units.item.max()) + 2)
    keys[list(device.keys)] = list(device.keys.values())
    right, closed = Held.nothing(), 0
    for slot, found in held:
        tasks = scenario.released(device.client, slot)
        for task, arrived in zip(tasks, device.arrivals(slot), strict=True):
            new = Held(arrived, scenario.units.item[arrived], np.full(len(arrived), task, dtype=np.int64))
            right, closed = policy.close(closed, right, new, keys, scenario.x, scenario.data.y), closed + 1
        yield from _difference(device, slot, found, right.index, float("nan"))


def _difference(device: _Device, slot: int, found: Ints, right: Ints, threshold: float) -> Iterator[str]:
    where = f"client {device.client} after slot {slot + 1}"
    if len(np.unique(found)) < len(found):
        yield f"{where} holds {len(found) - len(np.unique(found))} examples twice"
    extra, lacking = np.setdiff1d(found, right), np.setdiff1d(right, found)
    for examples, does, policy in ((extra, "holds", "drops"), (lacking, "lacks", "keeps")):
        if len(examples):
            why = _why(device, int(examples[0]), threshold)
            yield f"{where} {does} {len(examples)} examples that its policy {policy} ({why})"


def _why(device: _Device, example: int, threshold: float) -> str:
    """Return one example with the numbers that decide about it."""
    scenario = device.plan.scenario
    item, owner = int(scenario.units.item[example]), int(scenario.owner[example])
    trained = scenario.data.train[example] or example in device.inside
    if owner != device.client or scenario.held_out[example] or not trained:
        return f"example {example} is not this client's to train on"
    if item == NO_ITEM:
        return f"example {example} straddles two items and is never kept"
    return f"example {example}: key {device.keys.get(item, float('nan')):.4f}, threshold {threshold:.4f}"


def _by_class(device: _Device, held: Iterator[tuple[int, Ints]]) -> Iterator[str]:
    """Herding keeps, of what it had and what came, an equal share of the capacity for each class, or all there is.

    Which of a class's examples are nearest to its mean is not asked again.
    """
    policy, labels = device.plan.memory, device.plan.scenario.data.y
    assert isinstance(policy, HerdingMemory)
    before = np.empty(0, dtype=np.int64)
    for slot, found in held:
        where = f"client {device.client} after slot {slot + 1}"
        arrivals = device.arrivals(slot)
        there = np.concatenate([before, *arrivals])
        if not np.isin(found, there).all() or len(np.unique(found)) < len(found):
            yield f"{where} holds examples that it did not have, or some twice"
        # Several tasks of one slot are closed one after the other, each with its own share.
        elif len(arrivals) == 1:
            classes, counts = np.unique(labels[there], return_counts=True)
            share = policy.capacity // max(len(classes), 1)
            for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
                kept = int((labels[found] == label).sum())
                if kept != min(count, share):
                    yield f"{where} holds {kept} examples of class {label} where its share is {min(count, share)}"
        before = found
