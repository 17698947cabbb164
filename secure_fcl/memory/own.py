"""Replay memories of a user's own: `memory.policy = "module:name"`, with what can be enforced enforced."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import CodeNotFound
from secure_fcl.errors import ConfigInvalid, SecureFclError
from secure_fcl.memory.policy import Floats, Held, Ints, MemoryPolicy
from secure_fcl.references import file_of, load_code

_KEY = "memory.policy"
_MEMBERS = ("private", "displaces_others", "capacity", "close")


class MemoryBroken(SecureFclError):
    """A memory of the user's own returned what no memory may hold; the round in which it did is not released."""


@dataclass(frozen=True, kw_only=True)
class MemoryNumbers:
    """The public numbers of a run that a memory is made from.

    Attributes:
        keep, capacity: of [memory].
        items_per_task: public bound on the items of one client in one task.
        item_size: most examples of an item.
        tasks: of the stream.
    """

    keep: float
    capacity: int
    items_per_task: int
    item_size: int
    tasks: int


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnMemory:
    """A policy of the user's own behind checks that hold whatever its code does.

    *Guarantee*: it holds at most `capacity` examples, each once, and only such as it held or as just arrived. A policy
    that says it is private is shown no example's values: they cannot decide what is kept. That one example's presence
    changes no other's fate is its own claim, which `secure_fcl.testing.memories` tries to refute.
    """

    reference: str
    inner: MemoryPolicy
    capacity: int
    private: bool
    displaces_others: bool

    def close(self, task: int, held: Held, arrived: Held, draws: NDArray[np.float64], x: Floats, y: Ints) -> Held:
        """See `MemoryPolicy.close`.

        Raises:
            MemoryBroken: the policy's code fails, or returns what it may not hold.
        """
        given = held.plus(arrived)
        shown = (x[:0], y[:0]) if self.private else (x, y)
        try:
            kept = self.inner.close(task, _copy(held), _copy(arrived), draws.copy(), *shown)
            index, item, arrival = (np.asarray(part, dtype=np.int64) for part in (kept.index, kept.item, kept.arrival))
        except Exception as error:
            hint = "; a policy with private = True is shown no values" if isinstance(error, IndexError) else ""
            raise MemoryBroken(
                f"{_KEY} = {self.reference!r}: close fails with {type(error).__name__}: {error}{hint}"
            ) from error
        place = {int(i): k for k, i in enumerate(given.index)}
        rows = [place.get(int(i), -1) for i in index]
        if len({*rows}) < len(rows) or -1 in rows:
            raise MemoryBroken(f"{_KEY} = {self.reference!r} keeps an example twice, or one that it was not given")
        if len(rows) > self.capacity:
            raise MemoryBroken(f"{_KEY} = {self.reference!r} keeps {len(rows)} examples of capacity {self.capacity}")
        if not (np.array_equal(item, given.item[rows]) and np.array_equal(arrival, given.arrival[rows])):
            raise MemoryBroken(f"{_KEY} = {self.reference!r} changes the item or the arrival of an example it keeps")
        return Held(index, item, arrival)


def _copy(held: Held) -> Held:
    return Held(held.index.copy(), held.item.copy(), held.arrival.copy())


def own_memory(reference: str, numbers: MemoryNumbers) -> OwnMemory:
    """Return the memory that `module:name` names: a policy, or a function or class that makes one of the numbers.

    The module is imported, which runs its code.

    Raises:
        ConfigInvalid: it cannot be imported, is no policy, fails, or claims what contradicts itself.
    """
    found: Any
    try:
        found = load_code(reference)
    except CodeNotFound as error:
        raise ConfigInvalid(f"{_KEY} = {error}") from error
    where = f"{_KEY} = {reference!r} in {file_of(reference)}"
    if isinstance(found, type) or (callable(found) and not hasattr(found, "close")):
        found = _made(found, numbers, where)
    missing = [name for name in _MEMBERS if not hasattr(found, name)]
    if missing:
        raise ConfigInvalid(
            f"{where} is of type {type(found).__name__} and has no {', no '.join(missing)}; write what "
            "secure_fcl.memory.MemoryPolicy asks for: private, displaces_others, capacity, close(...)"
        )
    capacity, alone, displaces = found.capacity, found.private, found.displaces_others
    if not isinstance(capacity, int) or capacity < 0 or not isinstance(alone, bool) or not isinstance(displaces, bool):
        raise ConfigInvalid(
            f"{where} has capacity = {capacity!r}, private = {alone!r}, displaces_others = {displaces!r}; they must "
            "be a whole number of at least 0 and two booleans"
        )
    if alone and displaces:
        raise ConfigInvalid(
            f"{where} says private = True and displaces_others = True; where one example can push another out, none "
            "has a fate of its own: set private = False, and no epsilon is claimed"
        )
    return OwnMemory(reference=reference, inner=found, capacity=capacity, private=alone, displaces_others=displaces)


def _made(found: Any, numbers: MemoryNumbers, where: str) -> Any:
    """Call a function or class: with the numbers if it takes one argument, with nothing if it needs none."""
    try:
        needed = [
            p for p in inspect.signature(found).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]  # fmt: skip
        return found(numbers) if needed else found()
    except Exception as error:
        raise ConfigInvalid(
            f"{where} fails with {type(error).__name__}: {error}; it is called with a secure_fcl.memory.MemoryNumbers, "
            "or with nothing if it needs nothing"
        ) from error
