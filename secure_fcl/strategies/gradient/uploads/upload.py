"""What every upload of a gradient strategy can do, at both of its ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from privacy import Event, ExampleLoss
from secure_fcl.strategies.base import Contribution, DeviceView, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import UploadSpec, Values
from secure_fcl.strategies.gradient.method import Beside, Received
from secure_fcl.strategies.gradient.networks import Trainer, Visit

Means = dict[Beside, Floats]
"""Means of the sums beside, float32 (P,) each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClientRound:
    """One round of the clients of one machine.

    Attributes:
        trainer: who trains in this slot.
        state: what the server broadcast.
        step: the round.
        views: what each client may read.
        visits: the same as the trainer takes it, with each client's coins; in the order of `views`.
        loss: of an example.
    """

    trainer: Trainer
    state: State
    step: StepContext
    views: Sequence[DeviceView]
    visits: Sequence[Visit]
    loss: ExampleLoss


class SummedUpload(Protocol):
    """An upload that the server sees summed over clients."""

    def declare(self) -> UploadSpec:
        """Return its parts in order, its integer steps and the unit of its sensitivity."""

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the client's own noise charges an example of a stratum for one upload."""

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return the rates at which an example joins sums that get their noise inside, one for each release."""

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield what each client sends and keeps, in order, each made when it is asked for."""

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the strategy's own public arrays after the sum of `clients` uploads, and what the method learns."""


class Training(Protocol):
    """What a training round needs beside what is sent: arrays of devices and of the server, and what a visit reads."""

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the arrays that a device keeps between rounds."""

    def initial(self) -> State:
        """Return the server's arrays beside the weights, before the first round."""

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """Return the visit with what its training reads of the state and of the device's own arrays."""
