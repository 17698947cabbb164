"""Distillation from older networks: the loss of an example, so its gradient is clipped and costs nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from privacy import Batch, ExampleLoss
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.losses import Head, grouped_distillation
from secure_fcl.strategies.gradient.method import Plain, Received, own_or
from secure_fcl.strategies.section import GradientSection, Positive, Probability

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LwF(Plain):
    """FedLwF: cross-entropy + weight * distillation from the model after the last task, on current data.

    Li and Hoiem 2016 (arXiv 1606.09282, algorithm 1); the old model is the server's, hence public. The classes of
    earlier slots are distilled. `balanced` weighs the two terms 1/n and 1 - 1/n after n tasks instead (van de Ven et
    al. 2022, section "LwF"); `per_task` multiplies `weight` by n - 1, one term for each earlier task, where all tasks
    share their outputs (the same authors' domain-incremental runs, with weight 1 / temperature^2).
    """

    teachers: int = 1
    weight: float = 1.0
    temperature: float = 2.0
    balanced: bool = False
    per_task: bool = False

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"old": weights.copy()}

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return (state["old"],)

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        share = 1.0 / (step.slot + 1)
        new, old = (share, 1.0 - share) if self.balanced else (1.0, self.weight * (step.slot if self.per_task else 1))

        def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            distilled = grouped_distillation(outputs, head.teacher(batch, 0), head, step.seen, self.temperature)
            return new * head.cross_entropy(outputs, batch) + old * distilled

        return loss

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {"old": received.after.copy() if step.last else state["old"]}


@dataclass(frozen=True, kw_only=True)
class TwoTeachers(Plain):
    """FLwF-2T: cross-entropy, distillation from the client's own model after the last task, and from the server's.

    Usmanova et al. 2021 (arXiv 2109.04197, section 3): alpha * CE + beta * KD(own past model) + (1 - alpha - beta) *
    KD(server's model at the start of the round). The own model is private by its own noise and never leaves the device.
    With noise shared inside the sum the server's model is the student and no client has its own, so both terms are
    zero.
    """

    teachers: int = 2
    alpha: float = 0.5
    beta: float = 0.4
    temperature: float = 2.0

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {"past": (size,)}

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return (own_or(state["weights"], carried["past"]) if carried else state["weights"], state["weights"])

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        if step.slot == 0:
            return head.cross_entropy

        def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            own, server = (
                grouped_distillation(outputs, head.teacher(batch, i), head, step.seen, self.temperature) for i in (0, 1)
            )
            return self.alpha * head.cross_entropy(outputs, batch) + self.beta * own + self.rest * server

        return loss

    @property
    def rest(self) -> float:
        """Weight of the server's model."""
        return 1.0 - self.alpha - self.beta

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.carry`."""
        return {"past": local if step.last else carried["past"]}


class DistillationSection(GradientSection):
    """FedLwF."""

    weight: Positive = Field(1.0, description="weight of the distillation")
    temperature: Positive = Field(2.0, description="softens both networks' outputs")
    balanced: bool = Field(False, description="weigh the terms 1/n and 1 - 1/n after n tasks instead")
    per_task: bool = Field(
        False, description="weight times the number of earlier tasks: one term each, for outputs that all tasks share"
    )

    @model_validator(mode="after")
    def _one_weighing(self) -> Self:
        if self.balanced and self.per_task:
            raise ValueError("balanced and per_task weigh the distillation in two ways; choose one")
        return self


class TwoTeachersSection(GradientSection):
    """FLwF-2T."""

    alpha: Probability = Field(0.5, description="weight of the cross-entropy")
    beta: Probability = Field(0.4, description="weight of the own old model; the rest is the server's")
    temperature: Positive = Field(2.0, description="softens the networks' outputs")

    @model_validator(mode="after")
    def _weights_leave_a_rest(self) -> Self:
        if self.alpha + self.beta > 1.0:
            raise ValueError(f"alpha + beta = {self.alpha + self.beta:g} is above 1; lower one of them")
        return self


fedlwf = GradientEntry(
    section=DistillationSection(),
    method=lambda section: LwF(
        weight=section.weight, temperature=section.temperature, balanced=section.balanced, per_task=section.per_task
    ),
)
flwf2t = GradientEntry(
    section=TwoTeachersSection(),
    method=lambda section: TwoTeachers(alpha=section.alpha, beta=section.beta, temperature=section.temperature),
)
