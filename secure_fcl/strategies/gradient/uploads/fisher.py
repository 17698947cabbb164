"""Importances of weights when a slot closes: with noise of each client's own, or with noise inside the sum.

Both send what a `Measure` sums over the current chunk: for Fisher information the squares of clipped gradients, of
which one example adds at most the square of the clipping norm. The server sets to zero what is not clear of the noise
and divides by the public number of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What importances are sums of.

    Attributes:
        name: what the upload is called by, behind the strategy's name.
        said: what it is, in the words of a charge without noise.
        adds: what one example adds, in words.
        power: one example adds at most the clipping norm to this power, in L2.
        taken: sum over one Poisson batch of the current chunk, from numbers, weights (P,) and visit, float64 (P,).
    """

    name: str
    said: str
    adds: str
    power: int
    taken: Callable[[Numbers, Floats, Visit], Values]

    def most(self, numbers: Numbers) -> float:
        """Return what one example adds at most, in L2."""
        return numbers.dpsgd.clipping_norm**self.power


def closing_batch(numbers: Numbers, visit: Visit) -> Visit:
    """Return the visit with its current chunk alone, at the rate of what is summed when a slot closes."""
    return replace(visit, strata=[replace(visit.strata[0], q=numbers.rates.fisher)])


def _squares(n: Numbers, weights: Floats, visit: Visit) -> Values:
    return n.networks.squares(weights, closing_batch(n, visit), n.dpsgd.clipping_norm, n.head.cross_entropy)


FISHER = Measure(name="fisher", said="Fisher information", adds="its squared clipped gradient", power=2, taken=_squares)


@dataclass(frozen=True, eq=False)
class FisherUpload:
    """Importances with each client's own noise (privacy.statistics.FisherDiagonal), or with none.

    Costs one release of the current chunk at its own rate. Where the method asks for "fisher_weights", each client's
    is taken at its own last model, and its product with that model's weights goes with it (post-processing).
    """

    numbers: Numbers
    measure: Measure = FISHER

    @property
    def _weighs(self) -> bool:
        return "fisher_weights" in self.numbers.method.beside

    def declare(self) -> UploadSpec:
        """Return the diagonal, and its product with the client's weights if the method asks for it."""
        n, bound = self.numbers, self.measure.most(self.numbers)
        largest = n.examples * bound + 12.0 * n.fisher_noise * bound
        names = ("fisher", "fisher_weights") if self._weighs else ("fisher",)
        steps = 2 ** (n.encoding.fisher_bits - 1) - 1
        parts = tuple(Part(name, (n.size,), largest) for name in names)
        return UploadSpec(
            name=f"{n.name}-{self.measure.name}",
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
            return {NonPrivate(f"{self.measure.said} without noise"): 1}
        return {SampledGaussian(q=self.numbers.rates.fisher, noise_multiplier=noise): 1}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's noisy diagonal."""
        n, std = self.numbers, self.numbers.fisher_noise * self.measure.most(self.numbers)
        for view, visit in zip(round.views, round.visits, strict=True):
            weights = round.state["weights"]
            own = view.carried.get("local", weights) if self._weighs else weights
            found = self.measure.taken(n, own, visit)
            if std > 0.0:
                found = found + release_noise(std, (n.size,), visit.coins).numpy()
            parts = {"fisher": found}
            if self._weighs:
                parts["fisher_weights"] = found * np.clip(own / LARGEST_WEIGHT, -1.0, 1.0)
            yield Contribution(parts, view.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the state as it is, and the mean diagonal with its product where the noise leaves something of it."""
        clean = _cleaned(self.numbers, self.measure, total["fisher"], clients, noises=clients)
        means: Means = {"fisher": clean.astype(np.float32)}
        if self._weighs:
            product = total["fisher_weights"] * LARGEST_WEIGHT / _expected(self.numbers, clients)
            means["fisher_weights"] = np.where(clean > 0.0, product, 0.0).astype(np.float32)
        return _learned(state, means)


@dataclass(frozen=True, eq=False)
class FisherSumUpload:
    """Importances that get their noise inside the secure sum.

    Costs one release of the current chunk at its own rate, by `sampled`. All clients stand at the server's weights,
    which need no sum of their own: the server takes the product itself.
    """

    numbers: Numbers
    measure: Measure = FISHER

    def declare(self) -> UploadSpec:
        """Return the diagonal."""
        n, bound = self.numbers, self.measure.most(self.numbers)
        parts = (Part("fisher", (n.size,), n.examples * bound),)
        return UploadSpec(
            name=f"{n.name}-{self.measure.name}",
            parts=parts,
            scale=2.0**n.encoding.scale_bits / bound,
            sensitivity_l2=bound,
            sensitivity_entries=n.size,
            unit=f"one example adds {self.measure.adds}",
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
            found = self.measure.taken(self.numbers, round.state["weights"], visit)
            yield Contribution({"fisher": found}, view.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the state as it is, and the mean diagonal with its product with the server's weights."""
        clean = _cleaned(self.numbers, self.measure, total["fisher"], clients, noises=1)
        fisher: Floats = clean.astype(np.float32)
        means: Means = {"fisher": fisher}
        if "fisher_weights" in self.numbers.method.beside:
            means["fisher_weights"] = fisher * state["weights"]
        return _learned(state, means)


def _expected(n: Numbers, clients: int) -> float:
    """Return the public number of examples in the sum."""
    return clients * n.dpsgd.denominator / n.rates.current * n.rates.fisher


def _cleaned(n: Numbers, measure: Measure, total: Values, clients: int, noises: int) -> Values:
    """Return importances per expected example; `noises`: how many clients' noise is in the total.

    Noisy entries below three standard deviations of their noise are set to zero: they say nothing but noise, and a
    negative one would push weights away. Post-processing.
    """
    floor = 3.0 * n.fisher_noise * measure.most(n) * np.sqrt(noises)
    cleaned: Values = np.where(total > floor, np.maximum(total, 0.0), 0.0) / _expected(n, clients)
    return cleaned


def _learned(state: State, means: Means) -> tuple[State, Received]:
    return state, Received(state["weights"], state["weights"], means, 0.0)
