"""What must hold for every example to have one gradient of its own: checks on the model and on each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privacy.errors import UnsuitableModel

if TYPE_CHECKING:
    import torch


def refuse_batch_statistics(model: torch.nn.Module) -> None:
    """Refuse BatchNorm in every form, and InstanceNorm with running statistics.

    Opacus looks at trainable layers only and lets BatchNorm(affine=False) or a frozen one pass.

    Raises:
        UnsuitableModel: names the layer.
    """
    from torch.nn.modules import batchnorm, instancenorm

    for name, layer in model.named_modules():
        keeps = isinstance(layer, instancenorm._InstanceNorm) and layer.track_running_stats
        if isinstance(layer, batchnorm._BatchNorm) or keeps:
            raise UnsuitableModel(
                f"layer {name or type(layer).__name__!r} ({type(layer).__name__}) uses statistics of the batch, so "
                "no example has a gradient of its own; replace it (GroupNorm instead of BatchNorm)"
            )


def bound_each_example(parameters: Sequence[torch.nn.Parameter], examples: int) -> None:
    """Check that each example has one gradient, and set those with a non-finite entry to zero.

    NaN times a clipping factor stays NaN; and where a model folds another axis into the batch, Opacus would clip
    parts of an example one by one, so that the whole weighs more than the clipping norm.

    Raises:
        UnsuitableModel: a parameter has no per-example gradient, or one row is not one example.
    """
    import torch

    samples: list[torch.Tensor | None] = [getattr(p, "grad_sample", None) for p in parameters]
    found: list[torch.Tensor] = [s for s in samples if s is not None]
    if len(found) < len(samples):
        raise UnsuitableModel(
            f"{len(samples) - len(found)} of {len(samples)} parameters have no per-example gradient: the forward pass "
            "does not call their layer; freeze them or call the layer itself"
        )
    rows = {len(s) for s in found}
    if rows != {examples}:
        raise UnsuitableModel(
            f"a batch of {examples} examples has {sorted(rows)} rows in the model's layers: an example is not one row; "
            "keep the first axis for examples"
        )
    finite = [torch.isfinite(s).flatten(1).all(1) if s.ndim > 1 else torch.isfinite(s) for s in found]
    broken = ~torch.stack(finite).all(0)
    if bool(broken.any()):
        for sample in found:
            sample[broken] = 0.0


def reset_hooks(module: torch.nn.Module) -> None:
    """Forget what a visit that failed half-way left in Opacus's hooks; without this every later one fails too."""
    for layer in module.modules():
        if hasattr(layer, "activations"):
            del layer.activations
    for parameter in module.parameters():
        if hasattr(parameter, "_current_grad_sample"):
            del parameter._current_grad_sample
        if hasattr(parameter, "_forward_counter"):
            parameter._forward_counter = 0
        if hasattr(parameter, "_norm_sample"):
            del parameter._norm_sample
