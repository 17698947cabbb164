"""A scenario: who meets what, and when. All of it follows one public seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl import config as cfg
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator
from secure_fcl.streams.domains import transform
from secure_fcl.streams.partition import partition
from secure_fcl.streams.units import Units, held_out, make_units

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
IDLE = -1


@dataclass(frozen=True, eq=False)
class Experience:
    """What one client meets of one task: example numbers in time order, and the pool place of each one's unit.

    `place` counts units from 0: a unit's place is public, whether it holds anything is not. Both arrays int64 (m,).
    """

    index: Ints
    place: Ints

    def chunk(self, number: int, places: int) -> Ints:
        """Return the example numbers of one chunk of `places` consecutive places."""
        return np.asarray(self.index[self.place // places == number])


@dataclass(frozen=True, eq=False)
class Scenario:
    """Streams of all clients.

    Attributes:
        data: the data set; `x` is already as each example's domain shows it.
        units: units and items of its examples.
        owner: client of each example, NO_CLIENT for nobody's.
        task: task of each example.
        task_classes: public classes of each task.
        held_out: training examples kept away from everyone, as non-members.
        calendar: task that each client meets in each slot, IDLE for none, int64 (clients, slots); public.
        groups: name of each client's calendar; clients of one group are charged together.
        largest_place: public bound on the places of one experience.
    """

    data: Dataset
    x: NDArray[np.float32]
    units: Units
    owner: Ints
    task: Ints
    task_classes: tuple[tuple[int, ...], ...]
    held_out: Bools
    calendar: Ints
    groups: tuple[str, ...]
    largest_place: int

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.calendar)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.task_classes)

    @property
    def slots(self) -> int:
        """Number of time slots; equal to the tasks under synchronous arrival."""
        return int(self.calendar.shape[1])

    def experience(self, client: int, task: int) -> Experience:
        """Return what `client` meets of `task`; it may be empty."""
        mine = np.flatnonzero((self.owner == client) & (self.task == task) & self.data.train & ~self.held_out)
        mine = mine[np.argsort(self.units.order[mine], kind="stable")]
        return Experience(mine, _places(self.units.unit[mine]))

    def slot_classes(self, slot: int) -> tuple[int, ...]:
        """Return the classes that the public calendar announces for a slot."""
        tasks = {int(t) for t in self.calendar[:, slot] if t != IDLE}
        return tuple(sorted({c for t in tasks for c in self.task_classes[t]}))

    def test_indices(self) -> Ints:
        """Return the test examples that belong to a client, in order."""
        return np.flatnonzero(self.data.test & (self.owner != NO_CLIENT) & (self.task != IDLE))

    @property
    def digest(self) -> str:
        """SHA-256 over everything public that the seed decided."""
        total = hashlib.sha256(self.data.digest.encode())
        for array in (self.owner, self.task, self.held_out, self.calendar, self.units.item):
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    @property
    def most_examples_of_one_client(self) -> int:
        """Largest number of training examples of one client (of one person, under natural clients)."""
        mine = self.owner[self.data.train & ~self.held_out & (self.owner != NO_CLIENT)]
        return int(np.bincount(mine, minlength=1).max()) if len(mine) else 0


def _places(unit: Ints) -> Ints:
    if len(unit) == 0:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(np.diff(unit) != 0)]).astype(np.int64)


def build_scenario(data: Dataset, config: cfg.Config) -> Scenario:
    """Return the scenario of a configuration. Same data and configuration, same digest.

    Raises:
        ConfigInvalid: tasks, classes or clients that the data set cannot give.
    """
    wanted = config.scenario
    units = make_units(data)
    owner = partition(
        data, units.unit, wanted.partition, wanted.clients, public_generator(config.seed, "partition"),
        alpha=wanted.alpha, classes_per_client=wanted.classes_per_client,
    )  # fmt: skip
    task, task_classes = _tasks(data, units, config)
    x = data.x
    if wanted.kind == "domain":
        x = data.x.copy()
        for domain in range(wanted.tasks):
            x[task == domain] = transform(data.x[task == domain], domain, wanted.tasks)
    calendar, groups = _calendar(config)
    out = held_out(data, units, wanted.holdout, public_generator(config.seed, "hold-out"))
    scenario = Scenario(data, x, units, owner, task, task_classes, out, calendar, groups, 1)
    largest = max(
        (int(e.place.max()) + 1 for k in range(wanted.clients) for t in range(scenario.tasks)
         if len((e := scenario.experience(k, t)).place)), default=1,
    )  # fmt: skip
    return Scenario(data, x, units, owner, task, task_classes, out, calendar, groups, largest)


def _tasks(data: Dataset, units: Units, config: cfg.Config) -> tuple[Ints, tuple[tuple[int, ...], ...]]:
    classes, tasks = len(data.classes), config.scenario.tasks
    if config.scenario.kind == "domain":
        drawn = public_generator(config.seed, "domains").integers(0, tasks, size=int(units.unit.max()) + 1)
        return drawn[units.unit].astype(np.int64), (tuple(range(classes)),) * tasks
    order = config.scenario.class_order or (_HAPT_ORDER if data.name == "hapt" else tuple(range(classes)))
    if len(set(order)) != len(order) or any(not 0 <= c < classes for c in order):
        raise ConfigInvalid(f"scenario.class_order = {list(order)}: name each class 0..{classes - 1} at most once")
    if tasks > len(order):
        raise ConfigInvalid(f"scenario.tasks = {tasks} exceeds the {len(order)} classes; lower it to at most that")
    groups = tuple(tuple(int(c) for c in part) for part in np.array_split(np.array(order), tasks))
    task_of = np.full(classes, IDLE, dtype=np.int64)
    for t, group in enumerate(groups):
        task_of[list(group)] = t
    return task_of[data.y], groups


# Walking and sitting, upstairs and standing, downstairs and laying, then the transitions in the source's order.
_HAPT_ORDER = (0, 3, 1, 4, 2, 5, 6, 7, 8, 9, 10, 11)


def _calendar(config: cfg.Config) -> tuple[Ints, tuple[str, ...]]:
    clients, tasks = config.scenario.clients, config.scenario.tasks
    if config.scenario.arrival == "synchronous":
        return np.tile(np.arange(tasks, dtype=np.int64), (clients, 1)), ("all clients",) * clients
    latest = config.scenario.max_delay
    delay = public_generator(config.seed, "arrival").integers(0, latest + 1, size=clients)
    calendar = np.arange(tasks + latest, dtype=np.int64)[None, :] - delay[:, None]
    calendar[(calendar < 0) | (calendar >= tasks)] = IDLE
    return calendar, tuple(f"clients {d} tasks late" for d in delay)
