"""From a torch module to the plain functions that attacks take: losses and gradients of a weight vector.

A weight vector holds the module's parameters in the order of `named_parameters()`, each flattened row by
row, and behind them its running statistics (BatchNorm) in the order of `named_buffers()`, if it keeps any. The module
itself is never changed. Losses are those of evaluation mode; gradients of a module with running statistics are too,
with the statistics held fixed. Constant buffers are the module's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import LossesInvalid
from attacks.games.attack import Losses

if TYPE_CHECKING:
    import torch

GradientOf = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""(x (m, ...), y (m,)) -> flat gradients (m, d), one row per example, differentiable in x."""

_CHUNK = 512


def running_statistics(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The buffers that training moves (means and variances of BatchNorm), by name in the order of `named_buffers`."""
    moving = (".running_mean", ".running_var")
    return {name: buffer for name, buffer in module.named_buffers() if f".{name}".endswith(moving)}


def require_no_statistics(module: torch.nn.Module) -> None:
    """Raise LossesInvalid if the module keeps running statistics, which mix the examples of a batch."""
    moving = list(running_statistics(module))
    if moving:
        raise LossesInvalid(
            f"the module keeps running statistics ({', '.join(moving[:3])}), and this needs gradients in training "
            "mode, where BatchNorm mixes examples; use GroupNorm, or train shadow models by a recipe of your own"
        )


def flat_weights(module: torch.nn.Module) -> NDArray[np.float32]:
    """The module's parameters, then its running statistics, as one vector, float32 (d,)."""
    tensors = [*module.parameters(), *running_statistics(module).values()]
    # NumPy has no bfloat16.
    parts = [tensor.detach().cpu().float().numpy().reshape(-1) for tensor in tensors]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def named_weights(module: torch.nn.Module, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """The module's parameters, then its running statistics, by name, as views of a weight vector (d,).

    Raises:
        LossesInvalid: the vector has another length.
    """
    tensors = {**dict(module.named_parameters()), **running_statistics(module)}
    shapes = [(name, tensor.shape, tensor.numel()) for name, tensor in tensors.items()]
    total = sum(size for _, _, size in shapes)
    if weights.shape != (total,):
        raise LossesInvalid(
            f"the weight vector has shape {tuple(weights.shape)}, the module {total} parameters and running "
            f"statistics; give a vector ({total},), as modules.functions.flat_weights makes it"
        )
    parts = weights.split_with_sizes([size for _, _, size in shapes])
    return {name: part.view(shape) for (name, shape, _), part in zip(shapes, parts, strict=True)}


def label_losses(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropies in float64 that keep the precision of the logits, however sure the model is.

    The margin of the true label, its logit minus the log of the others' summed exponentials, is the log odds of
    Carlini et al. 2022 (section IV.C, their stable form); the loss is log(1 + exp(-margin)) and never rounds to 0
    below a margin of 700. From a loss that did, no log odds come back: `log_softmax` in float32 ends near 17.

    Args:
        logits: (..., classes), at least two classes.
        y: int64, the shape of the logits without their last axis.

    Returns:
        float64, shape of `y`.

    Raises:
        LossesInvalid: shapes do not fit, or a label is outside 0 to classes - 1.
    """
    import torch

    classes = logits.shape[-1] if logits.ndim else 0
    if logits.shape[:-1] != y.shape or classes < 2:
        raise LossesInvalid(
            f"logits have shape {tuple(logits.shape)} for labels {tuple(y.shape)}; give (..., classes) with at least "
            "two classes and one label for each row"
        )
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise LossesInvalid(
            f"{len(wrong)} labels such as {int(wrong[0])} are outside 0 to {classes - 1}, the classes of the model; "
            "leave these candidates out or number the labels as the model does"
        )
    wide, true = logits.double(), y.long().unsqueeze(-1)
    margin = wide.gather(-1, true).squeeze(-1) - wide.scatter(-1, true, -torch.inf).logsumexp(-1)
    return torch.logaddexp(margin.new_zeros(()), -margin).clamp_min(torch.finfo(torch.float64).tiny)


def losses_of(module: torch.nn.Module) -> Losses:
    """Cross-entropy losses of `module` at any weight vector.

    The function takes weights (d,), x float32 (n, ...) and y int64 (n,) and returns float64 (n,), by `label_losses`
    from float32 logits. Evaluated in chunks of 512 examples without gradients, in evaluation mode.

    Raises:
        LossesInvalid: raised by the function, where the vector's length is not the module's number of parameters and
            running statistics, or a label is none of its classes.
    """

    def losses(weights: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[Any]:
        import torch

        named = named_weights(module, torch.tensor(weights, dtype=torch.float32))
        was_training = module.training
        module.eval()
        try:
            with torch.no_grad():
                parts = [
                    label_losses(
                        torch.func.functional_call(module, named, (torch.tensor(x[start : start + _CHUNK]),)),
                        torch.tensor(y[start : start + _CHUNK]),
                    )
                    for start in range(0, len(x), _CHUNK)
                ]
        finally:
            module.train(was_training)
        return torch.cat(parts).numpy() if parts else np.zeros(0)

    return losses


def gradients_of(module: torch.nn.Module, weights: NDArray[np.float32], *, double: bool = False) -> GradientOf:
    """Per-example cross-entropy gradients of `module` at `weights`, differentiable in the examples.

    With `double` a copy of the module computes in float64, and so must the examples be.

    Rows are vectorised with `torch.func.vmap`, so reconstructing many targets at once costs less than one
    after the other (about half, from 16 targets on, for a 13k-parameter 1-D CNN).

    Raises:
        LossesInvalid: as `losses_of`.
    """
    import torch

    moving = running_statistics(module)
    if double or moving:
        module = copy.deepcopy(module)
    if double:
        module = module.double()
    if moving:
        # In training mode the statistics would be those of one example, and change.
        module = module.eval()
    both = named_weights(module, torch.tensor(weights, dtype=torch.float64 if double else torch.float32))
    fixed = {name: part for name, part in both.items() if name in moving}
    named = {name: part for name, part in both.items() if name not in moving}

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = torch.func.functional_call(module, {**parameters, **fixed}, (x[None],))
        return torch.nn.functional.cross_entropy(logits, y[None])

    def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gradient = torch.func.grad(loss)(named, x, y)
        return torch.cat([part.reshape(-1) for part in gradient.values()])

    def rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gradient: torch.Tensor = torch.func.vmap(one)(x, y)
        return gradient

    return rows
