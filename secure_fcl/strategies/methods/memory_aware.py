"""MAS: importances of weights from the outputs alone, without labels, as a sum of absolute gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from privacy import AfterNoise, Batch, Event, NonPrivate, SampledGaussian
from privacy.secure_gaussian import release_noise
from secure_fcl.strategies.base import Contribution, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Plain, Received
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.gradient_sum import GradientSumUpload
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import ClientRound, Means
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits
from secure_fcl.strategies.methods.regularisation import anchored
from secure_fcl.strategies.section import GradientSection, Positive

if TYPE_CHECKING:
    import torch


def output_energy(outputs: torch.Tensor, _batch: Batch) -> torch.Tensor:
    """Return the squared norm of each example's outputs, (B,); labels play no part."""
    return outputs.square().sum(1)


@dataclass(frozen=True, kw_only=True)
class MemoryAware(Plain):
    """MAS: strength * Omega (w - w*)^2, Omega the mean |gradient| of the outputs' squared norm, summed over tasks.

    Aljundi et al. 2018 (ECCV, arXiv 1711.09601, section 4.1): how much an example's outputs move with a weight, so no
    label is read; w* are the weights after the last task. Omega is a mean over examples, hence a sum over clients: one
    release a task beside the steps. Each example's gradient is clipped before its absolute value is taken, which leaves
    its norm as it is, so an example weighs at most the clipping norm. Noise makes an entry negative or large by
    accident: those below three standard deviations are set to zero, as for Fisher information. The penalty reads
    released values and costs nothing.
    """

    strength: float = 1.0

    def uploads(self, numbers: Numbers) -> Uploads:
        """See `SendsOwn.uploads`."""
        importance = ImportanceUpload(numbers)
        if numbers.shared:
            sums = GradientSumUpload(numbers)
            return Uploads(sums, {"train": sums, "close": importance})
        visits = LocalVisits(numbers)
        return Uploads(visits, {"train": UpdateUpload(numbers, visits), "close": importance})

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"importance": np.zeros_like(weights), "anchor": weights.copy()}

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        return anchored(state, self.strength)

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        found = {name: state[name] for name in ("importance", "anchor")}
        if step.phase == "close":
            found["importance"] = state["importance"] + received.means["fisher"]
            found["anchor"] = received.before.copy()
        return found


@dataclass(frozen=True, eq=False)
class ImportanceUpload:
    """Summed absolute gradients of the current chunk when a slot closes, of which one example adds at most the norm.

    Costs one release at its own rate: with each client's own noise by `events`, with noise inside the sum by `sampled`.
    """

    numbers: Numbers

    def declare(self) -> UploadSpec:
        """Return the importances."""
        n, norm = self.numbers, self.numbers.dpsgd.clipping_norm
        largest = n.examples * norm
        if n.shared:
            scale, sensitivity, said = 2.0**n.encoding.scale_bits / norm, norm, "one example adds its absolute gradient"
        else:
            largest += 12.0 * n.fisher_noise * norm
            scale, sensitivity = (2 ** (n.encoding.fisher_bits - 1) - 1) / largest, None
            said = "private before it is sent"
        return UploadSpec(
            name=f"{n.name}-importance", parts=(Part("fisher", (n.size,), largest),), scale=scale,
            sensitivity_l2=sensitivity, sensitivity_entries=n.size if n.shared else None, unit=said,
        )  # fmt: skip

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return one release of the current chunk, where the noise is the client's own."""
        n = self.numbers
        if stratum == "memory" or n.shared:
            return {}
        if n.fisher_noise == 0.0:
            return {NonPrivate("importances without noise"): 1}
        return {SampledGaussian(q=n.rates.fisher, noise_multiplier=n.fisher_noise): 1}

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return the rate of the one release of the current chunk, where the noise is inside the sum."""
        return (self.numbers.rates.fisher,) if self.numbers.shared and stratum == "current" else ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's importances."""
        n = self.numbers
        norm = n.dpsgd.clipping_norm
        for view, visit in zip(round.views, round.visits, strict=True):
            chunk = replace(visit, strata=[replace(visit.strata[0], q=n.rates.fisher)])
            found = n.networks.magnitudes(round.state["weights"], chunk, norm, output_energy)
            if n.fisher_noise > 0.0 and not n.shared:
                found = found + release_noise(n.fisher_noise * norm, (n.size,), visit.coins).numpy()
            yield Contribution({"fisher": found}, view.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the state as it is, and the mean importances where they are clear of the noise."""
        n = self.numbers
        floor = 3.0 * n.fisher_noise * n.dpsgd.clipping_norm * np.sqrt(1 if n.shared else clients)
        expected = clients * n.dpsgd.denominator / n.rates.current * n.rates.fisher
        clean = np.where(total["fisher"] > floor, np.maximum(total["fisher"], 0.0), 0.0) / expected
        means: Means = {"fisher": clean.astype(np.float32)}
        return state, Received(state["weights"], state["weights"], means, 0.0)


class MemoryAwareSection(GradientSection):
    """MAS."""

    strength: Positive = Field(1.0, description="weight of the penalty")


fedmas = GradientEntry(section=MemoryAwareSection(), method=lambda section: MemoryAware(strength=section.strength))
