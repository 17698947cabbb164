"""Ghost clipping through Opacus: norms without per-example gradients, then one weighted backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from privacy.batches import Batch, ExampleLoss
from privacy.clipping import ClippingState
from privacy.errors import UnsuitableModel

if TYPE_CHECKING:
    import torch


def accumulate_ghost(
    module: Any, parameters: Sequence[Any], batch: Batch, loss: ExampleLoss, state: ClippingState
) -> None:
    """Leave the sum of clipped gradients in every parameter's `summed_grad` (Li et al. 2022, arXiv 2110.05679).

    module: Opacus's GradSampleModuleFastGradientClipping with loss_reduction "sum". An example whose gradient is not
    finite counts as zero; an empty batch gives zeros.

    Raises:
        UnsuitableModel: the forward pass leaves out a parameter, or folds another axis into the batch.
    """
    import torch

    if len(batch) == 0:
        for parameter in parameters:
            parameter.summed_grad = torch.zeros_like(parameter)
        state.nothing()
        return
    losses, norms = _norms(module, parameters, batch, loss)
    finite = torch.isfinite(norms).all(0)
    if not bool(finite.all()):
        # Their inputs may hold NaN, and 0 times NaN is NaN: the batch is taken again with zeros in their place.
        shape = (-1, *[1] * (batch.x.ndim - 1))
        clean = torch.where(finite.view(shape), batch.x, torch.zeros_like(batch.x))
        losses, norms = _norms(module, parameters, replace(batch, x=clean), loss)
    factors = state.factors(torch.linalg.vector_norm(norms, dim=0, keepdim=True), batch.weight)[0]
    factors = torch.where(finite, factors, torch.zeros_like(factors))
    module.disable_hooks()
    try:
        torch.autograd.backward((losses * factors).sum())
    finally:
        module.enable_hooks()
    for parameter in parameters:
        parameter.summed_grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def norms_in_double(samplers: Mapping[type, Callable[..., Any]]) -> dict[type, Callable[..., Any]]:
    """Return Opacus's norm samplers with their products in double precision.

    A norm is found there as a sum of products that may cancel: with a large offset common to all positions of an
    example, in single precision nothing of it is right. What the second backward pass releases is still made in the
    weights' own precision, so with offsets beyond 10^4 standard deviations a step may exceed the clip by that rounding.
    """

    def doubled(sampler: Callable[..., Any]) -> Callable[..., Any]:
        def norms(layer: Any, activations: Any, slopes: torch.Tensor) -> Any:
            wide = [a.double() if a.is_floating_point() else a for a in activations]
            return {p: n.to(p.dtype) for p, n in sampler(layer, wide, slopes.double()).items()}

        return norms

    return {kind: doubled(sampler) for kind, sampler in samplers.items()}


def _norms(
    module: Any, parameters: Sequence[Any], batch: Batch, loss: ExampleLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses (B,) with their graph, and the norm of each example's gradient in each tensor, (L, B)."""
    import torch

    for parameter in parameters:
        parameter._norm_sample = None
    losses = loss(module(batch.x), batch)
    torch.autograd.backward(losses.sum(), retain_graph=True)
    found = [getattr(p, "_norm_sample", None) for p in parameters]
    missing = sum(norm is None for norm in found)
    if missing:
        raise UnsuitableModel(
            f"{missing} of {len(parameters)} parameters have no per-example gradient: the forward pass does not call "
            "their layer; freeze them or call the layer itself"
        )
    rows = {len(norm) for norm in found if norm is not None}
    if rows != {len(batch)}:
        raise UnsuitableModel(
            f"a batch of {len(batch)} examples has {sorted(rows)} rows in the model's layers: an example is not one "
            "row; keep the first axis for examples"
        )
    for parameter in parameters:
        parameter.grad = None
    return losses, torch.stack([norm.reshape(-1) for norm in found if norm is not None])
