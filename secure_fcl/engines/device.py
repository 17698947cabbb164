"""One client's device: what it holds in a round, what waits, and what it keeps when a task closes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import uniforms
from privacy.tree_shares import DeviceTree
from secure_fcl.errors import SecureFclError
from secure_fcl.memory import Held
from secure_fcl.randomness import Coins
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import Contribution, DeviceView, Examples, State
from secure_fcl.streams import NEVER, NO_ITEM
from secure_fcl.streams.canaries import NOTHING

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def exported(plan: RowPlan) -> tuple[str, ...]:
    """Return the names of what a device keeps between rounds: its memory, and the strategy's own arrays."""
    return ("index", "item", "arrival", "columns", *(f"own {name}" for name in plan.strategy.carried))


class Device:
    """A client's side of one row in simulation. Its retention coins come from the operating system.

    The coins decide nothing but the device's own memory; the simulation stores them so that the game about the
    memory can be scored. Poisson sampling coins are never stored.
    """

    def __init__(
        self,
        plan: RowPlan,
        client: int,
        coins: Coins,
        draws: NDArray[np.float64] | None = None,
        inserted: NDArray[np.bool_] | None = None,
    ) -> None:
        self._plan = plan
        self.client = client
        declared = NOTHING if plan.scenario.canaries is None else plan.scenario.canaries.of(client)
        if inserted is None:
            inserted = uniforms(coins.stream(plan.name, "canaries", client), (len(declared),)) < 0.5
        #: Which of its canaries the device put into its stream: from here on they are examples like all others.
        self.inserted = inserted
        released = np.flatnonzero(plan.scenario.release[client] != NEVER).tolist()
        self.experiences = {t: plan.scenario.experience(client, t, declared[inserted]) for t in released}
        items = plan.scenario.units.item
        # Canaries that are out have keys as well: whose keys a device keeps tells no coin.
        mine = np.concatenate([declared, *(e.index for e in self.experiences.values())])
        self.items = np.unique(items[mine][items[mine] != NO_ITEM])
        drawn = uniforms(coins.stream(plan.name, "retention", client), (len(self.items),)) if draws is None else draws
        self.draws = drawn
        self.held = Held.nothing()
        self.columns = np.zeros((0, plan.strategy.columns), dtype=np.float32)
        self.carried = {name: np.zeros(shape, dtype=np.float32) for name, shape in plan.strategy.carried.items()}
        self.tree = None if plan.tree is None else DeviceTree(plan.tree)

    @property
    def _lookup(self) -> NDArray[np.float64]:
        """Coins by number of the item, 1 for those of others; as long as all items, so no device keeps it."""
        found = np.ones(int(self._plan.scenario.units.item.max()) + 2)
        found[self.items] = self.draws
        return found

    def view(self, slot: int, round: int, retired: Collection[int] = ()) -> DeviceView:
        """Return what the strategy may read in a round: the current chunk and the memory.

        `retired`: arrival tasks whose budget is spent; their examples are left out. A person retires as a whole.
        """
        there = ~np.isin(self.held.arrival, np.fromiter(retired, dtype=np.int64))
        memory = self._examples(self.held.index[there])
        if self._plan.strategy.columns:
            memory = replace(memory, columns=self.columns[there])
        return DeviceView(self._examples(self._current(slot, round, retired)), memory, self.carried)

    def _current(self, slot: int, round: int, retired: Collection[int] = ()) -> Ints:
        chunk, places = self._plan.chunk(round), self._plan.storage.places_per_chunk
        silent = self._plan.persons and bool(retired)
        tasks = [t for t in self._plan.scenario.released(self.client, slot) if t not in retired and not silent]
        current = [self.experiences[task].chunk(chunk, places) for task in tasks]
        return np.concatenate([np.empty(0, dtype=np.int64), *current])

    def attend(self, slot: int, round: int, retired: Collection[int] = ()) -> None:
        """Count who takes part in a round of a tree, before any of it is used; nothing where there is no tree.

        Raises:
            ParticipationRefused: an example that took part before.
            SecureFclError: the device missed a round that it was not away from by the public draw, or took part in this
                one already: it began anew, and knows no more who took part.
        """
        if self.tree is None:
            return
        number, here = slot * self._plan.rounds_per_slot + round, self.tree.step
        missed = [divmod(each, self._plan.rounds_per_slot) for each in range(here, number)]
        if here > number or any(self._plan.away(*each).get(self.client) != "upload" for each in missed):
            raise SecureFclError(
                f"round {number + 1} of a tree is asked of a device that stands before round {here + 1}, and was not "
                "away from those between; start a new run"
            )
        self.tree.skip(len(missed))
        self.tree.begin(self._current(slot, round, retired).tolist())

    def released(self, made: Contribution) -> Contribution:
        """Return what is sent for what was made: where there is a tree, the raw sum of the node that ends with it."""
        if self.tree is None:
            return made
        # Of the nodes that end with a round the largest alone is in any prefix sum (`BinaryTree.last`).
        ((name, own),) = made.parts.items()
        *_, node = self.tree.end(own.ravel()).values()
        return replace(made, parts={name: node.reshape(own.shape)})

    def stored(self, slot: int, round: int) -> Ints:
        """Return the numbers of all examples on the device in a round: current chunk, memory, and what waits."""
        return np.unique(np.concatenate([self._current(slot, round), self.held.index, self.waiting(slot)]))

    def waiting(self, slot: int) -> Ints:
        """Return the examples that had to wait and are there in a slot, the slot of their release included."""
        met, release = (array[self.client] for array in (self._plan.scenario.met, self._plan.scenario.release))
        tasks = np.flatnonzero((met != NEVER) & (met < release) & (met <= slot) & (release >= slot)).tolist()
        return np.concatenate([np.empty(0, dtype=np.int64), *(self.experiences[t].index for t in tasks)])

    def close(self, slot: int, state: State) -> None:
        """Close the slot's tasks under its last state: items enter the memory as their coins say, the rest leaves.

        The memory's thresholds fall with every task that this device closed, whatever the order of the tasks. What the
        strategy stores with an example is made when the example enters, and never again.
        """
        policy, scenario, before = self._plan.memory, self._plan.scenario, self.held
        if policy is None:
            return
        tasks = scenario.released(self.client, slot)
        release, coins = scenario.release[self.client], self._lookup
        closed = int(((release != NEVER) & (release <= slot)).sum()) - len(tasks)
        for number, task in enumerate(tasks, closed):
            index = self.experiences[task].index
            item = scenario.units.item[index]
            index, item = index[item != NO_ITEM], item[item != NO_ITEM]
            arrived = Held(index, item, np.full(len(index), task, dtype=np.int64))
            self.held = policy.close(number, self.held, arrived, coins, scenario.x, scenario.data.y)
        if self._plan.strategy.columns:
            self.columns = self._stored(before, state)

    def _stored(self, before: Held, state: State) -> Floats:
        """Return the columns of all held examples: those of older ones as they were, new ones from `state`."""
        row_of = {int(index): row for row, index in enumerate(before.index)}
        found = np.zeros((len(self.held), self._plan.strategy.columns), dtype=np.float32)
        new = np.array([int(i) not in row_of for i in self.held.index], dtype=np.bool_)
        found[~new] = self.columns[[row_of[int(i)] for i in self.held.index[~new]]]
        if new.any():
            found[new] = self._plan.strategy.columns_of(state, self._examples(self.held.index[new]))
        return found

    def export(self) -> dict[str, NDArray[Any]]:
        """Return what is kept between rounds, as `exported` names it; `restore` takes it."""
        held = {"index": self.held.index, "item": self.held.item, "arrival": self.held.arrival}
        return {**held, "columns": self.columns, **{f"own {name}": array for name, array in self.carried.items()}}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `export` returned."""
        self.held = Held(saved["index"], saved["item"], saved["arrival"])
        self.columns = saved["columns"]
        self.carried = {name: saved[f"own {name}"] for name in self.carried}

    def _examples(self, index: Ints) -> Examples:
        scenario = self._plan.scenario
        return Examples(scenario.x[index], scenario.data.y[index])
