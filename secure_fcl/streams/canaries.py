"""Declared canaries: made-up examples in the streams of a run, each in or out by a coin that its device flips alone.

Everything about a canary but its coin is public and follows the public seed: whose it is, in which task and at which
place of the stream it stands, inputs and label. They are examples like all others from the moment the device puts its
stream together: what trains, sums or remembers is handed arrays of inputs and labels, and no number tells it which is
which. Inputs are made of test examples, so that they lie within the bounds of the data whatever these are: one is the
median in most entries and the least or greatest value in some, drawn for itself, so that no two look alike; the next is
half of one test example and half of another, with a label that neither has where the task has one ("mislabelled").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator
from secure_fcl.streams.cohorts import NEVER
from secure_fcl.streams.units import Units

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

NOTHING = np.empty(0, dtype=np.int64)
"""Numbers of no example."""
#: Share of a canary's entries that lie at a bound of the data.
_FAR = 0.2


@dataclass(frozen=True, eq=False, kw_only=True)
class Canaries:
    """The declared canaries of a run, all arrays (m,): their example numbers, owners, tasks and places.

    Attributes:
        index: number of each in the arrays of the scenario, behind all other examples; increasing.
        client: who holds it; task: in which task it arrives.
        place: its place in that client's and task's stream, kept free where the coin leaves it out.
    """

    index: Ints
    client: Ints
    task: Ints
    place: Ints

    def __len__(self) -> int:
        """Number of canaries."""
        return len(self.index)

    def of(self, client: int) -> Ints:
        """Return the example numbers of one client's canaries: the order of its coins."""
        return np.asarray(self.index[self.client == client])

    def placed(self, index: Ints, place: Ints, client: int, task: int, inside: Ints) -> tuple[Ints, Ints]:
        """Return a stream's examples and places with the canaries among `inside`, the others around all places.

        Where an example stands does not depend on coins: the place of a canary that is out stays empty.
        """
        mine = (self.client == client) & (self.task == task)
        taken = np.sort(self.place[mine])
        # The k-th free place: every canary's place at or before it moves it on by one.
        free = place + np.searchsorted(taken - np.arange(len(taken)), place, side="right")
        there = mine & np.isin(self.index, inside)
        index, place = np.concatenate([index, self.index[there]]), np.concatenate([free, self.place[there]])
        order = np.argsort(place, kind="stable")
        return index[order], place[order]


@dataclass(frozen=True, eq=False, kw_only=True)
class Declared:
    """Canaries with their inputs (m, ...) and labels (m,), and what makes room for them in arrays over all examples.

    They are neither training nor test examples of the data set: only a device that flipped a coin for one has it.

    Attributes:
        most: canaries of one stream, at most: by as much the public bound on a stream's places grows, so that chunks,
            memory and storage have room for them.
    """

    canaries: Canaries
    x: Floats
    y: Ints
    most: int

    def grown(self, data: Dataset) -> Dataset:
        """Return the data set with the canaries behind it."""
        nobody = self.nowhere(data.train)
        return replace(
            data, x=self.behind(data.x), y=np.append(data.y, self.y),
            client=self.filled(data.client, 0 if data.client_names else NO_CLIENT), run=self.numbered(data.run),
            session=self.filled(data.session, 0), position=self.filled(data.position, 0), train=nobody,
            test=self.nowhere(data.test), digest="",
        )  # fmt: skip

    def units(self, units: Units) -> Units:
        """Return the units with one for each canary, an item of its own."""
        unit, item, order = (self.numbered(array) for array in (units.unit, units.item, units.order))
        return Units(unit, item, order, units.bounds)

    def behind(self, x: Floats) -> Floats:
        """Return inputs with those of the canaries behind them."""
        return np.concatenate([x, self.x])

    def filled(self, array: Ints, value: int) -> Ints:
        """Return the array with a value for each canary."""
        return np.concatenate([array, np.full(len(self.y), value, dtype=np.int64)])

    def numbered(self, array: Ints) -> Ints:
        """Return the array with a number of its own for each canary."""
        return np.concatenate([array, array.max() + np.arange(1, len(self.y) + 1)]).astype(np.int64)

    def nowhere(self, array: Bools) -> Bools:
        """Return the array with False for each canary."""
        return np.concatenate([array, np.zeros(len(self.y), dtype=np.bool_)])


def declared(
    count: int, seed: int, *, release: Ints, classes: Sequence[Sequence[int]], places: int, tests: tuple[Floats, Ints],
    first: int,
) -> Declared:  # fmt: skip
    """Return `count` canaries, dealt in turn to the clients and tasks of the public calendar.

    Args:
        count: at least 1.
        seed: public.
        release: slot in which each client's task leaves its device, NEVER if it does not, int64 (clients, tasks).
        classes: public labels of each task.
        places: public bound on a stream's places, without canaries.
        tests: inputs and labels of test examples, of which canaries are made.
        first: number of the first canary: that of all examples.

    Raises:
        ConfigInvalid: there are fewer than two test examples to make inputs of.
    """
    rng = public_generator(seed, "declared canaries")
    pairs = np.argwhere(release != NEVER)
    dealt = rng.permutation(pairs)[np.arange(count) % len(pairs)]
    client, task = dealt[:, 0].astype(np.int64), dealt[:, 1].astype(np.int64)
    most = -(-count // len(pairs))
    place = _places(dealt, places + most, rng)
    x, y = _made(task, tests, classes, rng)
    named = Canaries(index=np.arange(first, first + count), client=client, task=task, place=place)
    return Declared(canaries=named, x=x, y=y, most=most)


def _places(dealt: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Return a place below `most` for each canary, no two of one stream at the same."""
    places = np.empty(len(dealt), dtype=np.int64)
    for pair in np.unique(dealt, axis=0):
        mine = np.flatnonzero((dealt == pair).all(axis=1))
        places[mine] = rng.choice(most, size=len(mine), replace=False)
    return places


def _made(
    task: Ints, tests: tuple[Floats, Ints], of_tasks: Sequence[Sequence[int]], rng: np.random.Generator
) -> tuple[Floats, Ints]:
    inputs, labels = tests
    if len(inputs) < 2:
        raise ConfigInvalid(
            f"attacks.canaries = {len(task)}: canaries are made of test examples, and the data set has {len(inputs)}; "
            "set attacks.canaries = 0"
        )
    shape, flat = inputs.shape[1:], inputs.reshape(len(inputs), -1)
    x, y = np.empty((len(task), flat.shape[1]), dtype=np.float32), np.empty(len(task), dtype=np.int64)
    least, middle, most = np.quantile(flat, (0.0, 0.5, 1.0), axis=0, method="nearest").astype(np.float32)
    for place in range(len(task)):
        classes = np.array(of_tasks[task[place]], dtype=np.int64)
        first, second = rng.choice(len(flat), size=2, replace=False)
        if place % 2:
            x[place] = (flat[first] + flat[second]) / 2
            wrong = classes[~np.isin(classes, labels[[first, second]])]
            classes = wrong if len(wrong) else classes
        else:
            kind = rng.random(flat.shape[1])
            x[place] = np.where(kind < _FAR / 2, least, np.where(kind < _FAR, most, middle))
        y[place] = rng.choice(classes)
    return x.reshape(len(task), *shape), y
