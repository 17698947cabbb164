"""MAS: importances of weights from the outputs alone, without labels, as a sum of absolute gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from privacy import AfterNoise, Batch
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.contribution import Values
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Plain, Received
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.fisher import FisherSumUpload, FisherUpload, Measure, closing_batch
from secure_fcl.strategies.gradient.uploads.gradient_sum import GradientSumUpload
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits
from secure_fcl.strategies.methods.regularisation import anchored
from secure_fcl.strategies.section import GradientSection, Positive

if TYPE_CHECKING:
    import torch


def output_energy(outputs: torch.Tensor, _batch: Batch) -> torch.Tensor:
    """Return the squared norm of each example's outputs, (B,); labels play no part."""
    return outputs.square().sum(1)


def _magnitudes(n: Numbers, weights: Floats, visit: Visit) -> Values:
    return n.networks.magnitudes(weights, closing_batch(n, visit), n.dpsgd.clipping_norm, output_energy)


IMPORTANCE = Measure(name="importance", said="importances", adds="its absolute gradient", power=1, taken=_magnitudes)
"""Summed absolute gradients of the outputs' energy, which are as long as the gradients themselves."""


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
        if numbers.shared:
            sums = GradientSumUpload(numbers)
            return Uploads(sums, {"train": sums, "close": FisherSumUpload(numbers, IMPORTANCE)})
        visits = LocalVisits(numbers)
        train = UpdateUpload(numbers, visits)
        return Uploads(visits, {"train": train, "close": FisherUpload(numbers, IMPORTANCE)})

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


class MemoryAwareSection(GradientSection):
    """MAS."""

    strength: Positive = Field(1.0, description="weight of the penalty")


fedmas = GradientEntry(section=MemoryAwareSection(), method=lambda section: MemoryAware(strength=section.strength))
