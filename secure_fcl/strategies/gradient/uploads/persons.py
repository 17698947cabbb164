"""The upload of persons that train a network: one vector of each, clipped as a whole, with its noise inside the sum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from privacy import Event
from privacy.randomness import uniforms
from secure_fcl.strategies.base import Contribution, DeviceView, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.gradient_sum import with_velocity, with_what_follows_the_noise
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits

#: Beyond every gradient: the steps of a client's own clip nothing, since its difference is clipped as a whole.
_UNCLIPPED = 2.0**60


@dataclass(frozen=True, eq=False)
class PersonUpload:
    """One vector of a client, clipped as a whole to a norm C; it is the whole of `Training` too.

    The vector is the client's clipped gradient sum at the round's model, with which the server steps, or
    (`Numbers.sends`) its own model after `steps` steps from the round's model, less that model: DP-FedAvg (McMahan,
    Ramage, Talwar and Zhang 2018, arXiv 1710.06963), with flat clipping, equal weights and the public number of people
    expected for a denominator. Steps of its own read all of its current examples and have no noise. A private coin of
    rate q chooses between that vector and silence, which is the zero vector. Everybody always sends, and the vector is
    made whatever the coin says, so that a silent round takes a device as long.

    *Guarantee*: replacing the client's stream by silence changes a round's sum by at most C, whatever its data and
    whatever was released before, and only where its coin fell so: a round is one Poisson-sampled release of
    sensitivity C and rate q. What a device keeps between rounds (a method's arrays) depends on its own stream and on
    released models alone, never on its coins; so a round's vector is fixed before its coin is thrown. Over a stream of
    T rounds the joint bound is that of T such releases composed, as in
    `secure_fcl.strategies.closed_form.persons.PersonSums`.

    Where the norm is learnt (`Numbers.learnt`), one more entry of the same sum counts whose norm lies within it. A
    client adds 1 - target or -target by a *second* coin of rate q, and 0 where that coin says no or where it has no
    examples: so a round is two releases, each sampled by a coin of its own, and the ledger has both. (Under one coin
    for both they would be one release of the joint norm, and two entries would charge too little.) The vector is
    divided by the norm on the device, so neither charge depends on the norm, which is post-processing.
    """

    numbers: Numbers

    @cached_property
    def _visits(self) -> LocalVisits:
        """Training at a client without noise; its momentum is the server's."""
        n = self.numbers
        own = replace(
            n.dpsgd, denominator=1.0, clipping_norm=_UNCLIPPED, noise_multiplier=0.0, momentum=0.0
        )  # fmt: skip
        return LocalVisits(replace(n, dpsgd=own, keep_moments=False))

    def declare(self) -> UploadSpec:
        """Return the vector, and the entry that counts where the norm is learnt."""
        n = self.numbers
        count = () if n.learnt is None else (Part("within", (1,), n.learnt.most),)
        what = "gradient sum" if n.sends == "gradient" else "model difference"
        beside = "" if n.learnt is None else ", and it adds at most as much to one count as its weight says"
        return UploadSpec(
            name=n.name,
            parts=(Part(n.sends, (n.size,), n.unit), *count),
            scale=2.0**n.encoding.scale_bits / n.unit,
            sensitivity_l2=n.unit,
            sensitivity_entries=n.size,
            unit=f"one client's whole {what} is clipped to the clipping norm{beside}",
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return no event: the noise inside the sum is charged by whoever adds it."""
        return {}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return the coin's rate for the vector; the count's charge is `secure_fcl.rows.noise.counted_inside`."""
        return (self.numbers.rates.current,) if stratum == "current" else ()

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """The method's arrays where clients take steps of their own; else none."""
        return self._visits.carried if self.numbers.sends == "difference" else {}

    def initial(self) -> State:
        """Return the server's velocity, if it has momentum, and the norm, if it is learnt."""
        n = self.numbers
        velocity = {"velocity": np.zeros_like(n.networks.initial)} if n.dpsgd.momentum else {}
        norm = {} if n.learnt is None else {"norm": np.array([n.dpsgd.clipping_norm], dtype=np.float32)}
        return {**velocity, **norm}

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """Return the visit with what its own steps do to their gradients; the server steps by gradient sums."""
        return self._visits.prepared(visit, state, view) if self.numbers.sends == "difference" else visit

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's clipped vector or silence, and its bit or none, without noise."""
        n, norm = self.numbers, self._norm(round.state)
        for view, visit, (vector, carried) in zip(round.views, round.visits, self._made(round, norm), strict=True):
            joins, counts = uniforms(visit.coins, (2,)) < n.rates.current
            has = len(view.current) > 0
            joined = float(joins and has)
            parts: dict[str, Values] = {n.sends: within(vector, norm) * (joined * n.unit / norm)}
            if n.learnt is not None:
                bit = n.learnt.counted(bool(np.linalg.norm(vector) <= norm))
                parts["within"] = np.array([bit * float(counts and has)])
            yield Contribution(parts, carried)

    def _norm(self, state: State) -> float:
        return self.numbers.dpsgd.clipping_norm if self.numbers.learnt is None else float(state["norm"][0])

    def _made(self, round: ClientRound, norm: float) -> Iterator[tuple[Values, Mapping[str, Floats]]]:
        if self.numbers.sends == "difference":
            yield from ((made.update, made.carried) for made in self._visits.made(round))
            return
        for vector in round.trainer.sums(round.state["weights"], round.visits, norm, round.loss):
            yield vector, {}

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights after the server's step with the noisy mean, and the norm of the next round."""
        n, norm = self.numbers, self._norm(state)
        people = n.rates.current * clients
        before, mean = state["weights"].astype(np.float64), total[n.sends] * (norm / n.unit / people)
        if n.sends == "gradient":
            change, new = with_velocity(n, state, with_what_follows_the_noise(n, mean, before, state, {}))
            after = before - n.dpsgd.learning_rate * change
        else:
            change, new = with_velocity(n, state, mean)
            after = before + change
        if n.learnt is not None:
            new["norm"] = np.array([n.learnt.moved(norm, float(total["within"][0]), people)], dtype=np.float32)
        weights = after.astype(np.float32)
        return {"weights": weights, **new}, Received(state["weights"], weights, {}, n.dpsgd.learning_rate)


def within(vector: Values, norm: float) -> Values:
    """Return a vector (n,) drawn to a Euclidean norm of at most `norm`; one that is not finite becomes zero.

    *Guarantee*: the norm of the result is at most `norm`, whatever the vector.
    """
    size = float(np.linalg.norm(vector))
    if not math.isfinite(size):
        return np.zeros_like(vector)
    # A hair less, so that rounding to doubles does not lead beyond it.
    return vector if size <= norm else np.asarray(vector * (norm / size * (1.0 - 2.0**-40)))
