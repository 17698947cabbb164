"""The minimum cohort: what a client holds waits until enough clients hold its classes, by the public calendar.

A secure sum hides a contribution among others. When tasks arrive at different times, one client may be alone with
a new class; the change of that class in the released sum is then its contribution. So an experience (one client's
task) is *held back* on the device, and released in the first slot in which every class it announces is announced
by at least `minimum` clients that release together. A class seen before protects nobody: the difference of two
releases is what counts, so later clients wait for a cohort of their own.

Who may hold what is announced by the calendar, never counted from data: the schedule costs no epsilon and is known
before the run. A client that is announced for a class may have no example of it; the announced number bounds the
cohort in which it hides as seen by who knows the calendar, not the number of clients that have examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.streams.calendar import IDLE, Calendar

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Release slot of an experience that nobody ever joins.
NEVER = -1


def release_slots(calendar: Calendar, announced: Bools, dealt: Bools, minimum: int) -> Ints:
    """Return the slot in which each client's task is released, NEVER if not, int64 (clients, tasks).

    In every slot the largest set of waiting experiences is released in which each announced class has at least
    `minimum` clients. A client that leaves takes along what waits; with `minimum` 1 nothing waits.

    Args:
        calendar: who meets what, and who is there.
        announced: classes of each task, bool (tasks, classes).
        dealt: classes that a client may hold at all, bool (clients, classes).
        minimum: fewest clients per class, at least 1.
    """
    clients, slots = calendar.met.shape
    found = np.full((clients, len(announced)), NEVER, dtype=np.int64)
    waiting = np.zeros((clients, len(announced)), dtype=np.bool_)
    for slot in range(slots):
        who = np.flatnonzero(calendar.met[:, slot] != IDLE)
        waiting[who, calendar.met[who, slot]] = True
        # Nobody comes back: who is absent with something waiting has left.
        waiting &= calendar.present[:, slot, None]
        ready = largest_cohort(waiting, announced, dealt, minimum)
        found[ready] = slot
        waiting &= ~ready
    return found


def largest_cohort(waiting: Bools, announced: Bools, dealt: Bools, minimum: int) -> Bools:
    """Return the largest part of `waiting`, bool (clients, tasks), in which each class has `minimum` holders.

    It is unique: the union of two such parts is one. Found by striking out what announces a class with too few.
    """
    active = waiting.copy()
    tasks, may = announced.astype(np.int64), dealt.astype(np.int64)
    while True:
        holders = ((active @ tasks > 0) & dealt).sum(axis=0)
        short = (holders < minimum).astype(np.int64)
        out = active & ((may * short) @ tasks.T > 0)
        if not out.any():
            return active
        active &= ~out


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How long one class waited, in slots; all of it follows from the public calendar.

    Attributes:
        label: the class.
        met: first slot in which a client met it.
        released: first slot in which a cohort released it, None if never.
        longest: longest wait of an experience that was released; 0 if none had to wait.
        never: experiences with this class that were never released.
        experiences: experiences with this class in all.
        cohort: fewest clients that released it together, None if never.
    """

    label: int
    met: int
    released: int | None
    longest: int
    never: int
    experiences: int
    cohort: int | None


def waits(calendar: Calendar, announced: Bools, dealt: Bools, release: Ints) -> tuple[Wait, ...]:
    """Return the waits of all classes that anyone meets, in order of the class."""
    met = met_slots(calendar, release.shape[1])
    found = []
    for label in range(announced.shape[1]):
        mine = (met != NEVER) & announced[:, label] & dealt[:, label, None]
        if not mine.any():
            continue
        done = mine & (release != NEVER)
        cohorts = [int((done & (release == slot)).any(axis=1).sum()) for slot in np.unique(release[done]).tolist()]
        found.append(
            Wait(
                label=label,
                met=int(met[mine].min()),
                released=int(release[done].min()) if done.any() else None,
                longest=int((release - met)[done].max()) if done.any() else 0,
                never=int((mine & ~done).sum()),
                experiences=int(mine.sum()),
                cohort=min(cohorts) if cohorts else None,
            )
        )
    return tuple(found)


def met_slots(calendar: Calendar, tasks: int) -> Ints:
    """Return the slot in which each client meets each task, NEVER if not, int64 (clients, tasks)."""
    found = np.full((len(calendar.met), tasks), NEVER, dtype=np.int64)
    client, slot = np.nonzero(calendar.met != IDLE)
    found[client, calendar.met[client, slot]] = slot
    return found


def most_waiting(calendar: Calendar, release: Ints) -> int:
    """Return the most experiences that one client holds back at a time; 0 where nothing waits.

    What is never released is not kept: the calendar says so beforehand, and the device discards it at once.
    """
    met = met_slots(calendar, release.shape[1])
    late = (met != NEVER) & (release > met)
    slots = range(calendar.met.shape[1])
    return max((int((late & (met <= s) & (s <= release)).sum(axis=1).max()) for s in slots), default=0)
