"""Laws that take several rounds, for any strategy or memory: terms alive, storage as declared, exact resumption.

They complete `secure_fcl.testing`, which looks at one round. Nothing here is encrypted or charged: sums are plain.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crypto.keys.randomness import KeyedStream, derive_key
from secure_fcl.errors import SecureFclError
from secure_fcl.memory import Held, MemoryPolicy
from secure_fcl.strategies import DeviceView, Examples, State, StepContext, Strategy
from secure_fcl.strategies.base import Floats

Kept = tuple[Mapping[str, Floats], ...]


class LawBroken(SecureFclError):
    """A strategy or memory broke a law; the message says which."""


@dataclass(frozen=True, eq=False)
class Course:
    """A short made-up run: what each client holds never changes, so that only the strategy makes a difference.

    Attributes:
        shape: of one example.
        classes: size of the public label set.
        steps: the rounds, in order; of every slot the classes announced.
        clients: number of clients.
        examples: of one client's chunk.
        memory: examples of one client's memory, from the second slot on.
    """

    shape: tuple[int, ...]
    classes: int
    steps: tuple[StepContext, ...]
    clients: int = 3
    examples: int = 12
    memory: int = 6

    @staticmethod
    def of_two_tasks(shape: tuple[int, ...], classes: int, strategy: Strategy, rounds: int = 2) -> Course:
        """Return a course of two slots that announce half of the classes each, closing rounds included."""
        half = classes // 2
        groups = (tuple(range(half)), tuple(range(half, classes)))
        steps = []
        for slot, group in enumerate(groups):
            seen = tuple(c for earlier in groups[:slot] for c in earlier)
            steps += [StepContext(slot, r, group, seen, "train", r == rounds - 1) for r in range(rounds)]
            if "close" in strategy.uploads:
                steps.append(StepContext(slot, rounds, group, seen, "close"))
        return Course(shape, classes, tuple(steps))

    def view(self, strategy: Strategy, client: int, step: StepContext, kept: Mapping[str, Floats]) -> DeviceView:
        """Return what a client holds in a round."""
        memory = self._examples(self.memory if step.seen else 0, step.seen or step.classes, 1000 + client)
        if strategy.columns:
            drawn = np.random.default_rng(client).normal(size=(len(memory), strategy.columns))
            memory = replace(memory, columns=drawn.astype(np.float32))
        return DeviceView(self._examples(self.examples, step.classes, 10 * client + step.slot), memory, kept)

    def _examples(self, count: int, labels: tuple[int, ...], seed: int) -> Examples:
        rng = np.random.default_rng(seed)
        y = rng.choice(np.array(labels, dtype=np.int64), size=count)
        # A class has a direction of its own: gradients then have something to disagree about.
        directions = np.random.default_rng(0).normal(size=(self.classes, *self.shape))
        x = directions[y] + 0.3 * rng.normal(size=(count, *self.shape))
        return Examples(x.astype(np.float32), y)


def play(
    strategy: Strategy, course: Course, first: int = 0, end: int | None = None, state: State | None = None,
    kept: Kept | None = None,
) -> tuple[State, Kept]:  # fmt: skip
    """Return state and the devices' arrays after rounds `first` to `end` of a course, with plain sums."""
    state = strategy.initial() if state is None else state
    zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in strategy.kept.items()}
    own = list(kept) if kept is not None else [zeros] * course.clients
    for number, step in list(enumerate(course.steps))[first:end]:
        upload = strategy.uploads[step.phase]
        views = [course.view(strategy, k, step, own[k]) for k in range(course.clients)]
        keys = [derive_key(b"conformance of many rounds", str(k), str(number)) for k in range(course.clients)]
        made = list(strategy.contribute_all(state, views, step, [KeyedStream(key) for key in keys]))
        total = np.sum([upload.clip(upload.flatten(m.parts))[0] for m in made], axis=0)
        own = [dict(m.kept) for m in made]
        state = strategy.apply(state, step, upload.split(total), course.clients)
    return state, tuple(own)


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
    declared = {name: tuple(shape) for name, shape in strategy.kept.items()}
    form = {name: array.shape for name, array in strategy.initial().items()}
    state, kept = play(strategy, course, 0, 0)
    for number, step in enumerate(course.steps):
        state, kept = play(strategy, course, number, number + 1, state, kept)
        if {name: array.shape for name, array in state.items()} != form:
            raise LawBroken(f"{strategy.name}: after round {number} the state is no longer of the form {form}")
        for own in kept:
            _same_form(strategy.name, number, own, declared)
        examples = course.view(strategy, 0, step, kept[0]).current
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
        state, kept = play(make(), course, 0, stop)
        again, again_kept = play(
            make(), course, stop, None, _through_a_file(state), tuple(_through_a_file(own) for own in kept)
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
