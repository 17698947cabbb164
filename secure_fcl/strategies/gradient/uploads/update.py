"""The upload of local training: an update that is private before it is sent, or a zero where nothing is summed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from privacy import Event
from secure_fcl.strategies.base import Contribution, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.beside import BesideUpdate, PathBeside, ReferenceBeside
from secure_fcl.strategies.gradient.uploads.upload import ClientRound, Means
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits, Visits
from secure_fcl.strategies.gradient.uploads.weights import CountWeights, EqualWeights, Weights


@dataclass(frozen=True, eq=False)
class UpdateUpload:
    """The update of a visit with noise of its own, times the client's weight; the server moves by the mean.

    Costs the visit, and what the weight and the sums beside say themselves. Every part travels in the update's units,
    so that all share one scale.
    """

    numbers: Numbers
    visits: Visits

    @cached_property
    def _weights(self) -> Weights:
        return CountWeights(self.numbers) if self.numbers.method.mean == "weighted" else EqualWeights()

    @cached_property
    def _beside(self) -> tuple[BesideUpdate, ...]:
        every: tuple[BesideUpdate, ...] = (PathBeside(self.numbers), ReferenceBeside(self.numbers))
        return tuple(each for each in every if each.name in self.numbers.method.beside)

    def declare(self) -> UploadSpec:
        """Return the update, the sums beside, and the weight."""
        n = self.numbers
        update = Part("update", (n.size,), n.encoding.update_clip)
        parts = (update, *(each.declare() for each in self._beside), *self._weights.declare())
        steps = 2 ** (n.encoding.update_bits - 1) - 1
        unit = "the update is private before it is sent (local DP-SGD)"
        return UploadSpec(
            name=n.name,
            parts=parts,
            scale=steps / n.encoding.update_clip,
            sensitivity_l2=None,
            sensitivity_entries=None,
            unit=unit,
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the visit, the weight and the sums beside charge."""
        found: Counter[Event] = Counter(self.visits.events(stratum))
        found.update(self._weights.events(stratum))
        for each in self._beside:
            found.update(each.events(stratum))
        return found

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield what each client's visit makes, by its coins: first the visits, then the weight, then the rest."""
        for visit, made in zip(round.visits, self.visits.made(round), strict=True):
            weight = self._weights.of(visit)
            parts = {"update": weight * made.update}
            parts |= {each.name: each.fill(round, visit, made) for each in self._beside}
            yield Contribution(parts | self._weights.fill(weight), made.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights moved by the mean update, and the means of the sums beside.

        Weights of clients that sum to less than one example say nothing; the model then stays as it is.
        """
        before, share = state["weights"], self._weights.read(total, clients)
        after = before if share is None else (before.astype(np.float64) + total["update"] / share).astype(np.float32)
        means: Means = {each.name: each.read(total[each.name], clients) for each in self._beside}
        return {"weights": after}, Received(before, after, means, self.numbers.dpsgd.learning_rate)


@dataclass(frozen=True, eq=False)
class NothingUpload:
    """A zero from everybody, where every client has a model of its own; costs the visit, and the server stays."""

    numbers: Numbers
    visits: LocalVisits

    def declare(self) -> UploadSpec:
        """Return one entry, since every strategy has an upload."""
        clip = self.numbers.encoding.update_clip
        nothing = Part("nothing", (1,), clip)
        return UploadSpec(
            name=self.numbers.name,
            parts=(nothing,),
            scale=1.0 / clip,
            sensitivity_l2=None,
            sensitivity_entries=None,
            unit="a zero from everybody",
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the visit charges towards whoever gets the client's model."""
        return self.visits.events(stratum)

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield a zero, and what each client keeps of its visit."""
        for made in self.visits.made(round):
            yield Contribution({"nothing": np.zeros(1)}, made.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights as they are."""
        weights: Floats = state["weights"]
        return {"weights": weights}, Received(weights, weights, {}, self.numbers.dpsgd.learning_rate)
