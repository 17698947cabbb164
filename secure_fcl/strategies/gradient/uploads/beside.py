"""Sums beside an update or a gradient sum: the path of the clients' steps, and the gradient of their memories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from privacy import Event, Stratum
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.base import Stratum as StratumName
from secure_fcl.strategies.contribution import Part, Values
from secure_fcl.strategies.gradient.method import Beside
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.gradient.uploads.visits import Made


class BesideUpdate(Protocol):
    """Both ends of one part, float64 (P,), beside an update that is private before it is sent."""

    @property
    def name(self) -> Beside:
        """Name of the part, and of the mean that the method learns."""

    def declare(self) -> Part:
        """Return the part."""

    def events(self, stratum: StratumName) -> Mapping[Event, int]:
        """Return what it charges an example of a stratum beyond the visit."""

    def fill(self, round: ClientRound, visit: Visit, made: Made) -> Values:
        """Return one client's part."""

    def read(self, total: Values, clients: int) -> Floats:
        """Return the mean."""


@dataclass(frozen=True, eq=False)
class PathBeside:
    """The path integral of a client's steps: post-processing of noisy gradients, which charges nothing.

    The server takes the mean over clients. With shared noise the steps are the server's own: see `GradientSumUpload`.
    """

    numbers: Numbers
    name: Beside = "path"

    @property
    def _unit(self) -> float:
        # A coordinate that moves by the whole bound in one step has the path clip^2 / rate: that becomes `clip`.
        return self.numbers.encoding.update_clip / self.numbers.dpsgd.learning_rate

    def declare(self) -> Part:
        """Return the part, in the update's units."""
        return Part(self.name, (self.numbers.size,), self.numbers.encoding.update_clip)

    def events(self, stratum: StratumName) -> Mapping[Event, int]:
        """Return no event."""
        return {}

    def fill(self, round: ClientRound, visit: Visit, made: Made) -> Values:
        """Return the visit's path in units of the part."""
        assert made.path is not None
        return made.path / self._unit

    def read(self, total: Values, clients: int) -> Floats:
        """Return the mean path."""
        return (total / clients * self._unit).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ReferenceBeside:
    """The memory's gradient at the server's weights, private before it is sent: a release of its own, one step's worth.

    The server takes the mean over clients.
    """

    numbers: Numbers
    name: Beside = "reference"

    def declare(self) -> Part:
        """Return the part, in the update's units."""
        return Part(self.name, (self.numbers.size,), self.numbers.encoding.update_clip)

    def events(self, stratum: StratumName) -> Mapping[Event, int]:
        """Return one step on the memory."""
        if stratum == "current":
            return {}
        return replace(self.numbers.dpsgd, steps=1).events(self.numbers.rates.memory)

    def fill(self, round: ClientRound, visit: Visit, made: Made) -> Values:
        """Return the noisy mean gradient of the memory: minus the step of one visit at rate 1 on the memory alone."""
        one = replace(self.numbers.dpsgd, steps=1, learning_rate=1.0, momentum=0.0, optimizer="sgd")
        memory = replace(_of_memory(visit), after=None, moments=None)
        return -next(round.trainer.visits(round.state["weights"], [memory], one, round.loss)).update

    def read(self, total: Values, clients: int) -> Floats:
        """Return the mean gradient."""
        return (total / clients).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ReferenceSum:
    """The memory's clipped gradient sum beside the round's, by coins of its own; it gets its noise inside the sum.

    An example of the memory then joins two releases. The server takes the mean gradient.
    """

    numbers: Numbers
    name: Beside = "reference"

    def declare(self) -> Part:
        """Return the part, bounded like the gradient sum."""
        return Part(self.name, (self.numbers.size,), self.numbers.encoding.sum_clip * self.numbers.dpsgd.clipping_norm)

    def sampled(self, stratum: StratumName) -> tuple[float, ...]:
        """Return the rate at which an example joins it."""
        return (self.numbers.rates.memory,) if stratum == "memory" else ()

    def fill(self, round: ClientRound, visit: Visit) -> Values:
        """Return one client's sum, without noise."""
        norm = self.numbers.dpsgd.clipping_norm
        return next(round.trainer.sums(round.state["weights"], [_of_memory(visit)], norm, round.loss))

    def read(self, total: Values, share: float) -> Floats:
        """Return the mean gradient; `share` is the public number of expected examples."""
        return (total / share).astype(np.float32)


def _of_memory(visit: Visit) -> Visit:
    # An empty stratum keeps the numbering of strata.
    current, memory = visit.strata
    extra = current.extra[:0] if current.extra is not None else None
    return replace(visit, strata=[Stratum(x=current.x[:0], y=current.y[:0], q=0.0, extra=extra), memory])
