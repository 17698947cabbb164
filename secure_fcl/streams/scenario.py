"""A scenario: who meets what, and when. All of it follows one public seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config import Config
from secure_fcl.config.streams import Drift
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.features.kinds import features, refined_features
from secure_fcl.randomness import public_generator
from secure_fcl.streams.calendar import IDLE, Calendar, group_names, make_calendar
from secure_fcl.streams.canaries import NOTHING, Canaries, declared
from secure_fcl.streams.cohorts import NEVER, Wait, met_slots, most_waiting, release_slots, waits
from secure_fcl.streams.drift import drifted
from secure_fcl.streams.partition import dealt_classes, partition
from secure_fcl.streams.tasks import Groups, Tasks, make_tasks
from secure_fcl.streams.units import Units, held_out, make_units
from secure_fcl.streams.unseen import unseen_persons

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Description = Literal["none", "plain", "refined"]


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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Public numbers of everybody's examples, for who holds only a part of them.

    Attributes:
        digest: of the whole scenario (`Scenario.digest`), and
        digest_at_once: of the same with all tasks put together.
        examples: training examples of all clients.
        most_of_one: most training examples of one client.
        released: training examples released up to each slot.
        arrived: classes that arrived up to each slot.
    """

    digest: str
    digest_at_once: str
    examples: int
    most_of_one: int
    released: tuple[int, ...]
    arrived: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario:
    """Streams of all clients.

    Attributes:
        kind: class, domain, task (the test names an input's task) or online (seen once, no boundaries announced).
        data: the data set; its labels are positions in the task where domains are groups of classes.
        x: the inputs as each example's domain, and the drift at its time, show them.
        units: units and items of its examples.
        owner: client of each example, NO_CLIENT for nobody's.
        task: task of each example; in an online stream the segment in which it arrives.
        task_classes: public labels of each task.
        part: column of the accuracy matrix in which a test example counts; elsewhere the same as `task`.
        part_classes: labels of each column.
        held_out: training examples kept away from everyone, as non-members.
        dates: who is there and who meets what in each slot; public.
        release: slot in which each client's task leaves its device, NEVER if it does not, int64 (clients, tasks).
            Later than the slot in which it is met where a minimum cohort holds it back.
        groups: name of each client's calendar; clients of one group are charged together.
        waits: how long each class waited for its cohort; `source_classes` are their names.
        largest_place: public bound on the places of one experience.
        shuffled: whether clients meet the tasks in different orders.
        segments: segments of the stream per column of the accuracy matrix, 1 outside online streams.
        together: slots of the calendar that were put into one (`all_at_once`); 1: none.
        drift: the configuration's section; `undrifted` are the inputs without it.
        description: what the inputs are of an example: the example itself, or its public features.
        unseen: test examples of persons who never train, bool (n,); None: there are none.
        canaries: that are declared (`secure_fcl.streams.canaries`), behind all other examples; None: there are none.
        facts: what stands in for the examples that are not here (`secure_fcl.streams.public`); None: all are here.
    """

    kind: str
    data: Dataset
    x: Floats
    units: Units
    owner: Ints
    task: Ints
    task_classes: Groups
    part: Ints
    part_classes: Groups
    held_out: Bools
    dates: Calendar
    release: Ints
    groups: tuple[str, ...]
    waits: tuple[Wait, ...]
    source_classes: tuple[str, ...]
    largest_place: int
    shuffled: bool
    segments: int
    drift: Drift
    undrifted: Floats = field(repr=False)
    together: int = 1
    description: Description = "none"
    unseen: Bools | None = None
    canaries: Canaries | None = None
    facts: Facts | None = None

    @property
    def calendar(self) -> Ints:
        """Task that each client meets in each slot, IDLE for none, int64 (clients, slots); public."""
        return self.dates.met

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.calendar)

    @property
    def tasks(self) -> int:
        """Number of tasks; of segments, in an online stream."""
        return len(self.task_classes)

    @property
    def parts(self) -> int:
        """Number of columns of the accuracy matrix."""
        return len(self.part_classes)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Name of each column of the accuracy matrix, by its classes; none where all columns have the same ones."""
        if len(set(self.part_classes)) < self.parts or self.kind == "domain":
            return ()
        return tuple(", ".join(self.source_classes[label] for label in labels) for labels in self.part_classes)

    @property
    def seen_once(self) -> bool:
        """Whether a chunk of the stream is there for one round only."""
        return self.kind == "online" and self.together == 1

    @property
    def slots(self) -> int:
        """Number of time slots; equal to the tasks under synchronous arrival."""
        return int(self.calendar.shape[1])

    @cached_property
    def met(self) -> Ints:
        """Slot in which each client meets each task, NEVER if not, int64 (clients, tasks)."""
        return met_slots(self.dates, self.tasks)

    @cached_property
    def most_waiting(self) -> int:
        """Most experiences that one client holds back at a time."""
        return most_waiting(self.dates, self.release)

    @cached_property
    def most_released(self) -> int:
        """Most experiences that one client releases in one slot."""
        counts = [(self.release == slot).sum(axis=1).max(initial=0) for slot in range(self.slots)]
        return max(1, *(int(count) for count in counts))

    def experience(self, client: int, task: int, inside: Ints = NOTHING) -> Experience:
        """Return what `client` meets of `task`; it may be empty. `inside`: numbers of its canaries that are in."""
        order, owners, tasks = self._by_owner
        first, last = np.searchsorted(owners, (client, client + 1))
        first, last = first + np.searchsorted(tasks[first:last], (task, task + 1))
        mine = order[first:last]
        place = _places(self.units.unit[mine])
        if self.canaries is not None:
            mine, place = self.canaries.placed(mine, place, client, task, inside)
        return Experience(mine, place)

    @cached_property
    def _by_owner(self) -> tuple[Ints, Ints, Ints]:
        """Training examples by client, task and time, and client and task of each: sorted once for all clients."""
        mine = np.flatnonzero(self.data.train & ~self.held_out)
        mine = mine[np.lexsort((self.units.order[mine], self.task[mine], self.owner[mine]))]
        return mine, self.owner[mine], self.task[mine]

    def released(self, client: int, slot: int) -> tuple[int, ...]:
        """Return the tasks whose examples `client` brings in a slot, in the order in which it met them."""
        tasks = np.flatnonzero(self.release[client] == slot)
        return tuple(int(t) for t in tasks[np.argsort(self.met[client, tasks], kind="stable")])

    def closed(self, slot: int) -> Ints:
        """Return how many tasks each client has released up to and including a slot, int64 (clients,)."""
        return np.asarray(((self.release != NEVER) & (self.release <= slot)).sum(axis=1))

    def slot_classes(self, slot: int) -> tuple[int, ...]:
        """Return the labels that the public calendar announces for a slot: those of the tasks released in it."""
        tasks = np.flatnonzero((self.release == slot).any(axis=0)).tolist()
        return tuple(sorted({c for t in tasks for c in self.task_classes[t]}))

    @property
    def examples(self) -> int:
        """Number of training examples, of clients or not."""
        return int(self.data.train.sum()) if self.facts is None else self.facts.examples

    def released_examples(self, slot: int) -> int:
        """Return how many training examples were released up to a slot."""
        if self.facts is not None:
            return self.facts.released[slot if self.together == 1 else -1]
        mine = self.data.train & ~self.held_out & (self.owner >= 0) & (self.task >= 0)
        release = self.release[self.owner[mine], self.task[mine]]
        return int(((release != NEVER) & (release <= slot)).sum())

    def arrived_classes(self, slot: int) -> Ints:
        """Return the labels of which a training example was released up to a slot, sorted."""
        if self.facts is not None:
            return np.array(self.facts.arrived[slot if self.together == 1 else -1], dtype=np.int64)
        mine = self.data.train & ~self.held_out & (self.owner >= 0) & (self.task >= 0)
        released = (self.release != NEVER) & (self.release <= slot)
        return np.unique(self.data.y[mine & released[self.owner, self.task]])

    def test_indices(self) -> Ints:
        """Return the test examples that belong to a client, in order."""
        return np.flatnonzero(self.data.test & (self.owner != NO_CLIENT) & (self.part != IDLE))

    def unseen_indices(self) -> Ints:
        """Return the test examples of persons who never train, in order; they are nobody's of `test_indices`."""
        return np.flatnonzero(np.zeros(len(self.data)) if self.unseen is None else self.unseen)

    def inputs_now(self, index: Ints, slot: int) -> Floats:
        """Return inputs as the drift shows them at the end of a slot, float32 (len(index), ...)."""
        time = np.full(len(index), (slot + 1) / self.slots)
        return as_shown(drifted(self.undrifted[index], time, self.drift), self.description)

    def described(self, description: Description) -> Scenario:
        """Return the scenario in which an example's inputs are its public features, float32 (n, d).

        Their norm is at most 1 up to rounding. An input depends on its own example alone, so neighbouring data sets
        stay neighbours.
        """
        if description == self.description:
            return self
        if self.description != "none":
            raise ValueError(f"the inputs are {self.description} features already; describe the scenario they are of")
        if description not in self._described:
            x = as_shown(self.x, description)
            data = replace(self.data, x=x, units=f"{description} public features, norm at most 1")
            self._described[description] = replace(self, data=data, x=x, description=description)
        return self._described[description]

    @cached_property
    def _described(self) -> dict[Description, Scenario]:
        return {}

    @property
    def digest(self) -> str:
        """SHA-256 over everything public that the seed decided."""
        if self.facts is not None:
            return self.facts.digest if self.together == 1 else self.facts.digest_at_once
        total = hashlib.sha256(self.data.digest.encode())
        for array in (
            self.owner, self.task, self.part, self.held_out, self.calendar, self.dates.present, self.release,
            self.units.item,
        ):  # fmt: skip
            total.update(np.ascontiguousarray(array).tobytes())
        total.update(f"{self.kind} {self.task_classes} {self.drift!r}".encode())
        return total.hexdigest()

    @property
    def most_examples_of_one_client(self) -> int:
        """Largest number of training examples of one client (of one person, under natural clients)."""
        if self.facts is not None:
            return self.facts.most_of_one
        mine = self.owner[self.data.train & ~self.held_out & (self.owner != NO_CLIENT)]
        return int(np.bincount(mine, minlength=1).max()) if len(mine) else 0


def all_at_once(scenario: Scenario) -> Scenario:
    """Return the scenario in which everything that is ever released is there in one slot: joint training, a bound.

    Tasks, owners and test examples stay what they were, and so do the columns of the accuracy matrix.
    """
    nobody = np.full((scenario.clients, 1), IDLE, dtype=np.int64)
    return replace(
        scenario,
        dates=Calendar(nobody, np.ones((scenario.clients, 1), dtype=np.bool_)),
        release=np.where(scenario.release == NEVER, NEVER, 0),
        shuffled=True,
        together=scenario.slots,
    )


def as_shown(x: Floats, description: Description) -> Floats:
    """Return inputs (n, ...) as a network is shown them: themselves, or their public features float32 (n, d)."""
    if description == "none":
        return x
    return (features if description == "plain" else refined_features)(x).astype(np.float32)


def _places(unit: Ints) -> Ints:
    if len(unit) == 0:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(np.diff(unit) != 0)]).astype(np.int64)


def build_scenario(data: Dataset, config: Config) -> Scenario:
    """Return the scenario of a configuration. Same data and configuration, same digest.

    Raises:
        ConfigInvalid: tasks, classes or clients that the data set cannot give, or a minimum cohort never reached.
    """
    wanted = config.scenario
    unseen = unseen_persons(data, config.data.unseen_persons, config.seed)
    if len(unseen):
        # Units, tasks and their digest stay those of the whole data set.
        data = replace(data, train=data.train & ~np.isin(data.client, unseen))
    units = make_units(data)
    owner = partition(
        data, units.unit, wanted.partition, wanted.clients, public_generator(config.seed, "partition"),
        alpha=wanted.alpha, classes_per_client=wanted.classes_per_client, unseen=unseen,
    )  # fmt: skip
    tasks = make_tasks(data, units, config)
    dealt = dealt_classes(
        wanted.partition, len(data.classes), wanted.clients, wanted.classes_per_client,
        public_generator(config.seed, "partition"),
    )  # fmt: skip
    dates = make_calendar(config, len(tasks.classes))
    if not dates.present.any(axis=0).all():
        raise ConfigInvalid(
            f"scenario.joining = {wanted.joining:g} and scenario.leaving = {wanted.leaving:g} leave slot "
            f"{int(dates.present.any(axis=0).argmin())} without any client; lower them or take another seed"
        )
    release = release_slots(dates, tasks.announced, dealt, wanted.min_cohort)
    waited = waits(dates, tasks.announced, dealt, release)
    if all(wait.released is None for wait in waited):
        raise ConfigInvalid(
            f"scenario.min_cohort = {wanted.min_cohort}: no class ever has that many holders among {wanted.clients} "
            "clients, so nothing would be released; lower it"
        )
    scenario = Scenario(
        kind=wanted.kind, data=tasks.data, x=tasks.x, units=units, owner=owner, task=tasks.task,
        task_classes=tasks.classes, part=tasks.part, part_classes=tasks.part_classes,
        held_out=held_out(data, units, wanted.holdout, public_generator(config.seed, "hold-out")),
        dates=dates, release=release, groups=group_names(dates, release),
        waits=waited, source_classes=data.classes, largest_place=1,
        shuffled=wanted.order == "shuffle",
        segments=config.online.segments if wanted.kind == "online" else 1, drift=config.drift, undrifted=tasks.x,
        unseen=tasks.data.test & np.isin(data.client, unseen) & (tasks.part != IDLE) if len(unseen) else None,
    )  # fmt: skip
    scenario = replace(scenario, largest_place=_largest_place(scenario))
    if config.drift.course != "none":
        scenario = replace(scenario, x=drifted(tasks.x, _times(scenario, tasks), config.drift))
    return _with_canaries(scenario, config) if config.attacks.canaries else scenario


def _with_canaries(scenario: Scenario, config: Config) -> Scenario:
    test, unseen = scenario.data.test, scenario.unseen
    made = declared(
        config.attacks.canaries, config.seed, release=scenario.release, classes=scenario.task_classes,
        places=scenario.largest_place, tests=(scenario.x[test], scenario.data.y[test]), first=len(test),
    )  # fmt: skip
    return replace(
        scenario, canaries=made.canaries, data=made.grown(scenario.data), units=made.units(scenario.units),
        x=made.behind(scenario.x), undrifted=made.behind(scenario.undrifted),
        owner=np.append(scenario.owner, made.canaries.client), task=np.append(scenario.task, made.canaries.task),
        part=made.filled(scenario.part, IDLE), largest_place=scenario.largest_place + made.most,
        held_out=made.nowhere(scenario.held_out), unseen=None if unseen is None else made.nowhere(unseen),
    )  # fmt: skip


def _largest_place(scenario: Scenario) -> int:
    found = 1
    for client in range(scenario.clients):
        for task in range(scenario.tasks):
            place = scenario.experience(client, task).place
            if len(place):
                found = max(found, int(place.max()) + 1)
    return found


def _times(scenario: Scenario, tasks: Tasks) -> NDArray[np.float64]:
    """Return when each example is seen, from 0 to 1: by slot and place when it trains, mid-task when it tests."""
    stretch = scenario.segments / scenario.slots
    time = np.where(tasks.part == IDLE, 0.0, (tasks.part + 0.5) * stretch)
    for client in range(scenario.clients):
        for task in np.flatnonzero(scenario.met[client] != NEVER).tolist():
            mine = scenario.experience(client, task)
            time[mine.index] = (scenario.met[client, task] + mine.place / scenario.largest_place) / scenario.slots
    return np.clip(time, 0.0, 1.0)
