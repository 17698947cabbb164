"""SGD with momentum and Adam on one flat vector, step by step as `torch.optim` does it."""

from __future__ import annotations

import torch

from privacy.dpsgd import DpSgdPlan

#: Adam's constants (Kingma and Ba 2015, section 2), torch's defaults.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class FlatOptimizer:
    """The optimizer of one model during one visit; it starts from zero, or goes on with moments given to it.

    moments: flat, `plan.moments(size)`, laid out as in `privacy.moments`; every step changes it in place.
    """

    def __init__(self, plan: DpSgdPlan, size: int, dtype: torch.dtype, moments: torch.Tensor | None = None) -> None:
        self._plan = plan
        whole = torch.zeros(plan.moments(size), dtype=dtype) if moments is None else moments
        count = 2 if plan.optimizer == "adam" else int(plan.momentum > 0.0)
        self._moments = [whole[number * size : (number + 1) * size] for number in range(count)]
        # Adam's number of steps, an empty view for the others.
        self._told = whole[count * size :]
        self._steps = int(self._told.sum())
        # Adam's step is made in one vector: fresh ones for each term cost several times its arithmetic.
        self._room = torch.empty(size if plan.optimizer == "adam" else 0, dtype=dtype)

    def step(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return what is added to the weights for a mean gradient, flat (P,); it may be overwritten by the next."""
        self._steps += 1
        self._told.fill_(self._steps)
        if self._plan.optimizer == "adam":
            return self._adam(gradient)
        if self._moments:
            gradient = self._moments[0].mul_(self._plan.momentum).add_(gradient)
        return gradient * -self._plan.learning_rate

    def _adam(self, gradient: torch.Tensor) -> torch.Tensor:
        first, second = self._moments
        first.mul_(BETA1).add_(gradient, alpha=1.0 - BETA1)
        second.mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
        scale = torch.div(second, 1.0 - BETA2**self._steps, out=self._room).sqrt_().add_(EPSILON)
        step = torch.div(first, scale, out=self._room)
        return step.mul_(-self._plan.learning_rate / (1.0 - BETA1**self._steps))
