"""What a client sends, as a differentiable function of its examples: batch gradients and several local steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.modules.functions import GradientOf, gradients_of, named_weights, require_no_statistics

if TYPE_CHECKING:
    import torch


def _vectorised(one: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> GradientOf:
    def rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        out: torch.Tensor = torch.func.vmap(one)(x, y)
        return out

    return rows


def _loss(module: torch.nn.Module) -> Any:
    def loss(named: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        logits: torch.Tensor = torch.func.functional_call(module, named, (x,))
        return torch.nn.functional.cross_entropy(logits, y)

    return loss


def _flat(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([part.reshape(-1) for part in parts.values()])


def batch_gradients_of(module: torch.nn.Module, weights: NDArray[np.float32]) -> GradientOf:
    """Mean gradient of a whole batch per row: x (m, B, ...), y (m, B) -> (m, d), differentiable in x.

    Raises:
        LossesInvalid: the weight vector does not fit the module, or the module keeps running statistics.
    """
    import torch

    require_no_statistics(module)
    named = named_weights(module, torch.tensor(weights, dtype=torch.float32))
    gradient = torch.func.grad(_loss(module))
    return _vectorised(lambda x, y: _flat(gradient(named, x, y)))


def clipped_batch_gradients_of(module: torch.nn.Module, weights: NDArray[np.float32], clip_norm: float) -> GradientOf:
    """Mean over a batch of clipped per-example gradients: x (m, B, ...), y (m, B) -> (m, d), differentiable in x.

    What DP-SGD sends before the noise; an adversary that knows the clipping norm matches this.

    Raises:
        InversionInvalid: the clipping norm is not a positive number.
        LossesInvalid: the weight vector does not fit the module.
    """
    if not clip_norm > 0:
        raise InversionInvalid(f"clip norm is {clip_norm}; give a positive number")
    each = gradients_of(module, weights)

    def rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        flat = each(x.flatten(0, 1), y.flatten())
        norms = flat.norm(dim=1, keepdim=True)
        clipped: torch.Tensor = flat * (clip_norm / norms.clamp_min(1e-30)).clamp_max(1.0)
        return clipped.reshape(*y.shape, -1).mean(dim=1)

    return rows


def local_updates_of(
    module: torch.nn.Module, weights: NDArray[np.float32], *, learning_rate: float, steps: int
) -> GradientOf:
    """Weights lost over `steps` local full-batch SGD steps: x (m, B, ...), y (m, B) -> (m, d), differentiable in x.

    The adversary knows learning rate and steps and unrolls them (Geiping et al. 2020, section 6; Dimitrov et al. 2022).
    With one step this is the learning rate times the batch gradient. Memory grows with the steps.

    Raises:
        InversionInvalid: the learning rate or the number of steps is not positive.
        LossesInvalid: the weight vector does not fit the module, or the module keeps running statistics.
    """
    import torch

    if not learning_rate > 0 or steps < 1:
        raise InversionInvalid(f"learning rate {learning_rate} and steps {steps} must be positive")
    require_no_statistics(module)
    start = named_weights(module, torch.tensor(weights, dtype=torch.float32))
    gradient = torch.func.grad(_loss(module))

    def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        now = start
        for _ in range(steps):
            step = gradient(now, x, y)
            now = {name: part - learning_rate * step[name] for name, part in now.items()}
        return _flat(start) - _flat(now)

    return _vectorised(one)
