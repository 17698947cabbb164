"""Ghost clipping through Opacus: norms without per-example gradients, then one weighted backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


#: Half a unit in the last place of single precision.
_UNIT = 2.0**-24


def safe_norms(module: Any) -> dict[type, Callable[..., Any]]:
    """Return norm samplers for `module` (of Opacus's fast clipping) whose norms bound what the second pass releases.

    Opacus finds a norm as a sum of products in single precision. Where an example's positions have a large offset in
    common those cancel, nothing of the norm is right, and the clipped gradient exceeds its bound many times. Here the
    products are in double precision, and what the second backward pass may add by rounding is added: T units of
    |activations| |slopes| for a gradient summed over T positions.
    """
    from torch import nn

    whole = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
    samplers = {kind: _norms_of(module.GRAD_SAMPLERS[kind]) for kind in whole if kind in module.GRAD_SAMPLERS}
    return {kind: _in_double(sampler) for kind, sampler in {**samplers, **module.NORM_SAMPLERS}.items()}


def _norms_of(sampler: Callable[..., Any]) -> Callable[..., Any]:
    def norms(layer: Any, activations: Any, slopes: torch.Tensor) -> Any:
        return {p: g.flatten(1).norm(dim=1) for p, g in sampler(layer, activations, slopes).items()}

    return norms


def _in_double(sampler: Callable[..., Any]) -> Callable[..., Any]:
    def norms(layer: Any, activations: Any, slopes: torch.Tensor) -> Any:
        wide = [a.double() if a.is_floating_point() else a for a in activations]
        steep = slopes.double()
        # Tokens of an embedding are a one each.
        size = wide[0].flatten(1).norm(dim=1) if wide[0].is_floating_point() else wide[0][0].numel() ** 0.5
        positions = steep[0].numel() / steep.shape[-1 if steep.ndim < 4 and not _channels_first(layer) else 1]
        rounding = positions * _UNIT * size * steep.flatten(1).norm(dim=1) if positions > 1 else 0.0
        return {p: (n + rounding).to(p.dtype) for p, n in sampler(layer, wide, steep).items()}

    return norms


def _channels_first(layer: Any) -> bool:
    from torch import nn

    return not isinstance(layer, nn.Linear | nn.LayerNorm | nn.Embedding)


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
