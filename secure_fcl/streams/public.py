"""The public part of a scenario, and the parts that make it whole again: one device's examples, or the test set.

The calendar says who meets what and when, which classes there are, and bounds on sizes; it holds no example. Server and
devices have it as the same file. What it takes from a data set, and so declares public, are the numbers of `Facts` and
the bounds on places, units and items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.files import atomic_write, read_json
from evaluation.strict_json import to_json
from secure_fcl.config.streams import Drift
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams.calendar import IDLE, Calendar, group_names
from secure_fcl.streams.cohorts import NEVER, Wait
from secure_fcl.streams.scenario import Facts, Scenario, all_at_once
from secure_fcl.streams.units import NO_ITEM, Units, make_units

Ints = NDArray[np.int64]
Groups = tuple[tuple[int, ...], ...]

FORMAT = "secure-fcl calendar 1"
PART_ARRAYS = ("x", "y", "task", "unit", "item", "order")
TEST_ARRAYS = ("x", "y", "task", "part", "owner")


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicCalendar:
    """What a scenario says without an example; attributes as those of `Scenario` and `Dataset`.

    `bounds`: most windows of a unit and of an item. `data_digest`: of the data set that it was made of, "" for none.
    """

    kind: str
    data_name: str
    data_digest: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    source_classes: tuple[str, ...]
    unit_of_x: str
    source: str
    windows_per_reading: int
    task_classes: Groups
    part_classes: Groups
    met: tuple[tuple[int, ...], ...]
    present: tuple[tuple[bool, ...], ...]
    release: tuple[tuple[int, ...], ...]
    waits: tuple[Wait, ...]
    largest_place: int
    bounds: tuple[int, int]
    shuffled: bool
    segments: int
    drift: Drift
    facts: Facts

    @staticmethod
    def of(scenario: Scenario) -> PublicCalendar:
        """Return the public part of a whole scenario, whose inputs are not described and whose tasks are apart."""
        if scenario.description != "none" or scenario.together != 1:
            raise ValueError("a calendar is made of the scenario as it was built")
        data, slots = scenario.data, range(scenario.slots)
        facts = scenario.facts or Facts(
            digest=scenario.digest,
            digest_at_once=all_at_once(scenario).digest,
            examples=scenario.examples,
            most_of_one=scenario.most_examples_of_one_client,
            released=tuple(scenario.released_examples(slot) for slot in slots),
            arrived=tuple(tuple(scenario.arrived_classes(slot).tolist()) for slot in slots),
        )
        return PublicCalendar(
            kind=scenario.kind, data_name=data.name, data_digest=data.digest, shape=tuple(data.shape),
            classes=data.classes, source_classes=scenario.source_classes, unit_of_x=data.units, source=data.source,
            windows_per_reading=data.windows_per_reading, task_classes=scenario.task_classes,
            part_classes=scenario.part_classes, met=_rows(scenario.dates.met), present=_rows(scenario.dates.present),
            release=_rows(scenario.release), waits=scenario.waits, largest_place=scenario.largest_place,
            bounds=(scenario.units.windows_per_unit, scenario.units.largest_item), shuffled=scenario.shuffled,
            segments=scenario.segments, drift=scenario.drift, facts=facts,
        )  # fmt: skip

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.met)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(to_json(self._tree()).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write it as one JSON file with its digest, atomically.

        Raises:
            evaluation.errors.StorageError: the system refused.
        """
        atomic_write(path, to_json({"format": FORMAT, "digest": self.digest, **self._tree()}) + "\n")

    @staticmethod
    def read(path: Path) -> PublicCalendar:
        """Return what `write` wrote.

        Raises:
            ConfigInvalid: the file is missing, damaged, or is not what its digest says.
        """
        try:
            found = _from_tree(read_json(path))
        except (EvaluationError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigInvalid(f"{path} is no calendar of format {FORMAT!r} ({error}); restore it") from error
        return found

    def with_part(self, client: int, part: Mapping[str, NDArray[Any]]) -> Scenario:
        """Return the scenario as one device knows it: the public part, and its own training examples.

        Args:
            client: whose device.
            part: the arrays of `part_of`.

        Raises:
            ConfigInvalid: the examples do not fit the calendar: shape, classes, tasks, or more than a public bound.
        """
        found = self._checked(part, PART_ARRAYS)
        n = len(found["y"])
        bounded = Units(found["unit"], found["item"], found["order"], self.bounds)
        mine = np.full(n, client, dtype=np.int64)
        scenario = self._scenario(found, mine, np.full(n, IDLE, dtype=np.int64), bounded, train=True)
        for task in range(len(self.task_classes)):
            place = scenario.experience(client, task).place
            if len(place) and int(place.max()) >= self.largest_place:
                raise ConfigInvalid(
                    f"client {client} has {int(place.max()) + 1} positions in task {task + 1}, and the calendar "
                    f"declares at most {self.largest_place}; leave some out, or declare more"
                )
        return scenario

    def with_test(self, test: Mapping[str, NDArray[Any]]) -> Scenario:
        """Return the scenario as the server knows it: the public part, and the test examples of `test_of`.

        Raises:
            ConfigInvalid: as `with_part`.
        """
        found = self._checked(test, TEST_ARRAYS)
        if "undrifted" in test:
            found["undrifted"] = np.ascontiguousarray(test["undrifted"], dtype=np.float32)
        n = len(found["y"])
        each = np.arange(n, dtype=np.int64)
        units = Units(each, np.full(n, NO_ITEM, dtype=np.int64), each, self.bounds)
        return self._scenario(found, found["owner"], found["part"], units, train=False)

    def _checked(self, arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        lengths = {len(arrays[name]) for name in names if name in arrays}
        if missing := [name for name in names if name not in arrays]:
            raise ConfigInvalid(f"the examples lack the arrays {missing}; write them anew")
        if len(lengths) != 1 or arrays["x"].shape[1:] != self.shape:
            raise ConfigInvalid(
                f"examples of shape {arrays['x'].shape[1:]} and {sorted(lengths)} entries do not fit the calendar's "
                f"shape {self.shape}; bring them into it"
            )
        for name, count in (("y", len(self.classes)), ("task", len(self.task_classes))):
            least = IDLE if name == "task" else 0
            if len(arrays[name]) and not (arrays[name].min() >= least and arrays[name].max() < count):
                raise ConfigInvalid(f"an example's {name} is outside 0 to {count - 1}; the calendar knows no other")
        kinds = {"x": np.float32}
        found = {name: np.ascontiguousarray(arrays[name], dtype=kinds.get(name, np.int64)) for name in names}
        if lengths == {0}:
            # A data set has at least one example; this one is nobody's, and neither trains nor tests.
            nobody = {"owner": NO_CLIENT, "task": IDLE, "part": IDLE, "item": NO_ITEM}
            found = {name: np.full((1, *a.shape[1:]), nobody.get(name, 0), dtype=a.dtype) for name, a in found.items()}
        return found

    def _scenario(
        self, found: Mapping[str, NDArray[Any]], owner: Ints, part: Ints, units: Units, *, train: bool
    ) -> Scenario:
        n, there = len(found["y"]), found["task"] != IDLE
        zeros = np.zeros(n, dtype=np.int64)
        data = Dataset(
            name=self.data_name, x=found["x"], y=found["y"], client=owner, session=zeros.copy(), run=zeros.copy(),
            position=units.order, train=there & train, test=(part != IDLE) & (not train), classes=self.classes,
            units=self.unit_of_x, windows_per_reading=self.windows_per_reading, source=self.source,
            digest=self.data_digest,
        )  # fmt: skip
        dates = Calendar(np.array(self.met, dtype=np.int64), np.array(self.present, dtype=np.bool_))
        release = np.array(self.release, dtype=np.int64)
        return Scenario(
            kind=self.kind, data=data, x=data.x, units=units, owner=owner, task=found["task"],
            task_classes=self.task_classes, part=part, part_classes=self.part_classes,
            held_out=np.zeros(n, dtype=np.bool_), dates=dates, release=release, groups=group_names(dates, release),
            waits=self.waits, source_classes=self.source_classes, largest_place=self.largest_place,
            shuffled=self.shuffled, segments=self.segments, drift=self.drift, undrifted=found.get("undrifted", data.x),
            unseen=data.test & (owner == NO_CLIENT) if data.test.any() else None, facts=self.facts,
        )  # fmt: skip

    def _tree(self) -> dict[str, Any]:
        tree = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return tree | {
            "waits": [asdict(wait) for wait in self.waits],
            "drift": self.drift.model_dump(mode="json"),
            "facts": asdict(self.facts),
        }


def part_of(scenario: Scenario, client: int) -> dict[str, NDArray[Any]]:
    """Return one client's training examples as arrays: `PART_ARRAYS`, by position in the data set.

    Numbers of units, items and places in time are its own; they tell nothing of other clients' examples.
    """
    mine = np.flatnonzero(
        (scenario.owner == client) & (scenario.task != IDLE) & scenario.data.train & ~scenario.held_out
    )
    item = scenario.units.item[mine]
    there = item != NO_ITEM
    item[there] = np.unique(item[there], return_inverse=True)[1]
    return {
        "x": scenario.x[mine],
        "y": scenario.data.y[mine],
        "task": scenario.task[mine],
        "unit": np.unique(scenario.units.unit[mine], return_inverse=True)[1].astype(np.int64),
        "item": item,
        "order": np.unique(scenario.units.order[mine], return_inverse=True)[1].astype(np.int64),
    }


def own_part(data: Dataset, calendar: PublicCalendar) -> dict[str, NDArray[Any]]:
    """Return the training examples of a data set that holds one device's alone, as `part_of` does.

    Raises:
        ConfigInvalid: its classes are not the calendar's, or tasks are no groups of classes.
    """
    units, mine = make_units(data), np.flatnonzero(data.train)
    part: dict[str, NDArray[Any]] = {"x": data.x, "y": data.y, "task": _tasks_of(data, calendar)}
    part |= {"unit": units.unit, "item": units.item, "order": units.order}
    return {name: array[mine] for name, array in part.items()}


def test_of(scenario: Scenario) -> dict[str, NDArray[Any]]:
    """Return the test examples as arrays: `TEST_ARRAYS`, and `undrifted` where the inputs drift.

    Those of persons who never train are the ones whose owner is nobody.
    """
    test = np.concatenate([scenario.test_indices(), scenario.unseen_indices()])
    found: dict[str, NDArray[Any]] = {
        "x": scenario.x[test],
        "y": scenario.data.y[test],
        "task": scenario.task[test],
        "part": scenario.part[test],
        "owner": scenario.owner[test],
    }
    return found if scenario.drift.course == "none" else found | {"undrifted": scenario.undrifted[test]}


def _tasks_of(data: Dataset, calendar: PublicCalendar) -> Ints:
    if calendar.kind not in ("class", "task") or data.classes != calendar.source_classes:
        raise ConfigInvalid(
            f"data of one's own need the calendar's {len(calendar.source_classes)} classes, in its order, and tasks "
            f"that are groups of classes; these have {len(data.classes)} classes and scenario.kind = {calendar.kind!r}"
        )
    task_of = np.full(len(data.classes), IDLE, dtype=np.int64)
    for task, labels in enumerate(calendar.task_classes):
        task_of[list(labels)] = task
    return np.asarray(task_of[data.y])


def own_test(data: Dataset, calendar: PublicCalendar) -> dict[str, NDArray[Any]]:
    """Return the test examples of a data set as `test_of` does; dealt to clients in turn, as nobody owns them.

    Raises:
        ConfigInvalid: as `own_part`.
    """
    part, test = _tasks_of(data, calendar), np.flatnonzero(data.test)
    found: dict[str, NDArray[Any]] = {"x": data.x, "y": data.y, "task": part, "part": part}
    owner = np.arange(len(test), dtype=np.int64) % calendar.clients
    return {name: array[test] for name, array in found.items()} | {"owner": owner}


def no_test(calendar: PublicCalendar) -> dict[str, NDArray[Any]]:
    """Return the arrays of an empty test set."""
    none = {name: np.zeros(0, dtype=np.int64) for name in TEST_ARRAYS}
    return none | {"x": np.zeros((0, *calendar.shape), dtype=np.float32)}


test_of.__test__ = False  # type: ignore[attr-defined]


def _rows(array: NDArray[Any]) -> tuple[Any, ...]:
    return tuple(map(tuple, array.tolist()))


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _from_tree(tree: dict[str, Any]) -> PublicCalendar:
    stated, named = tree.pop("digest"), tree.pop("format")
    if named != FORMAT:
        raise ValueError(f"its format is {named!r}")
    special = {
        "waits": tuple(Wait(**wait) for wait in tree.pop("waits")),
        "drift": Drift.model_validate(tree.pop("drift")),
        "facts": Facts(**{name: _deep(value) for name, value in tree.pop("facts").items()}),
    }
    read: dict[str, Any] = {name: _deep(value) for name, value in tree.items()} | special
    found = PublicCalendar(**read)
    if found.digest != stated:
        raise ValueError("its digest is another")
    widths = {len(row) for row in (*found.met, *found.present)}
    if len(found.met) != len(found.present) or len(found.met) != len(found.release) or len(widths) != 1:
        raise ValueError("its tables have different sizes")
    if any(not NEVER <= slot < len(found.met[0]) for row in found.release for slot in row):
        raise ValueError("a task is released in a slot that does not exist")
    return found
