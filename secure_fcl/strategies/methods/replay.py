"""Replay beyond cross-entropy on the memory: stored logits, and the memory's gradient as a constraint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from privacy import AfterNoise, Batch, ExampleLoss, Projection
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.losses import Head, where_memory
from secure_fcl.strategies.gradient.method import Beside, Plain, Received
from secure_fcl.strategies.section import GradientSection, Positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DarkReplay(Plain):
    """DER++: on the memory, alpha * |outputs - stored outputs|^2 / classes + beta * cross-entropy.

    Buzzega et al. 2020 (arXiv 2004.07211, equation 6). The outputs are stored when a task closes, from the server's
    model; they lie on the device and count as its storage. One sample of the memory serves both terms.
    """

    memory: bool = True
    stored: bool = True
    alpha: float = 0.5
    beta: float = 0.5

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""

        def on_memory(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            apart = (outputs - head.teacher(batch, 0)).square().mean(1)
            return self.alpha * apart + self.beta * head.cross_entropy(outputs, batch)

        return where_memory(on_memory, head.cross_entropy)


@dataclass(frozen=True)
class AveragedGradientMemory(Plain):
    """Fed-A-GEM: a gradient that opposes the mean gradient of all memories loses that component.

    Dai et al. 2024 (arXiv 2409.01585, Fed-A-GEM), after A-GEM (Chaudhry et al. 2019, arXiv 1812.00420, equation 11).
    The reference is a sum over clients and a release of its own, charged to the examples in memory; it is applied to
    noisy gradients, which costs nothing. With local noise clients use the reference of the round before.
    """

    memory: bool = True
    beside: frozenset[Beside] = frozenset({"reference"})

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"reference": np.zeros_like(weights)}

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        import torch

        return Projection(torch.from_numpy(state["reference"]))

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {"reference": received.means["reference"]}


class DarkSection(GradientSection):
    """DER++."""

    alpha: Positive = Field(0.5, description="weight of the distance to the stored outputs")
    beta: Positive = Field(0.5, description="weight of the cross-entropy on the memory")


class GradientMemorySection(GradientSection):
    """Fed-A-GEM."""


derpp = GradientEntry(section=DarkSection(), method=lambda section: DarkReplay(alpha=section.alpha, beta=section.beta))
fedagem = GradientEntry(section=GradientMemorySection(), method=lambda section: AveragedGradientMemory())
