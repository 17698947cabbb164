"""Losses of examples for continual learning: which outputs compete, distillation, stored logits.

All of them read one row of the batch and constants of the visit, so clipping each example's gradient bounds what one
example can do, whatever the terms weigh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy import Batch, ExampleLoss

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Head:
    """The public label set and, where the task is known at test time, which task each class belongs to."""

    classes: int
    groups: tuple[int, ...] | None = None

    def mask(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the outputs (B, C) with those of other tasks' classes at -inf; unchanged where there are no groups."""
        import torch

        if self.groups is None:
            return outputs
        group = torch.tensor(self.groups, device=outputs.device)
        return outputs.masked_fill(group[labels].unsqueeze(1) != group.unsqueeze(0), -torch.inf)

    def cross_entropy(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return each example's cross-entropy over the classes that compete with its own."""
        import torch

        return torch.nn.functional.cross_entropy(self.mask(outputs, batch.y), batch.y, reduction="none")

    def teacher(self, batch: Batch, number: int) -> torch.Tensor:
        """Return the outputs (B, C) of the visit's teacher `number`, from the batch's columns."""
        return batch.extra[:, number * self.classes : (number + 1) * self.classes]


def distillation(
    outputs: torch.Tensor, teacher: torch.Tensor, classes: tuple[int, ...], temperature: float
) -> torch.Tensor:
    """Return T^2 times the cross-entropy of a teacher's softened outputs over `classes` with the network's, (B,).

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2; Li and Hoiem 2016 (arXiv 1606.09282), equations 2-3.
    No classes: zeros.
    """
    import torch

    if not classes:
        return outputs.new_zeros(len(outputs))
    chosen = list(classes)
    target = torch.softmax(teacher[:, chosen] / temperature, dim=1)
    student = torch.log_softmax(outputs[:, chosen] / temperature, dim=1)
    return -(target * student).sum(1) * temperature**2


def grouped_distillation(
    outputs: torch.Tensor, teacher: torch.Tensor, head: Head, classes: tuple[int, ...], temperature: float
) -> torch.Tensor:
    """Return the distillation over `classes`, task by task where the task is known at test time, summed over tasks."""
    if head.groups is None:
        return distillation(outputs, teacher, classes, temperature)
    losses = outputs.new_zeros(len(outputs))
    for group in sorted({head.groups[c] for c in classes}):
        own = tuple(c for c in classes if head.groups[c] == group)
        losses = losses + distillation(outputs, teacher, own, temperature)
    return losses


def where_memory(on_memory: ExampleLoss, on_current: ExampleLoss) -> ExampleLoss:
    """Return the loss that is `on_memory` for examples of the memory and `on_current` for the others."""
    import torch

    def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.where(batch.stratum == 1, on_memory(outputs, batch), on_current(outputs, batch))

    return loss
