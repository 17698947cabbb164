"""What must hold for every example to have one gradient of its own: checks on the model and on each batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from privacy.batches import Batch, ExampleLoss
from privacy.errors import UnsuitableModel

if TYPE_CHECKING:
    import torch


@contextmanager
def inputs_without_gradients() -> Iterator[None]:
    """Keep torch from saying that a first layer's inputs need no gradient: Opacus's hooks make it worth a line."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        yield


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


def whole_network_gradients(
    model: torch.nn.Module, parameters: Sequence[torch.nn.Parameter], batch: Batch, loss: ExampleLoss
) -> None:
    """Leave every example's gradient in `grad_sample`, by functorch through the whole network.

    Slower than hooks, and right wherever an output row depends on its own input row alone: for tied weights, for a
    weight that its layer and something else use, for any padding.

    Args:
        model: without hooks; its own weights play no part.
        parameters: the trainable ones, in the model's order; where the gradients are taken, and left.
        batch: not empty.
        loss: of each example.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    held = dict(model.named_parameters())
    names = [name for name, p in held.items() if p.requires_grad]
    trained = {name: p.detach() for name, p in zip(names, parameters, strict=True)}
    rest = {name: p.detach() for name, p in held.items() if name not in trained} | dict(model.named_buffers())
    with torch.no_grad():
        outputs = functional_call(model, (trained, rest), (batch.x,))
    # What flows into the outputs; the loss itself need not be one that functorch can take.
    ends = outputs.requires_grad_()
    (slopes,) = torch.autograd.grad(loss(ends, batch).sum(), ends)

    def of_one(weights: dict[str, torch.Tensor], x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = functional_call(model, (weights, rest), (x.unsqueeze(0),))
        return (outputs[0] * slope).sum()

    found = vmap(grad(of_one), in_dims=(None, 0, 0), randomness="different")(trained, batch.x, slopes)
    for name, parameter in zip(names, parameters, strict=True):
        # Where Opacus's hooks leave theirs.
        setattr(parameter, "grad_sample", found[name])  # noqa: B010


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
