"""The one interface of strategies: declared uploads, a client's side and a server's side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy import Event, RandomBytes
from secure_fcl.memory import Kept
from secure_fcl.strategies.contribution import UploadSpec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]
"""What the server broadcasts; public once released."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one stratum: x float32 (n, ...), y int64 (n,); n may be 0."""

    x: Floats
    y: Ints

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class DeviceView:
    """What a client's side may read in one round: its current chunk and its memory."""

    current: Examples
    memory: Examples


@dataclass(frozen=True)
class StepContext:
    """Public facts of one round: slot of the calendar, round inside it, and the classes announced for the slot."""

    slot: int
    round: int
    classes: tuple[int, ...]


class Strategy(Protocol):
    """A strategy. Frozen; client and server build their own copy from the configuration.

    Guarantee asked of an implementation: `contribute` touches private data only through the mechanism that
    `events` charges, or through the declared sensitivity that the noise inside the sum covers.
    """

    @property
    def name(self) -> str:
        """Name of the row."""

    @property
    def upload(self) -> UploadSpec:
        """The declared upload; every client sends it every round, with or without examples."""

    @property
    def rounds(self) -> int:
        """Rounds per slot at least; a slot with more chunks has one round per chunk at least."""

    @property
    def once_per_chunk(self) -> bool:
        """Whether each chunk is released exactly once (True), or sampled in every round of its share (False)."""

    @property
    def memory_rate(self) -> float:
        """Public Poisson rate of the memory stratum; 0 for strategies without memory."""

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Arrays that a device keeps between rounds beside pool and memory; counted in its storage budget."""

    def events(self, stratum: str) -> Mapping[Event, int]:
        """What one round charges an example of "current" or "memory"; empty if the noise is in the sum."""

    def initial(self) -> State:
        """The public state before the first round."""

    def contribute(
        self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes
    ) -> dict[str, NDArray[np.float64]]:
        """The client's side: arrays as declared by `upload`."""

    def apply(self, state: State, step: StepContext, total: dict[str, NDArray[np.float64]], clients: int) -> State:
        """The server's side: the new state from the summed parts. `clients` is the public number of clients."""

    def scores(self, state: State, x: Floats) -> Floats:
        """Class scores (n, classes); the prediction is the largest. Classes never released score -inf."""
