"""FedNTD: distillation from the server's model on the classes that an example is not of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from privacy import Batch, ExampleLoss
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Plain
from secure_fcl.strategies.section import GradientSection, Positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class NotTrue(Plain):
    """FedNTD: cross-entropy + weight * distillation of the server's outputs on all classes but the example's own.

    Lee et al. 2022 (NeurIPS, arXiv 2106.03097, section "Federated Not-True Distillation"): a client forgets what its
    own data does not hold, so that the server's view of the other classes is kept, and the true one is left to the
    labels. Where the test names the task, only its classes compete. A function of one example and of released weights:
    no charge beyond the steps. With noise shared inside the sum the server's model is the student, and the term zero.
    """

    teachers: int = 1
    weight: float = 1.0
    temperature: float = 1.0

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return (state["weights"],)

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        import torch

        def others(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            own = torch.nn.functional.one_hot(batch.y, head.classes).bool()
            # Finite, unlike -inf, whose product with a probability of zero has no gradient.
            return (head.mask(outputs, batch.y) / self.temperature).masked_fill(own, -torch.inf).clamp(min=-1e9)

        def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            taught = torch.softmax(others(head.teacher(batch, 0), batch), dim=1)
            said = torch.log_softmax(others(outputs, batch), dim=1)
            distilled = -(taught * said).sum(1) * self.temperature**2
            return head.cross_entropy(outputs, batch) + self.weight * distilled

        return loss


class NotTrueSection(GradientSection):
    """FedNTD."""

    weight: Positive = Field(1.0, description="weight of the distillation")
    temperature: Positive = Field(1.0, description="softens both networks' outputs")


fedntd = GradientEntry(
    section=NotTrueSection(), method=lambda section: NotTrue(weight=section.weight, temperature=section.temperature)
)
