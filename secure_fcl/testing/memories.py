"""The laws of a replay memory, tried on courses from the smallest up: the first that breaks one is the smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from secure_fcl.errors import SecureFclError
from secure_fcl.memory import Held, MemoryPolicy
from secure_fcl.testing.rounds import LawBroken

Kept = list[tuple[int, ...]]

#: Seeds of keys and values of each course.
_SEEDS = (0, 1, 2)
_CLASSES = 3


@dataclass(frozen=True, kw_only=True)
class MemoryCourse:
    """What arrives at a memory: examples by task, each an item of its own, with keys, values and labels from a seed.

    `missing`: an example that is not there; `redrawn`: examples whose keys are others; `changed`: whose values are.
    """

    tasks: tuple[int, ...]
    seed: int = 0
    missing: int | None = None
    redrawn: frozenset[int] = frozenset()
    changed: frozenset[int] = frozenset()

    @property
    def examples(self) -> int:
        """Number of examples."""
        return sum(self.tasks)

    @property
    def asked(self) -> range:
        """Examples that a check takes up one by one: all, or of many some forty evenly spread."""
        return range(0, self.examples, max(1, self.examples // 40))

    def __str__(self) -> str:
        return f"{list(self.tasks)} examples in its tasks (seed {self.seed})"

    def played(self, policy: MemoryPolicy) -> Kept:
        """Return which examples the memory holds after each task, in ascending order.

        Raises:
            LawBroken: it returns something else than a part of what it was given; names the task.
        """
        drawn = np.random.default_rng((self.seed, self.examples))
        keys, y = drawn.random(self.examples), drawn.integers(0, _CLASSES, size=self.examples)
        x = drawn.normal(size=(self.examples, 4)).astype(np.float32)
        others = np.random.default_rng((self.seed, self.examples, 1))
        keys[list(self.redrawn)] = others.random(len(self.redrawn))
        x[list(self.changed)] += 1.0 + others.random((len(self.changed), 4)).astype(np.float32)
        y[list(self.changed)] = (y[list(self.changed)] + 1) % _CLASSES
        held, found, first = Held.nothing(), Kept(), 0
        for task, count in enumerate(self.tasks):
            index = np.array([i for i in range(first, first + count) if i != self.missing], dtype=np.int64)
            arrived = Held(index, index, np.full(len(index), task, dtype=np.int64))
            held = self._closed(policy, task, held, arrived, keys, x, y)
            found.append(tuple(sorted(held.index.tolist())))
            first += count
        return found

    def _closed(
        self, policy: MemoryPolicy, task: int, held: Held, arrived: Held,
        keys: NDArray[np.float64], x: NDArray[np.float32], y: NDArray[np.int64],
    ) -> Held:  # fmt: skip
        given = held.plus(arrived)
        after = policy.close(task, held, arrived, keys, x, y)
        now = after.index.tolist()
        said = f"of {self} it holds, after task {task + 1}, "
        _expect(len(set(now)) == len(now), f"{said}{now}, some twice")
        _expect(set(now) <= set(given.index.tolist()), f"{said}{now}, of {given.index.tolist()} that it was given")
        _expect(len(now) <= policy.capacity, f"{said}{len(now)} examples of capacity {policy.capacity}")
        place = {int(i): k for k, i in enumerate(given.index)}
        rows = [place[i] for i in now]
        same = np.array_equal(after.item, given.item[rows]) and np.array_equal(after.arrival, given.arrival[rows])
        _expect(same, f"{said}an example under another item or arrival than its own")
        return after


def check_holds(policy: MemoryPolicy, course: MemoryCourse) -> None:
    """It holds at most its capacity, each example once, and nothing that it was not given or had dropped."""
    kept = course.played(policy)
    for task, (before, after) in enumerate(pairwise(kept), 1):
        older = {i for i in after if i < sum(course.tasks[:task])}
        _expect(older <= set(before), f"of {course} it takes back what it dropped")


def check_repeatable(policy: MemoryPolicy, course: MemoryCourse) -> None:
    """The same course ends the same: it remembers nothing of its own and draws no coins of its own."""
    first, second = course.played(policy), course.played(policy)
    _expect(first == second, f"of {course} it keeps {first}, and at the second try {second}")


def check_displaces(policy: MemoryPolicy, course: MemoryCourse) -> None:
    """Where it says that examples do not displace others, taking any one away leaves the rest as it was."""
    if policy.displaces_others:
        return
    whole = course.played(policy)
    for missing in course.asked:
        left = replace(course, missing=missing).played(policy)
        for task, (now, then) in enumerate(zip(left, whole, strict=True), 1):
            moved = sorted({*now} ^ {i for i in then if i != missing})
            _expect(
                not moved, f"of {course}, without example {missing}, it decides otherwise about {moved} in task {task}"
            )


def check_own_coin(policy: MemoryPolicy, course: MemoryCourse) -> None:
    """Where it says that it is private, other keys for the others change nothing for an example."""
    if not policy.private:
        return
    whole = course.played(policy)
    for asked in course.asked:
        others = frozenset(range(course.examples)) - {asked}
        again = replace(course, redrawn=others).played(policy)
        same = [asked in kept for kept in whole] == [asked in kept for kept in again]
        _expect(same, f"of {course} the fate of example {asked} changes with the keys of the others")


def check_values(policy: MemoryPolicy, course: MemoryCourse) -> None:
    """Where it says that it is private, values and labels decide nothing."""
    if not policy.private:
        return
    whole = course.played(policy)
    again = replace(course, changed=frozenset(range(course.examples))).played(policy)
    moved = sorted({*whole[-1]} ^ {*again[-1]})
    _expect(whole == again, f"of {course}, with other values and labels, it decides otherwise about {moved}")


Law = Callable[[MemoryPolicy, MemoryCourse], None]

CHECKS: tuple[Law, ...] = (
    check_holds,
    check_repeatable,
    check_displaces,
    check_own_coin,
    check_values,
)


def courses(tasks: int, items_per_task: int, capacity: int, most: int = 12) -> Iterator[MemoryCourse]:
    """Yield courses within a policy's public bounds, those with few examples first; of the smallest several seeds.

    Args:
        tasks: of the stream.
        items_per_task: most items of one task.
        capacity: of the policy: the last course has more examples, as far as the bounds and 2000 examples allow.
        most: examples of the largest course but the last.
    """
    sizes = range(min(items_per_task, most) + 1)
    grid = [c for length in range(1, min(tasks, 3) + 1) for c in product(sizes, repeat=length) if 0 < sum(c) <= most]
    # Thinned where it is dense: all small ones, and of the large ones those of equal tasks or of one.
    chosen = [c for c in grid if sum(c) <= 4 or len(set(c)) == 1 or c.count(0) == len(c) - 1]
    for found in sorted(chosen, key=lambda c: (sum(c), len(c))):
        yield from (MemoryCourse(tasks=found, seed=seed) for seed in (_SEEDS if sum(found) <= 4 else _SEEDS[:1]))
    wanted = min(capacity + capacity // 4 + 1, 2000)
    each = min(items_per_task, max(1, -(-wanted // tasks)))
    yield MemoryCourse(tasks=(each,) * max(1, min(tasks, -(-wanted // each))))


def smallest(check: Law, policy: MemoryPolicy, course: MemoryCourse) -> SecureFclError | None:
    """Return what a check says of the smallest course, made of `course` by leaving examples out, that breaks it.

    None: the course breaks nothing. Leaves out whole tasks, then halves of them, then single examples, until none can.
    """

    def broken(tasks: tuple[int, ...]) -> SecureFclError | None:
        try:
            check(policy, replace(course, tasks=tasks))
        # A policy that is watched ends in an error of its own kind.
        except SecureFclError as error:
            return error
        return None

    tasks, found = course.tasks, broken(course.tasks)
    while found is not None:
        fewer = [(*tasks[:k], less, *tasks[k + 1 :]) for k, n in enumerate(tasks) for less in {0, n // 2, n - 1} if n]
        fewer += [(*tasks[:k], *tasks[k + 1 :]) for k, n in enumerate(tasks) if n == 0]
        better = next(((t, e) for t in sorted(fewer, key=sum) if sum(t) and (e := broken(t)) is not None), None)
        if better is None:
            break
        tasks, found = better
    return found


def check_policy(policy: MemoryPolicy, courses: Sequence[MemoryCourse]) -> None:
    """Run all laws of `CHECKS` on every course, the smallest first.

    Raises:
        LawBroken: at the first law broken, with the smallest course that breaks it. What the policy itself raises
            passes through.
    """
    for check in CHECKS:
        for course in courses:
            found = smallest(check, policy, course)
            if found is not None:
                raise found


def _expect(holds: bool, said: str) -> None:
    if not holds:
        raise LawBroken(f"memory: {said}")
