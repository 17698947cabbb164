"""Laws that take several rounds, for any strategy or memory: terms alive, storage as declared, exact resumption.

They complete `strategies`, which looks at one round. Nothing here is encrypted or charged: sums are plain.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from secure_fcl.errors import SecureFclError
from secure_fcl.memory import Held, MemoryPolicy
from secure_fcl.strategies import Strategy
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.course import Course, play


class LawBroken(SecureFclError):
    """A strategy or memory broke a law; the message says which."""


def distance(on: Strategy, off: Strategy, course: Course, array: str = "weights") -> float:
    """Return |a - b| / |b| of a state's array after a course with two strategies."""
    with_term, without = (play(s, course)[0][array] for s in (on, off))
    return float(np.linalg.norm(with_term - without) / np.linalg.norm(without))


def check_alive(on: Strategy, off: Strategy, course: Course, array: str = "weights", least: float = 1e-3) -> None:
    """A strategy with a loss term ends elsewhere than without it; give both without noise and with the same coins.

    A penalty that is added to the loss under Opacus, say, changes nothing at all.

    Raises:
        LawBroken: the arrays differ by no more than `least` times the norm.
    """
    found = distance(on, off, course, array)
    if not found > least:
        raise LawBroken(f"{on.name}: the term moves {array!r} by {found:.3g} of its norm, wanted over {least:g}")


def check_silent(on: Strategy, off: Strategy, course: Course, array: str = "weights") -> None:
    """Two strategies end at the same array to the last bit: a term that is said to be zero is zero.

    Raises:
        LawBroken: an entry differs.
    """
    with_term, without = (play(s, course)[0][array] for s in (on, off))
    if not np.array_equal(with_term, without):
        raise LawBroken(f"{on.name}: a term that should be zero moves {array!r} by {distance(on, off, course):.3g}")


def check_storage(strategy: Strategy, course: Course) -> None:
    """What a device keeps and what the server sends have the declared shapes in every round, in 4 bytes an entry.

    Raises:
        LawBroken: an array more or less, another shape, another type; names it and the round.
    """
    declared = {name: tuple(shape) for name, shape in strategy.carried.items()}
    form = {name: array.shape for name, array in strategy.initial().items()}
    state, carried = play(strategy, course, 0, 0)
    for number, step in enumerate(course.steps):
        state, carried = play(strategy, course, number, number + 1, state, carried)
        if {name: array.shape for name, array in state.items()} != form:
            raise LawBroken(f"{strategy.name}: after round {number} the state is no longer of the form {form}")
        for own in carried:
            _same_form(strategy.name, number, own, declared)
        examples = course.view(strategy, 0, step, carried[0]).current
        columns = strategy.columns_of(state, examples)
        if columns.shape != (len(examples), strategy.columns) or columns.dtype != np.float32:
            raise LawBroken(f"{strategy.name}: {columns.shape} {columns.dtype} columns, declared {strategy.columns}")


def _same_form(name: str, number: int, own: Mapping[str, Floats], declared: Mapping[str, tuple[int, ...]]) -> None:
    found = {key: array.shape for key, array in own.items()}
    if found != dict(declared):
        raise LawBroken(f"{name}: in round {number} a device keeps {found}, declared {dict(declared)}")
    wide = [key for key, array in own.items() if array.dtype != np.float32]
    if wide:
        raise LawBroken(f"{name}: in round {number} a device keeps {wide} in another type than float32")


def check_resume(make: Callable[[], Strategy], course: Course) -> None:
    """A run that is stopped after any round, written to files and taken up by a new process ends the same.

    Raises:
        LawBroken: an array of the state or of a device differs in one bit.
    """
    whole, whole_kept = play(make(), course)
    for stop in range(1, len(course.steps)):
        state, carried = play(make(), course, 0, stop)
        again, again_kept = play(
            make(), course, stop, None, _through_a_file(state), tuple(_through_a_file(own) for own in carried)
        )
        pairs = [(whole, again), *zip(whole_kept, again_kept, strict=True)]
        if not all(_equal(first, second) for first, second in pairs):
            raise LawBroken(f"{make().name}: resumed after round {stop - 1}, it ends elsewhere")


def _through_a_file(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _equal(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> bool:
    return set(first) == set(second) and all(np.array_equal(first[name], second[name]) for name in first)


def check_memory(policy: MemoryPolicy, tasks: Sequence[int], shape: tuple[int, ...] = (4,), classes: int = 4) -> None:
    """A memory never holds more than its capacity, only what it was given, and never takes back what it dropped.

    If it says that examples do not displace others, taking any one away leaves the rest of the memory as it was.

    Args:
        policy: the memory.
        tasks: number of items, one example each, that arrive in each task; within the policy's own bound.
        shape, classes: of made-up examples.

    Raises:
        LawBroken: names the task and what went wrong.
    """
    total = sum(tasks)
    rng = np.random.default_rng(0)
    keys, y = rng.random(total), rng.integers(0, classes, size=total)
    x = rng.normal(size=(total, *shape)).astype(np.float32)

    def course(missing: int | None) -> list[set[int]]:
        held, start, found = Held.nothing(), 0, []
        for task, count in enumerate(tasks):
            index = np.array([i for i in range(start, start + count) if i != missing], dtype=np.int64)
            before = {*held.index.tolist(), *index.tolist()}
            held = policy.close(task, held, Held(index, index, np.full(len(index), task)), keys, x, y)
            start += count
            now = held.index.tolist()
            if len(now) > policy.capacity or len(set(now)) < len(now) or not before.issuperset(now):
                raise LawBroken(f"after task {task} the memory holds {len(now)} examples of capacity {policy.capacity}")
            found.append(set(now))
        return found

    whole = course(None)
    if policy.displaces_others:
        return
    for missing in range(total):
        if course(missing) != [held - {missing} for held in whole]:
            raise LawBroken(f"without example {missing} the memory keeps others, and it says that it does not")
