"""The law of a per-example loss."""

from __future__ import annotations

from privacy.batches import Batch, ExampleLoss
from privacy.errors import ConformanceError


def check_example_loss(loss: ExampleLoss, classes: int, columns: int = 0, strata: int = 2) -> None:
    """Entry i of a loss and its gradient depend on row i alone, and an empty batch has no losses.

    The sensitivity of a clipped sum rests on it: a loss that, say, normalises by the batch lets one example move the
    gradients of all others.

    Raises:
        ConformanceError: a row reads another one, or the losses have another shape.
    """
    import torch

    drawn = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, classes, generator=drawn, dtype=torch.float64)
    extra = torch.randn(6, columns, generator=drawn, dtype=torch.float64)
    batch = Batch(outputs, torch.arange(6) % classes, extra, torch.arange(6) % strata)

    def gradients(rows: list[int]) -> torch.Tensor:
        part = outputs[rows].clone().requires_grad_()
        losses = loss(part, Batch(*(t[rows] for t in (batch.x, batch.y, batch.extra, batch.stratum))))
        if losses.shape != (len(rows),):
            raise ConformanceError(f"a loss of {len(rows)} examples has shape {tuple(losses.shape)}")
        # A constant loss has no graph.
        found = torch.autograd.grad(losses.sum(), part, allow_unused=True)[0] if losses.requires_grad else None
        return found if found is not None else torch.zeros_like(part)

    whole = gradients(list(range(6)))
    for row in range(6):
        others = [i for i in range(6) if i != row]
        if not torch.allclose(gradients([row])[0], whole[row]) or not torch.allclose(gradients(others), whole[others]):
            raise ConformanceError("a loss reads other rows of its batch, so clipping bounds nothing")
    gradients([])
