"""One client's device: what it holds in a round, and what it keeps when a task closes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import uniforms
from secure_fcl.memory import Held
from secure_fcl.randomness import Coins
from secure_fcl.rows import RowPlan
from secure_fcl.strategies import DeviceView, Examples
from secure_fcl.streams import IDLE, NO_ITEM

Ints = NDArray[np.int64]


class Device:
    """A client's side of one row in simulation. Its retention coins come from the operating system.

    The coins decide nothing but the device's own memory; the simulation stores them so that the game about the
    memory can be scored. Poisson sampling coins are never stored.
    """

    def __init__(self, plan: RowPlan, client: int, coins: Coins, keys: NDArray[np.float64] | None = None) -> None:
        self._plan = plan
        self._calendar: list[int] = plan.scenario.calendar[client].tolist()
        self.client = client
        self.experiences = {t: plan.scenario.experience(client, t) for t in self._calendar if t != IDLE}
        items = plan.scenario.units.item
        mine = np.concatenate([np.empty(0, dtype=np.int64), *(e.index for e in self.experiences.values())])
        self.items = np.unique(items[mine][items[mine] != NO_ITEM])
        drawn = uniforms(coins.stream(plan.name, "retention", client), (len(self.items),)) if keys is None else keys
        self.keys = drawn
        self._lookup = np.ones(int(items.max()) + 2)
        self._lookup[self.items] = drawn
        self.held = Held.nothing()

    def view(self, slot: int, round: int) -> DeviceView:
        """Return what the strategy may read in a round: the current chunk and the memory."""
        task = self._calendar[slot]
        current = (
            np.empty(0, dtype=np.int64)
            if task == IDLE
            else self.experiences[task].chunk(self._plan.chunk(round), self._plan.storage.places_per_chunk)
        )
        return DeviceView(self._examples(current), self._examples(self.held.index))

    def close(self, slot: int) -> None:
        """Close the slot's task: its items enter the memory as their coins say; the rest is discarded."""
        task, policy = self._calendar[slot], self._plan.memory
        if task == IDLE or policy is None:
            return
        index = self.experiences[task].index
        item = self._plan.scenario.units.item[index]
        index, item = index[item != NO_ITEM], item[item != NO_ITEM]
        arrived = Held(index, item, np.full(len(index), task, dtype=np.int64))
        scenario = self._plan.scenario
        self.held = policy.close(task, self.held, arrived, self._lookup, scenario.x, scenario.data.y)

    def _examples(self, index: Ints) -> Examples:
        scenario = self._plan.scenario
        return Examples(scenario.x[index], scenario.data.y[index])
