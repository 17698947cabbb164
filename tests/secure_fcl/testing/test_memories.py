"""The laws of memories: ours keep them, and each breaks on one that is wrong in one way, by its smallest course."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from secure_fcl.memory import EverythingMemory, Held, HerdingMemory, MemoryPolicy, threshold_memory
from secure_fcl.testing.memories import CHECKS, MemoryCourse, check_policy, courses, smallest
from secure_fcl.testing.rounds import LawBroken


@pytest.mark.parametrize(
    "policy",
    [threshold_memory(0.5, 12, 20, 1, 3), EverythingMemory(600), HerdingMemory(8)],
    ids=lambda policy: type(policy).__name__,
)
def test_ours_keep_them(policy: MemoryPolicy) -> None:
    check_policy(policy, tuple(courses(3, 20, policy.capacity)))


@dataclass(frozen=True)
class Coins:
    """An item stays while its key is below one half."""

    capacity: int = 600
    private: bool = True
    displaces_others: bool = False
    calls: list[int] = field(default_factory=list)

    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        return held.plus(arrived.where(draws[arrived.item] < 0.5))


class Reservoir(Coins):
    """The lowest keys stay, which pushes others out."""

    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        both = held.plus(arrived)
        mask = np.zeros(len(both), dtype=bool)
        mask[np.argsort(draws[both.item])[:7]] = True
        return both.where(mask)


class Labels(Coins):
    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        return held.plus(arrived.where(y[arrived.index] == 0))


class Neighbour(Coins):
    """Every item's fate is that of the item before it."""

    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        return held.plus(arrived.where(np.roll(draws, 1)[arrived.item] < 0.5))


class Twice(Coins):
    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        kept = super().close(task, held, arrived, draws, x, y)
        return kept.plus(kept.where(np.arange(len(kept)) == 2))


class Diary(Coins):
    """Remembers how often it was asked."""

    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        self.calls.append(task)
        return held.plus(arrived) if len(self.calls) % 2 else held


class Undead(Coins):
    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        return Held.nothing() if task == 0 else held.plus(arrived).plus(Held(*(np.zeros(1, dtype=np.int64),) * 3))


class Full(Coins):
    def close(self, task, held, arrived, draws, x, y):  # type: ignore[no-untyped-def]
        return held.plus(arrived)


@pytest.mark.parametrize(
    ("policy", "law", "said"),
    [
        (Reservoir(), 2, r"of \[8\] examples in its tasks \(seed 0\), without example \d, it decides otherwise about"),
        (Labels(), 4, r"of \[1\] examples .* with other values and labels, it decides otherwise about \[0\]"),
        (Neighbour(), 3, r"of \[2\] examples .* the fate of example \d changes with the keys of the others"),
        (Twice(), 0, r"of \[\d\] examples .*after task 1, .*, some twice"),
        (Diary(), 1, r"of \[1\] examples .* it keeps \[\(0,\)\], and at the second try \[\(\)\]"),
        (Undead(), 0, r"of \[0, 1\] examples .*after task 2, \[0, 0\], some twice"),
        (Full(capacity=3), 0, r"of \[4\] examples .* 4 examples of capacity 3"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Coins) else "",
)
def test_one_that_is_wrong_is_found_by_its_smallest_course(policy: Coins, law: int, said: str) -> None:
    found = [smallest(CHECKS[law], policy, course) for course in courses(3, 12, policy.capacity)]
    first = next(error for error in found if error is not None)
    with pytest.raises(LawBroken, match=said):
        raise first
    with pytest.raises(LawBroken):
        check_policy(policy, tuple(courses(3, 12, policy.capacity)))


def test_a_right_one_has_no_smallest_course() -> None:
    assert smallest(CHECKS[2], Coins(), MemoryCourse(tasks=(4, 4))) is None
    check_policy(Coins(), tuple(courses(3, 12, 600)))
    assert all(max(c.tasks) <= 5 and len(c.tasks) <= 3 for c in courses(3, 5, 600))
