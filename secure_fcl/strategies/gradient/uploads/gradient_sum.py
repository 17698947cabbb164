"""The upload of noise shared inside: one clipped gradient sum at the server's weights, with which the server steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from privacy import Event
from secure_fcl.strategies.base import Contribution, DeviceView, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.beside import ReferenceSum
from secure_fcl.strategies.gradient.uploads.upload import ClientRound, Means


@dataclass(frozen=True, eq=False)
class GradientSumUpload:
    """One clipped gradient sum of a Poisson batch, which gets its noise inside the secure sum; the server steps.

    Costs one release for each part that reads an example's stratum, by `sampled`: no client adds noise of its own.
    It is the whole of `Training` too: devices keep nothing, and the momentum is the server's.
    Where the unit is a client, `secure_fcl.strategies.gradient.uploads.persons.PersonUpload` stands in its place.
    """

    numbers: Numbers

    @cached_property
    def _beside(self) -> tuple[ReferenceSum, ...]:
        return (ReferenceSum(self.numbers),) if "reference" in self.numbers.method.beside else ()

    def declare(self) -> UploadSpec:
        """Return the gradient sum, and the memory's own if the method asks for it."""
        n = self.numbers
        norm = n.dpsgd.clipping_norm
        gradient = Part("gradient", (n.size,), n.encoding.sum_clip * norm)
        parts = (gradient, *(each.declare() for each in self._beside))
        unit = "one example adds one gradient clipped to the clipping norm, in each part that reads its stratum"
        return UploadSpec(
            name=n.name,
            parts=parts,
            scale=2.0**n.encoding.scale_bits / norm,
            sensitivity_l2=norm,
            sensitivity_entries=n.size,
            unit=unit,
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return no event: the noise inside the sum is charged by whoever adds it."""
        return {}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return the stratum's rate, once for each part that reads it."""
        if stratum == "current":
            return (self.numbers.rates.current,)
        rate = self.numbers.rates.memory
        found = (rate, *(one for each in self._beside for one in each.sampled(stratum)))
        return found if rate > 0.0 else ()

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """No array: no client has a model of its own."""
        return {}

    def initial(self) -> State:
        """Return the server's velocity, if it has momentum."""
        return {"velocity": np.zeros_like(self.numbers.networks.initial)} if self.numbers.dpsgd.momentum else {}

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """Return the visit as it is: what is done after the noise, the server does."""
        return visit

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's sums, without noise."""
        norm = self.numbers.dpsgd.clipping_norm
        sums = round.trainer.sums(round.state["weights"], round.visits, norm, round.loss)
        for visit, own in zip(round.visits, sums, strict=True):
            yield Contribution({"gradient": own, **{each.name: each.fill(round, visit) for each in self._beside}})

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights after one step with the noisy mean gradient, and what else the method learns."""
        n = self.numbers
        before = state["weights"].astype(np.float64)
        share = n.dpsgd.denominator * clients
        noisy = total["gradient"] / share
        means: Means = {each.name: each.read(total[each.name], share) for each in self._beside}
        gradient, new = with_velocity(n, state, with_what_follows_the_noise(n, noisy, before, state, means))
        after = before - n.dpsgd.learning_rate * gradient
        if "path" in n.method.beside:
            # All clients stand at the server's weights: the path is that of its step, and no client sends one.
            means["path"] = (-noisy * (after - before)).astype(np.float32)
        weights = after.astype(np.float32)
        return {"weights": weights, **new}, Received(state["weights"], weights, means, n.dpsgd.learning_rate)


def with_velocity(numbers: Numbers, state: State, gradient: Values) -> tuple[Values, State]:
    """Return what the server moves by, and its new velocity if it has momentum."""
    if not numbers.dpsgd.momentum:
        return gradient, {}
    moved: Values = numbers.dpsgd.momentum * state["velocity"].astype(np.float64) + gradient
    return moved, {"velocity": moved.astype(np.float32)}


def with_what_follows_the_noise(numbers: Numbers, noisy: Values, before: Values, state: State, means: Means) -> Values:
    """Return the noisy gradient at the weights `before` with what the method does after the noise."""
    import torch

    # The reference of this very round, not of the one before: both were summed at the same weights.
    known: State = {name: mean for name, mean in means.items() if name in state}
    change = numbers.method.after({**state, **known}, {})
    if change is None:
        return noisy
    moved: Values = change(torch.from_numpy(noisy), torch.from_numpy(before), numbers.dpsgd.learning_rate).numpy()
    return moved
