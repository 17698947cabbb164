"""The upload of noise shared inside: one clipped gradient sum at the server's weights, with which the server steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from privacy import Event
from privacy.randomness import uniforms
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

    Where the unit is a client (`Numbers.persons`) its sum over all of its current examples is clipped as a whole to the
    clipping norm C, and its own private coin, of rate q, chooses between that vector and silence, which is the zero
    vector; it always sends. *Guarantee*: replacing the client's stream by silence changes a round's sum by at most C,
    whatever its data, and only where its coin fell so: a round is one Poisson-sampled release of sensitivity C and rate
    q. Over a stream of T rounds the joint bound is that of T such releases composed, as in
    `secure_fcl.strategies.closed_form.persons.PersonSums`. The sum is computed whatever the coin says, so that a silent
    round takes a device as long.
    """

    numbers: Numbers

    @cached_property
    def _beside(self) -> tuple[ReferenceSum, ...]:
        return (ReferenceSum(self.numbers),) if "reference" in self.numbers.method.beside else ()

    def declare(self) -> UploadSpec:
        """Return the gradient sum, and the memory's own if the method asks for it."""
        n = self.numbers
        norm = n.dpsgd.clipping_norm
        gradient = Part("gradient", (n.size,), norm if n.persons else n.encoding.sum_clip * norm)
        parts = (gradient, *(each.declare() for each in self._beside))
        unit = "one example adds one gradient clipped to the clipping norm, in each part that reads its stratum"
        if n.persons:
            unit = "one client's whole gradient sum is clipped to the clipping norm"
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
            if self.numbers.persons:
                joins = float(uniforms(visit.coins, (1,))[0]) < self.numbers.rates.current
                yield Contribution({"gradient": within(own, norm) * float(joins)})
                continue
            yield Contribution({"gradient": own, **{each.name: each.fill(round, visit) for each in self._beside}})

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights after one step with the noisy mean gradient, and what else the method learns."""
        n = self.numbers
        before = state["weights"].astype(np.float64)
        share = (n.rates.current if n.persons else n.dpsgd.denominator) * clients
        noisy = total["gradient"] / share
        means: Means = {each.name: each.read(total[each.name], share) for each in self._beside}
        gradient = self._changed(noisy, before, state, means)
        new: State = {}
        if n.dpsgd.momentum:
            gradient = n.dpsgd.momentum * state["velocity"].astype(np.float64) + gradient
            new["velocity"] = gradient.astype(np.float32)
        after = before - n.dpsgd.learning_rate * gradient
        if "path" in n.method.beside:
            # All clients stand at the server's weights: the path is that of its step, and no client sends one.
            means["path"] = (-noisy * (after - before)).astype(np.float32)
        weights = after.astype(np.float32)
        return {"weights": weights, **new}, Received(state["weights"], weights, means, n.dpsgd.learning_rate)

    def _changed(self, noisy: Values, before: Values, state: State, means: Means) -> Values:
        """Return the noisy gradient with what the method does after the noise."""
        import torch

        # The reference of this very round, not of the one before: both were summed at the same weights.
        known: State = {name: mean for name, mean in means.items() if name in state}
        change = self.numbers.method.after({**state, **known}, {})
        if change is None:
            return noisy
        learning_rate = self.numbers.dpsgd.learning_rate
        moved: Values = change(torch.from_numpy(noisy), torch.from_numpy(before), learning_rate).numpy()
        return moved


def within(vector: Values, norm: float) -> Values:
    """Return a vector (n,) drawn to a Euclidean norm of at most `norm`; one that is not finite becomes zero.

    *Guarantee*: the norm of the result is at most `norm`, whatever the vector.
    """
    size = float(np.linalg.norm(vector))
    if not math.isfinite(size):
        return np.zeros_like(vector)
    # A hair less, so that rounding to doubles does not lead beyond it.
    return vector if size <= norm else np.asarray(vector * (norm / size * (1.0 - 2.0**-40)))
