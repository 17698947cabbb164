"""Gradient inversion: an example rebuilt from a gradient.

`analytic_linear` is exact for one example in front of a linear layer with bias (Phong et al. 2018).
`invert` matches gradients by cosine distance with a total-variation prior and Adam on the signs of its
gradient (Geiping et al. 2020, "Inverting gradients", section 4), for signals (channels, time), images
(channels, rows, columns) and flat vectors, on all targets and restarts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.modules.functions import GradientOf

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How long and how the optimiser looks.

    Attributes:
        steps: Adam steps, at least 1.
        learning_rate: in units of x; divided by 10 after 3/8, 5/8 and 7/8 of the steps.
        total_variation: weight of the mean absolute difference of neighbours along the trailing axes.
        restarts: random starts per target; the best by the attack's own objective is kept.
        start_scale: standard deviation of the random start, in units of x.
        seed: public seed of the random starts.
    """

    steps: int = 250
    learning_rate: float = 0.1
    total_variation: float = 1e-2
    restarts: int = 1
    start_scale: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = (self.learning_rate, self.total_variation, self.start_scale)
        if self.steps < 1 or self.restarts < 1 or not all(np.isfinite(v) and v >= 0 for v in numbers):
            raise InversionInvalid(
                f"steps {self.steps}, restarts {self.restarts}, learning rate, total variation and start "
                f"scale {numbers}: counts must be at least 1, the others finite and at least 0"
            )


@dataclass(frozen=True)
class Inversion:
    """The best reconstruction of each target.

    Attributes:
        x: float32 (m, *shape).
        objective: (m,), the attack's own objective at x: 1 - cosine + weighted total variation.
    """

    x: NDArray[np.float32]
    objective: NDArray[np.float64]


def analytic_linear(weight_gradient: NDArray[np.floating], bias_gradient: NDArray[np.floating]) -> NDArray[np.float64]:
    """The input of a linear layer from its gradients for one example: row j of dL/dW is (dL/db_j) x.

    Args:
        weight_gradient: (out, in), finite.
        bias_gradient: (out,), finite.

    Returns:
        (in,), from the row with the largest bias gradient. Exact for one example; for a sum over examples
        it is their mean weighted by dL/db_j.

    Raises:
        InversionInvalid: shapes differ, values are not finite, or every bias gradient is 0 (nothing flows
            back).
    """
    weight, bias = np.asarray(weight_gradient, dtype=np.float64), np.asarray(bias_gradient, dtype=np.float64)
    if (
        weight.ndim != 2
        or bias.shape != weight.shape[:1]
        or not (np.isfinite(weight).all() and np.isfinite(bias).all())
    ):
        raise InversionInvalid(
            f"weight gradient {weight.shape} and bias gradient {bias.shape} must be finite, (out, in) and (out,)"
        )
    if not bias.any():
        raise InversionInvalid("every bias gradient is 0, so the layer's input does not show; use invert instead")
    row = int(np.abs(bias).argmax())
    return np.asarray(weight[row] / bias[row])


def _total_variation(x: torch.Tensor, channels: int) -> torch.Tensor:
    """Mean absolute difference of neighbours along every axis after the channels' axis, (rows,). Flat x: 0."""
    total = x.new_zeros(len(x))
    for axis in range(channels + 1, x.ndim):
        if x.shape[axis] > 1:
            total = total + x.diff(dim=axis).abs().flatten(1).mean(dim=1)
    return total


def _objective(
    gradient_of: GradientOf, x: torch.Tensor, y: torch.Tensor, target: torch.Tensor, weight: float
) -> torch.Tensor:
    import torch

    cosine = torch.cosine_similarity(gradient_of(x, y), target, dim=1)
    return 1 - cosine + weight * _total_variation(x, y.ndim)


def invert(
    gradient_of: GradientOf,
    target: torch.Tensor,
    y: NDArray[np.integer],
    shape: tuple[int, ...],
    settings: InversionSettings | None = None,
) -> Inversion:
    """Reconstructs one example per row of `target`.

    Args:
        gradient_of: per-example gradients at the attacked model, differentiable in x
            (`modules.gradients_of`).
        target: (m, d), observed gradients; a row that is 0 carries no direction and gives an arbitrary
            result.
        y: (m,), the labels, assumed known (for one example they can be read off the last layer's gradient:
            Zhao et al. 2020, iDLG); (m, B) where a target is the gradient of a batch
            (`local_updates.batch_gradients_of`).
        shape: of one example, channels first; of a batch, (B, channels, ...).
        settings: defaults to `InversionSettings()`.

    Cosine distance says little about the amplitude of x: judge reconstructions by correlation.

    Raises:
        InversionInvalid: target is not a finite (m, d), or labels do not match.
    """
    import torch

    use = settings or InversionSettings()
    if target.ndim != 2 or len(y) != len(target) or not bool(target.isfinite().all()):
        raise InversionInvalid(
            f"target gradients have shape {tuple(target.shape)} and there are {len(y)} labels; "
            "give finite gradients (m, d) and m labels"
        )
    m = len(target)
    generator = torch.Generator().manual_seed(use.seed)
    x = (use.start_scale * torch.randn((use.restarts * m, *shape), generator=generator)).requires_grad_()
    labels = torch.as_tensor(np.asarray(y), dtype=torch.int64)
    labels = labels.repeat(use.restarts, *(1 for _ in labels.shape[1:]))
    observed = target.detach().repeat(use.restarts, 1)
    optimiser = torch.optim.Adam([x], lr=use.learning_rate)
    milestones = [use.steps * eighth // 8 for eighth in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=milestones, gamma=0.1)
    for _ in range(use.steps):
        value = _objective(gradient_of, x, labels, observed, use.total_variation).sum()
        (gradient,) = torch.autograd.grad(value, [x])
        x.grad = gradient.sign()
        optimiser.step()
        schedule.step()
    final = _objective(gradient_of, x, labels, observed, use.total_variation).detach().reshape(use.restarts, m)
    best = final.nan_to_num(nan=float("inf")).argmin(dim=0)
    chosen = x.detach().reshape(use.restarts, m, *shape)[best, torch.arange(m)]
    return Inversion(chosen.numpy().copy(), final[best, torch.arange(m)].numpy().astype(np.float64))
