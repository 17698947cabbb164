"""What strategies share that sum every current example once, and keep nothing on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from privacy import Event, NonPrivate, RandomBytes
from secure_fcl.strategies.base import (
    Contribution,
    DeviceView,
    Examples,
    Floats,
    Phase,
    State,
    StepContext,
    Stratum,
    one_by_one,
)


class SummedOnce(ABC):
    """The members of `Strategy` that are the same for all of them: one round per chunk, no memory, nothing kept."""

    name: str
    rounds: int = 1
    once_per_chunk: bool = True
    memory_rate: float = 0.0
    columns: int = 0

    @abstractmethod
    def noise_inside(self) -> bool:
        """Return whether noise is added inside the sums; without it every release is charged as non-private."""

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """See `Strategy.carried`: nothing."""
        return {}

    def events(self, stratum: Stratum, phase: Phase = "train") -> Mapping[Event, int]:
        """See `Strategy.events`: the noise is in the sums, or there is none."""
        if self.noise_inside() or stratum != "current":
            return {}
        return {NonPrivate(f"{self.name} without noise"): 1}

    def sampled(self, stratum: Stratum, phase: Phase = "train") -> tuple[float, ...]:
        """See `Strategy.sampled`: every current example is summed once in each exchange."""
        return (1.0,) if stratum == "current" else ()

    @abstractmethod
    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""

    def contribute_all(
        self, state: State, views: Sequence[DeviceView], step: StepContext, coins: Sequence[RandomBytes]
    ) -> Iterator[Contribution]:
        """See `Strategy.contribute_all`."""
        return one_by_one(self, state, views, step, coins)

    def columns_of(self, state: State, examples: Examples) -> Floats:
        """See `Strategy.columns_of`: none."""
        return np.zeros((len(examples), 0), dtype=np.float32)
