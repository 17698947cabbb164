"""Fisher information when a slot closes: with noise of each client's own, or with noise inside the sum.

Both send the summed squares of clipped gradients of the current chunk, of which one example adds at most the clipping
norm's square. The server sets to zero what is not clear of the noise and divides by the public number of examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from privacy import Event, NonPrivate, SampledGaussian
from privacy.secure_gaussian import release_noise
from secure_fcl.strategies.base import Contribution, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.upload import ClientRound, Means

#: Largest |weight| that a product of Fisher information and weights is encoded for.
LARGEST_WEIGHT = 8.0


@dataclass(frozen=True, eq=False)
class FisherUpload:
    """Fisher information with each client's own noise (privacy.statistics.FisherDiagonal), or with none.

    Costs one release of the current chunk at its own rate. Where the method asks for "fisher_weights", each client's
    is taken at its own last model, and its product with that model's weights goes with it (post-processing).
    """

    numbers: Numbers

    @property
    def _weighs(self) -> bool:
        return "fisher_weights" in self.numbers.method.beside

    def declare(self) -> UploadSpec:
        """Return the diagonal, and its product with the client's weights if the method asks for it."""
        n = self.numbers
        bound = n.dpsgd.clipping_norm**2
        largest = n.examples * bound + 12.0 * n.fisher_noise * bound
        names = ("fisher", "fisher_weights") if self._weighs else ("fisher",)
        steps = 2 ** (n.encoding.fisher_bits - 1) - 1
        parts = tuple(Part(name, (n.size,), largest) for name in names)
        return UploadSpec(
            name=f"{n.name}-fisher",
            parts=parts,
            scale=steps / largest,
            sensitivity_l2=None,
            sensitivity_entries=None,
            unit="private before it is sent",
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return one release of the current chunk."""
        if stratum == "memory":
            return {}
        noise = self.numbers.fisher_noise
        if noise == 0.0:
            return {NonPrivate("Fisher information without noise"): 1}
        return {SampledGaussian(q=self.numbers.rates.fisher, noise_multiplier=noise): 1}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's noisy diagonal."""
        n = self.numbers
        for view, visit in zip(round.views, round.visits, strict=True):
            weights = round.state["weights"]
            own = view.carried.get("local", weights) if self._weighs else weights
            found = _squares(n, own, visit)
            if n.fisher_noise > 0.0:
                found = found + release_noise(n.fisher_noise * n.dpsgd.clipping_norm**2, (n.size,), visit.coins).numpy()
            parts = {"fisher": found}
            if self._weighs:
                parts["fisher_weights"] = found * np.clip(own / LARGEST_WEIGHT, -1.0, 1.0)
            yield Contribution(parts, view.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the state as it is, and the mean diagonal with its product where the noise leaves something of it."""
        clean = _cleaned(self.numbers, total["fisher"], clients, noises=clients)
        means: Means = {"fisher": clean.astype(np.float32)}
        if self._weighs:
            product = total["fisher_weights"] * LARGEST_WEIGHT / _expected(self.numbers, clients)
            means["fisher_weights"] = np.where(clean > 0.0, product, 0.0).astype(np.float32)
        return _learned(state, means)


@dataclass(frozen=True, eq=False)
class FisherSumUpload:
    """Fisher information that gets its noise inside the secure sum.

    Costs one release of the current chunk at its own rate, by `sampled`. All clients stand at the server's weights,
    which need no sum of their own: the server takes the product itself.
    """

    numbers: Numbers

    def declare(self) -> UploadSpec:
        """Return the diagonal."""
        n = self.numbers
        bound = n.dpsgd.clipping_norm**2
        parts = (Part("fisher", (n.size,), n.examples * bound),)
        unit = "one example adds its squared clipped gradient"
        return UploadSpec(
            name=f"{n.name}-fisher",
            parts=parts,
            scale=2.0**n.encoding.scale_bits / bound,
            sensitivity_l2=bound,
            sensitivity_entries=n.size,
            unit=unit,
        )

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return no event: the noise inside the sum is charged by whoever adds it."""
        return {}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return the rate of the one release of the current chunk."""
        return (self.numbers.rates.fisher,) if stratum == "current" else ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's diagonal, without noise."""
        for view, visit in zip(round.views, round.visits, strict=True):
            yield Contribution({"fisher": _squares(self.numbers, round.state["weights"], visit)}, view.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the state as it is, and the mean diagonal with its product with the server's weights."""
        fisher: Floats = _cleaned(self.numbers, total["fisher"], clients, noises=1).astype(np.float32)
        means: Means = {"fisher": fisher}
        if "fisher_weights" in self.numbers.method.beside:
            means["fisher_weights"] = fisher * state["weights"]
        return _learned(state, means)


def _squares(n: Numbers, weights: Floats, visit: Visit) -> Values:
    """Return the summed squares of clipped gradients of one Poisson batch of the current chunk, float64 (P,)."""
    chunk = replace(visit, strata=[replace(visit.strata[0], q=n.rates.fisher)])
    return n.networks.squares(weights, chunk, n.dpsgd.clipping_norm, n.head.cross_entropy)


def _expected(n: Numbers, clients: int) -> float:
    """Return the public number of examples in the sum."""
    return clients * n.dpsgd.denominator / n.rates.current * n.rates.fisher


def _cleaned(n: Numbers, total: Values, clients: int, noises: int) -> Values:
    """Return Fisher information per expected example; `noises`: how many clients' noise is in the total.

    Noisy entries below three standard deviations of their noise are set to zero: they say nothing but noise, and a
    negative one would push weights away. Post-processing.
    """
    floor = 3.0 * n.fisher_noise * n.dpsgd.clipping_norm**2 * np.sqrt(noises)
    cleaned: Values = np.where(total > floor, np.maximum(total, 0.0), 0.0) / _expected(n, clients)
    return cleaned


def _learned(state: State, means: Means) -> tuple[State, Received]:
    return state, Received(state["weights"], state["weights"], means, 0.0)
