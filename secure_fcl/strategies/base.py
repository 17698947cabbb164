"""What every strategy is: public state, a contribution that is only ever summed, and how the server uses the sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy import Event, RandomBytes
from secure_fcl.strategies.contribution import UploadSpec, Values

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]
"""What the server broadcasts; public once released."""

Phase = Literal["train", "close"]
"""What a round is for: training, or the one exchange more that some strategies have when a slot closes."""

Stratum = Literal["current", "memory"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one stratum: x float32 (n, ...), y int64 (n,); n may be 0.

    columns: float32 (n, e), what the device stored with each of them (logits, say); None: nothing.
    """

    x: Floats
    y: Ints
    columns: Floats | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class DeviceView:
    """What a client's side may read in one round: its current chunk, its memory, and arrays of its own."""

    current: Examples
    memory: Examples
    carried: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contribution:
    """What a client makes in one round: the parts of its upload, and its own arrays from now on."""

    parts: dict[str, Values]
    carried: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Public facts of one round.

    Attributes:
        slot: of the calendar.
        round: inside the slot.
        classes: announced for the slot.
        seen: announced for earlier slots, sorted.
        phase: what the round is for.
        last: whether it is the slot's last round of training.
    """

    slot: int
    round: int
    classes: tuple[int, ...]
    seen: tuple[int, ...] = ()
    phase: Phase = "train"
    last: bool = False


class Strategy(Protocol):
    """A strategy. Frozen; client and server build their own copy from the configuration.

    Guarantee asked of an implementation: `contribute` touches private data only through the mechanism that
    `events` charges, or through the declared sensitivity that the noise inside the sum covers.
    """

    @property
    def name(self) -> str:
        """Name of the row."""

    @property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        """The declared upload of each phase it has; every client sends it every round, with or without examples."""

    @property
    def rounds(self) -> int:
        """Training rounds per slot at least; a slot with more chunks has one round per chunk at least."""

    @property
    def once_per_chunk(self) -> bool:
        """Whether each chunk is released exactly once (True), or sampled in every round of its share (False)."""

    @property
    def memory_rate(self) -> float:
        """Public Poisson rate of the memory stratum; 0 for strategies without memory."""

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the arrays a device keeps for the strategy between rounds; they start as zeros."""

    @property
    def columns(self) -> int:
        """Number of columns that a device stores with each example of its memory."""

    def events(self, stratum: Stratum, phase: Phase = "train") -> Mapping[Event, int]:
        """What the client's own noise in one round charges an example of a stratum; empty if there is none."""

    def sampled(self, stratum: Stratum, phase: Phase = "train") -> tuple[float, ...]:
        """Rates at which an example of a stratum joins the sums of a round that get their noise inside the sum.

        One rate for each release; empty if the round reads the stratum only through `events`, or not at all.
        """

    def initial(self) -> State:
        """The public state before the first round."""

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """The client's side: arrays as declared by the phase's upload."""

    def contribute_all(
        self, state: State, views: Sequence[DeviceView], step: StepContext, coins: Sequence[RandomBytes]
    ) -> Iterator[Contribution]:
        """The same for many clients of one machine, in order; most strategies use `one_by_one`.

        Bit for bit the same, whoever else is among them: what is sent must not depend on who shares a machine.
        """

    def columns_of(self, state: State, examples: Examples) -> Floats:
        """The columns (n, `columns`) stored with examples that enter the memory under the slot's closing state."""

    def apply(self, state: State, step: StepContext, total: dict[str, Values], clients: int) -> State:
        """The server's side: the new state from the summed parts. `clients` is the public number of clients."""

    def scores(self, state: State, x: Floats) -> Floats:
        """Class scores (n, classes); the prediction is the largest. Classes never released score -inf."""


class Contributes(Protocol):
    """The client's side of a strategy."""

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""


def one_by_one(
    strategy: Contributes, state: State, views: Sequence[DeviceView], step: StepContext, coins: Sequence[RandomBytes]
) -> Iterator[Contribution]:
    """Yield the contributions of many clients, each made when it is asked for."""
    for view, own in zip(views, coins, strict=True):
        yield strategy.contribute(state, view, step, own)
