"""Who is asked about: items of windows that one hold-out coin decides about, each apart from every other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.auditing.sums.released import SumsRow
from secure_fcl.randomness import public_generator
from secure_fcl.streams import NO_ITEM, Scenario
from secure_fcl.streams.units import ITEM_WINDOWS

Ints = NDArray[np.int64]

FEW = 100
"""A class is rare if all clients together have at most so many examples of it; without one, the smallest class is."""
RARE, OTHERS = 100, 40
"""Most items of rare classes, and of the others, that are asked about."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Item:
    """An item that is asked about.

    Attributes:
        moved: numbers of the examples that its coin alone decides about, the coins of all others being known.
        label, client, slot: of its examples.
        inside: whether it was trained on.
        rare: whether its class is rare.
    """

    number: int
    moved: Ints
    label: int
    client: int
    slot: int
    inside: bool
    rare: bool


def rare_classes(scenario: Scenario) -> Ints:
    """Return the classes with few examples, at least the smallest one."""
    met = scenario.data.train & (scenario.owner >= 0) & (scenario.task >= 0)
    classes, counts = np.unique(scenario.data.y[met], return_counts=True)
    return np.asarray(classes[(counts <= FEW) | (counts == counts.min())])


def items_of(row: SumsRow, slot_of: Ints) -> tuple[Item, ...]:
    """Return items of which no two decide about the same example: every second block of a recording.

    A straddling window leaves with either of its neighbours. An item's own part of a sum is then its windows and those
    straddlers whose other neighbour is in; with no two neighbours among those asked about, that is public to who knows
    all the others.
    """
    scenario, data = row.plan.scenario, row.plan.scenario.data
    item, sides = scenario.units.item, _neighbours(scenario)
    met = data.train & (slot_of >= 0)
    own, straddlers = (
        _by_unit(np.flatnonzero(met & (item != NO_ITEM)), scenario),
        _by_unit(np.flatnonzero(met & (item == NO_ITEM)), scenario),
    )
    first = {unit: int(windows[0]) for unit, windows in own.items()}
    rare = rare_classes(scenario)
    found = []
    for unit in _picked(row, first, rare):
        before, after = sides.get(unit, (-1, -1))
        beside = [
            straddlers.get(shared, _NONE)
            for shared, other in ((unit, after), (before, before))
            if other not in first or not scenario.held_out[first[other]]
        ]
        moved, place = np.sort(np.concatenate([own[unit], *beside])), first[unit]
        found.append(
            Item(
                number=unit, moved=moved[scenario.task[moved] == scenario.task[place]], label=int(data.y[place]),
                client=int(scenario.owner[place]), slot=int(slot_of[place]), inside=not scenario.held_out[place],
                rare=bool(np.isin(data.y[place], rare)),
            )
        )  # fmt: skip
    return tuple(found)


_NONE = np.empty(0, dtype=np.int64)


def _by_unit(windows: Ints, scenario: Scenario) -> dict[int, Ints]:
    units = scenario.units.unit[windows]
    order = np.argsort(units, kind="stable")
    names, starts = np.unique(units[order], return_index=True)
    parts = np.split(windows[order], starts[1:])
    return {int(name): np.asarray(part) for name, part in zip(names, parts, strict=True)} if len(windows) else {}


def _picked(row: SumsRow, first: dict[int, int], rare: Ints) -> list[int]:
    """Return the units that are asked about: every second block where readings are shared, rare classes first."""
    scenario = row.plan.scenario
    shared = scenario.data.windows_per_reading > 1
    chosen = sorted(unit for unit, place in first.items() if not shared or _block(scenario, place) % 2 == 0)
    order = public_generator(row.plan.config.seed, "items of sums", row.plan.name).permutation(chosen).tolist()
    of_rare = {unit: bool(np.isin(scenario.data.y[first[unit]], rare)) for unit in order}
    return [unit for unit in order if of_rare[unit]][:RARE] + [unit for unit in order if not of_rare[unit]][:OTHERS]


def _block(scenario: Scenario, window: int) -> int:
    stride = ITEM_WINDOWS + scenario.data.windows_per_reading - 1
    return int(scenario.data.position[window]) // stride


def _neighbours(scenario: Scenario) -> dict[int, tuple[int, int]]:
    """Return the units before and after each in its recording, -1 for none; nothing where readings are not shared."""
    data, unit = scenario.data, scenario.units.unit
    if data.windows_per_reading == 1:
        return {}
    place = {int(u): int(w) for u, w in zip(*np.unique(unit, return_index=True), strict=True)}
    known = {(int(data.run[w]), _block(scenario, w)): u for u, w in place.items()}

    def beside(window: int, side: int) -> int:
        return known.get((int(data.run[window]), _block(scenario, window) + side), -1)

    return {u: (beside(w, -1), beside(w, 1)) for u, w in place.items()}
