"""Which task each example belongs to, what a task's classes are, and how its inputs look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config import Config
from secure_fcl.config.streams import Scenario as Wanted
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator
from secure_fcl.streams.calendar import IDLE
from secure_fcl.streams.domains import permute, transform
from secure_fcl.streams.online import segments
from secure_fcl.streams.units import Units

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Groups = tuple[tuple[int, ...], ...]

# Walking and sitting, upstairs and standing, downstairs and laying, then the transitions in the source's order.
_HAPT_ORDER = (0, 3, 1, 4, 2, 5, 6, 7, 8, 9, 10, 11)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Tasks of a scenario.

    Attributes:
        data: the data set, with new labels where a domain renames them.
        x: the inputs as each example's domain shows them, float32 (n, ...).
        task: task of each example, IDLE for none, int64 (n,). In an online stream the segment it arrives in, and
            for a test example nothing.
        classes: public labels of each task.
        part: which column of the accuracy matrix a (test) example counts in, IDLE for none, int64 (n,).
        part_classes: labels of each column.
        announced: classes of the original data set that each task may bring, bool (tasks, classes).
    """

    data: Dataset
    x: NDArray[np.float32]
    task: Ints
    classes: Groups
    part: Ints
    part_classes: Groups
    announced: Bools


def make_tasks(data: Dataset, units: Units, config: Config) -> Tasks:
    """Return the tasks of a configuration.

    Raises:
        ConfigInvalid: classes, tasks or persons that the data set cannot give.
    """
    wanted = config.scenario
    if wanted.kind == "domain" and wanted.domains != "classes":
        return _domains(data, units, config)
    groups = class_groups(len(data.classes), data.name, wanted)
    task = np.full(len(data.classes), IDLE, dtype=np.int64)
    for t, group in enumerate(groups):
        task[list(group)] = t
    part: Ints = task[data.y]
    announced = _announced(groups, len(data.classes))
    if wanted.kind == "domain":
        return _positions(data, groups, part, announced)
    if wanted.kind == "online":
        drawn = public_generator(config.seed, "online")
        arrives = segments(part, data.y, units.unit, groups, config.online, drawn)
        arrives[~data.train] = IDLE
        every = tuple(sorted(c for group in groups for c in group))
        count = len(groups) * config.online.segments
        all_of_them = np.tile(announced.any(axis=0), (count, 1))
        return Tasks(data, data.x, arrives, (every,) * count, part, groups, all_of_them)
    return Tasks(data, data.x, part, groups, part, groups, announced)


def class_groups(classes: int, name: str, wanted: Wanted) -> Groups:
    """Return the classes of each task: the class order cut into parts as equal as can be; `name`: of the data set.

    Raises:
        ConfigInvalid: an order that is none, or more tasks than classes.
    """
    order = wanted.class_order or (_HAPT_ORDER if name == "hapt" else tuple(range(classes)))
    if len(set(order)) != len(order) or any(not 0 <= c < classes for c in order):
        raise ConfigInvalid(f"scenario.class_order = {list(order)}: name each class 0..{classes - 1} at most once")
    if wanted.tasks > len(order):
        raise ConfigInvalid(
            f"scenario.tasks = {wanted.tasks} exceeds the {len(order)} classes; lower it to at most that"
        )
    return tuple(tuple(int(c) for c in part) for part in np.array_split(np.array(order), wanted.tasks))


def _announced(groups: Groups, classes: int) -> Bools:
    return np.array([np.isin(np.arange(classes), group) for group in groups])


def _positions(data: Dataset, groups: Groups, task: Ints, announced: Bools) -> Tasks:
    """Label each example by its class's position in its task (split MNIST, domain-incremental; van de Ven 2019)."""
    size = len(groups[0])
    if any(len(group) != size for group in groups):
        raise ConfigInvalid(
            f"scenario.domains = 'classes' needs tasks of equally many classes, not {[len(g) for g in groups]}; "
            "change scenario.tasks or scenario.class_order"
        )
    position = np.zeros(len(data.classes), dtype=np.int64)
    for group in groups:
        position[list(group)] = np.arange(size)
    names = tuple(" or ".join(data.classes[group[p]] for group in groups) for p in range(size))
    renamed = replace(data, y=position[data.y], classes=names, digest="")
    labels = (tuple(range(size)),) * len(groups)
    return Tasks(renamed, data.x, task, labels, task, labels, announced)


def _domains(data: Dataset, units: Units, config: Config) -> Tasks:
    wanted, tasks = config.scenario, config.scenario.tasks
    labels = (tuple(range(len(data.classes))),) * tasks
    announced = np.ones((tasks, len(data.classes)), dtype=np.bool_)
    if wanted.domains == "persons":
        task = _by_person(data, tasks)
        return Tasks(data, data.x, task, labels, task, labels, announced)
    drawn = public_generator(config.seed, "domains").integers(0, tasks, size=int(units.unit.max()) + 1)
    task = drawn[units.unit].astype(np.int64)
    x = data.x.copy()
    for domain in range(tasks):
        shown = data.x[task == domain]
        if wanted.domains == "permuted":
            x[task == domain] = permute(shown, domain, config.seed)
        else:
            x[task == domain] = transform(shown, domain, tasks)
    return Tasks(data, x, task, labels, task, labels, announced)


def _by_person(data: Dataset, tasks: int) -> Ints:
    persons = data.clients
    if (data.client == NO_CLIENT).any() or tasks > len(persons):
        raise ConfigInvalid(
            f"scenario.domains = 'persons' with {tasks} tasks: data set {data.name!r} has {len(persons)} persons; "
            "lower scenario.tasks or choose other domains"
        )
    # Dealt in turn: neighbours in the source's order were often recorded alike.
    group = {person: number % tasks for number, person in enumerate(persons)}
    return np.array([group[int(c)] for c in data.client], dtype=np.int64)
