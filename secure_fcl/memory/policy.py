"""Replay memories: which items a device keeps when a task closes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from secure_fcl.errors import ConfigInvalid

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

#: Probability, over a device's whole life, that the independent coins keep more than the budget holds.
OVERFLOW_PROBABILITY = 1e-9


@dataclass(frozen=True, eq=False)
class Held:
    """What a device keeps: example numbers, the item and arrival task of each, int64 (m,); in time order."""

    index: Ints
    item: Ints
    arrival: Ints

    @staticmethod
    def nothing() -> Held:
        """Return an empty memory."""
        none = np.empty(0, dtype=np.int64)
        return Held(none, none, none)

    def __len__(self) -> int:
        return len(self.index)

    def where(self, mask: NDArray[np.bool_]) -> Held:
        """Return the part of the memory where `mask` holds."""
        return Held(self.index[mask], self.item[mask], self.arrival[mask])

    def plus(self, other: Held) -> Held:
        """Return both memories together."""
        return Held(
            np.concatenate([self.index, other.index]),
            np.concatenate([self.item, other.item]),
            np.concatenate([self.arrival, other.arrival]),
        )


class MemoryPolicy(Protocol):
    """Decides what is kept. `displaces_others`: whether one example's presence can push another one out.

    A policy with `private = False` carries no per-example guarantee and is declared so on the certificate.
    """

    @property
    def private(self) -> bool:
        """Whether an example's inclusion depends on nothing but its own coin and public numbers."""

    @property
    def displaces_others(self) -> bool:
        """Whether adding one example can change which others are kept."""

    @property
    def capacity(self) -> int:
        """Most examples ever held."""

    def close(self, task: int, held: Held, arrived: Held, draws: NDArray[np.float64], x: Floats, y: Ints) -> Held:
        """Return the memory after a task closed.

        Args:
            task: how many tasks the device closed before this one; nothing need have arrived in it.
            held: the memory before.
            arrived: candidates of the closing task (straddlers are never among them).
            draws: every item's own uniform key in (0, 1), looked up by item number.
            x, y: all examples and labels, looked up by example number.
        """


@dataclass(frozen=True)
class ThresholdMemory:
    """Keep an item while its own uniform key is below a public, falling threshold.

    This is a reservoir with independent inclusions: after task t every item that ever arrived is held with
    probability `thresholds[t]`, independently of all others and of all values.

    Guarantee: an example's presence changes nobody else's membership, except when the coins keep more than
    `capacity`; then the closing task keeps nothing. With arrivals within the public bound that was given to
    `threshold_memory`, this happens with probability below `OVERFLOW_PROBABILITY` in all, which is added to delta.
    """

    thresholds: tuple[float, ...]
    capacity: int
    private: bool = field(default=True, init=False)
    displaces_others: bool = field(default=False, init=False)

    def close(self, task: int, held: Held, arrived: Held, draws: NDArray[np.float64], x: Floats, y: Ints) -> Held:
        """See `MemoryPolicy.close`."""
        threshold = self.thresholds[task]
        older = held.where(draws[held.item] < threshold)
        together = older.plus(arrived.where(draws[arrived.item] < threshold))
        return together if len(together) <= self.capacity else older


@lru_cache(maxsize=256)
def largest_threshold(items: int, item_size: int, capacity: int, wanted: float, probability: float) -> float:
    """Return the largest threshold up to `wanted` that overflows `capacity` with at most `probability`.

    The count of kept items is Binomial(items, threshold); each holds at most `item_size` examples. 0 if no
    positive threshold does.
    """

    def fits(threshold: float) -> bool:
        # The binomial's upper tail; scipy.stats has it too, and takes every worker a second to import.
        most = capacity // item_size
        return most >= items or bool(betainc(most + 1, items - most, threshold) <= probability)

    if fits(wanted):
        return wanted
    low, high = 0.0, wanted
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def threshold_memory(keep: float, capacity: int, items_per_task: int, item_size: int, tasks: int) -> ThresholdMemory:
    """Return the policy whose threshold starts at `keep` and falls as the public bound on arrivals demands.

    Raises:
        ConfigInvalid: the capacity cannot hold one item of the first task at any threshold.
    """
    each = OVERFLOW_PROBABILITY / tasks
    thresholds = tuple(
        largest_threshold((t + 1) * items_per_task, item_size, capacity, keep, each) for t in range(tasks)
    )
    if thresholds[-1] <= 0.0 or capacity < item_size:
        raise ConfigInvalid(
            f"memory.capacity = {capacity} cannot hold items of {item_size} examples from {tasks} tasks of up to "
            f"{items_per_task} items with overflow below {OVERFLOW_PROBABILITY:g}; raise it or set the rows to finetune"
        )
    return ThresholdMemory(thresholds, capacity)


@dataclass(frozen=True)
class EverythingMemory:
    """Cross-silo: the device keeps all it ever saw (its items; straddlers are trained on once)."""

    capacity: int
    private: bool = field(default=True, init=False)
    displaces_others: bool = field(default=False, init=False)

    def close(self, task: int, held: Held, arrived: Held, draws: NDArray[np.float64], x: Floats, y: Ints) -> Held:
        """See `MemoryPolicy.close`."""
        return held.plus(arrived)


@dataclass(frozen=True)
class HerdingMemory:
    """Class-balanced herding on the inputs (Rebuffi et al. 2017, iCaRL, algorithm 4; Welling 2009).

    NON-PRIVATE: which examples are kept depends on the values of all others, so no per-example guarantee holds.
    """

    capacity: int
    private: bool = field(default=False, init=False)
    displaces_others: bool = field(default=True, init=False)

    def close(self, task: int, held: Held, arrived: Held, draws: NDArray[np.float64], x: Floats, y: Ints) -> Held:
        """See `MemoryPolicy.close`."""
        together = held.plus(arrived)
        labels = y[together.index]
        classes = np.unique(labels)
        if len(classes) == 0:
            return together
        share = self.capacity // len(classes)
        chosen = []
        for label in classes:
            place = np.flatnonzero(labels == label)
            points = x[together.index[place]].reshape(len(place), -1)
            chosen.append(place[herd(points, share)])
        mask = np.zeros(len(together), dtype=np.bool_)
        mask[np.concatenate(chosen)] = True
        return together.where(mask)


def herd(points: Floats, count: int) -> Ints:
    """Return `count` indices (all, if fewer) whose running mean stays nearest to the mean of `points` (n, d)."""
    mean = points.mean(axis=0)
    total = np.zeros_like(mean)
    left = list(range(len(points)))
    picked: list[int] = []
    for k in range(min(count, len(points))):
        distances = np.linalg.norm((total + points[left]) / (k + 1) - mean, axis=1)
        best = left.pop(int(np.argmin(distances)))
        total += points[best]
        picked.append(best)
    return np.array(picked, dtype=np.int64)
