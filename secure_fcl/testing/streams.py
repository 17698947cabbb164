"""Hypothesis strategies for streams, calendars and cohorts, for tests of strategies, memories and schedules.

Needs the package `hypothesis` (`pip install hypothesis`), which the rest of the package does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from secure_fcl.config import Config, validate
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.streams import IDLE, Calendar, Scenario, build_scenario
from secure_fcl.testing.memories import MemoryCourse

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Meeting:
    """A calendar with what its tasks announce: arguments of `secure_fcl.streams.cohorts.release_slots`.

    Attributes:
        calendar: who meets what, and who is there.
        announced: classes of each task, bool (tasks, classes).
        dealt: classes that a client may hold, bool (clients, classes).
        minimum: the minimum cohort.
    """

    calendar: Calendar
    announced: Bools
    dealt: Bools
    minimum: int


@st.composite
def datasets(draw: st.DrawFn, persons: int = 0, max_runs: int = 24) -> Dataset:
    """Small labelled signals, some classes perhaps absent; with `persons` above 0, of that many natural clients.

    Windows overlap by half or not at all; a run has one label, as on HAPT.
    """
    classes = draw(st.integers(2, 5))
    lengths = draw(st.lists(st.integers(1, 12), min_size=4, max_size=max_runs))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    run = np.repeat(np.arange(len(lengths)), lengths)
    n = len(run)
    train = run % 3 > 0
    owner = rng.integers(0, persons, size=len(lengths))[run] if persons else np.full(n, NO_CLIENT)
    if persons:
        owner[:persons] = np.arange(min(persons, n))[: len(owner[:persons])]
    return Dataset(
        name="drawn", x=rng.normal(size=(n, 6, 8)).astype(np.float32),
        y=rng.integers(0, classes, size=len(lengths))[run].astype(np.int64), client=owner.astype(np.int64),
        session=np.where(train, 1, 2).astype(np.int64), run=run.astype(np.int64),
        position=np.concatenate([np.arange(m) for m in lengths]).astype(np.int64), train=train, test=~train,
        classes=tuple("abcdefgh"[:classes]), units="none", windows_per_reading=draw(st.sampled_from([1, 2])),
    )  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn, /, classes: int, max_clients: int = 6, **fixed: Any) -> Config:
    """Configurations of every kind of stream for data of `classes` classes without natural clients.

    `fixed` are keys of [scenario] that are not drawn, such as kind="class".
    """
    kind = draw(st.sampled_from(["class", "domain", "task", "online"]))
    clients = draw(st.integers(1, max_clients))
    scenario: dict[str, Any] = {
        "kind": kind, "domains": draw(st.sampled_from(["rotated", "permuted"])), "clients": clients,
        "tasks": draw(st.integers(1, classes)), "order": draw(st.sampled_from(["same", "shuffle"])),
        "arrival": draw(st.sampled_from(["synchronous", "asynchronous"])), "max_delay": draw(st.integers(1, 3)),
        "partition": draw(st.sampled_from(["iid", "dirichlet", "pathological"])),
        "classes_per_client": draw(st.integers(1, classes)), "holdout": draw(st.sampled_from([0.0, 0.2])),
        "min_cohort": draw(st.integers(1, clients)),
    }  # fmt: skip
    scenario |= fixed
    if scenario["kind"] == "online":
        scenario["order"] = "same"
    online = {
        "blur": draw(st.floats(0, 1)),
        "disjoint": draw(st.floats(0, 1)),
        "segments": draw(st.integers(1, 3)),
    }
    drift = {
        "course": draw(st.sampled_from(["none", "gradual", "abrupt"])),
        "kind": draw(st.sampled_from(["rotation", "gain"])),
    }
    return validate({"seed": draw(st.integers(0, 999)), "scenario": scenario, "online": online, "drift": drift})


@st.composite
def scenarios(draw: st.DrawFn, /, **fixed: Any) -> Scenario:
    """Scenarios on drawn data; what no minimum cohort ever releases is not drawn. `fixed` as in `configurations`."""
    from hypothesis import reject

    from secure_fcl.errors import ConfigInvalid

    data = draw(datasets())
    config = draw(configurations(len(data.classes), **fixed))
    try:
        return build_scenario(data, config)
    except ConfigInvalid:
        reject()


@st.composite
def calendars(draw: st.DrawFn, clients: int, tasks: int, max_late: int = 3) -> Calendar:
    """Calendars in which every client joins once, leaves once, and meets each task at most once, in any order."""
    slots = tasks + draw(st.integers(0, max_late))
    met = np.full((clients, slots), IDLE, dtype=np.int64)
    present = np.zeros((clients, slots), dtype=np.bool_)
    for client in range(clients):
        order = draw(st.permutations([*range(tasks), *[IDLE] * (slots - tasks)]))
        joins = draw(st.integers(0, slots - 1))
        leaves = draw(st.integers(joins + 1, slots))
        present[client, joins:leaves] = True
        met[client] = np.where(present[client], order, IDLE)
    return Calendar(met, present)


@st.composite
def meetings(draw: st.DrawFn, max_clients: int = 6, max_tasks: int = 5, max_classes: int = 6) -> Meeting:
    """Calendars with the classes of their tasks, which may share classes, and with a minimum cohort."""
    clients = draw(st.integers(1, max_clients))
    tasks, classes = draw(st.integers(1, max_tasks)), draw(st.integers(1, max_classes))

    def table(rows: int) -> Bools:
        cells = draw(st.lists(st.booleans(), min_size=rows * classes, max_size=rows * classes))
        return np.array(cells, dtype=np.bool_).reshape(rows, classes)

    dealt = draw(st.one_of(st.just(np.ones((clients, classes), dtype=np.bool_)), st.just(table(clients))))
    return Meeting(draw(calendars(clients, tasks)), table(tasks), dealt, draw(st.integers(1, max_clients)))


@st.composite
def memory_courses(draw: st.DrawFn, max_tasks: int = 3, items_per_task: int = 12) -> MemoryCourse:
    """Courses of a replay memory within its public bounds, for the checks of `secure_fcl.testing.memories`."""
    tasks = draw(st.lists(st.integers(0, items_per_task), min_size=1, max_size=max_tasks).filter(any))
    return MemoryCourse(tasks=tuple(tasks), seed=draw(st.integers(0, 99)))
