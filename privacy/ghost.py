"""Ghost clipping through Opacus: norms without per-example gradients, then one weighted backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from privacy.batches import Batch, ExampleLoss
from privacy.clipping import ClippingState
from privacy.errors import UnsuitableModel
from privacy.per_example import whole_network_gradients

if TYPE_CHECKING:
    import torch

    from privacy.round_off import RoundOff


#: Round-off over norm beyond which an example's gradient is taken itself; below it the norm is raised by the round-off.
UNSURE = 0.01
#: Examples whose own gradients are held at once.
_AT_ONCE = 16


def accumulate_ghost(
    module: Any,
    bare: torch.nn.Module,
    parameters: Sequence[Any],
    batch: Batch,
    loss: ExampleLoss,
    state: ClippingState,
    round_off: RoundOff,
) -> None:
    """Leave the sum of clipped gradients in every parameter's `summed_grad` (Li et al. 2022, arXiv 2110.05679).

    module: Opacus's GradSampleModuleFastGradientClipping with loss_reduction "sum", its samplers watched by
    `round_off`; bare: the same network without hooks. An example whose gradient is not finite counts as zero; an empty
    batch gives zeros.

    *Guarantee*: a norm is raised by a bound of what rounding may add to the gradient that is released. Where that is
    more than a hundredth of the norm (terms cancel that share an offset), the example's own gradient is computed,
    clipped and released, as by hooks.

    Raises:
        UnsuitableModel: the forward pass leaves out a parameter, or folds another axis into the batch.
    """
    import torch

    if len(batch) == 0:
        for parameter in parameters:
            parameter.summed_grad = torch.zeros_like(parameter)
        state.nothing()
        return
    losses, norms = _norms(module, parameters, batch, loss, round_off)
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        # Their inputs may hold NaN, and 0 times NaN is NaN: the batch is taken again with zeros in their place.
        shape = (-1, *[1] * (batch.x.ndim - 1))
        batch = replace(batch, x=torch.where(finite.view(shape), batch.x, torch.zeros_like(batch.x)))
        losses, norms = _norms(module, parameters, batch, loss, round_off)
    off = torch.zeros_like(norms) if round_off.bound is None else round_off.bound.to(norms.dtype)
    unsure = torch.nonzero((off > UNSURE * norms) & finite).flatten()
    raised = norms + off
    parts = torch.split(unsure, _AT_ONCE) if len(unsure) else ()
    own = [_own_gradients(bare, parameters, batch, part, loss) for part in parts]
    if own:
        raised[unsure] = torch.cat([torch.linalg.vector_norm(rows.double(), dim=1) for rows in own]).to(raised.dtype)
    factors = state.factors(raised.unsqueeze(0), batch.weight)[0]
    factors = torch.where(finite, factors, torch.zeros_like(factors)).to(losses.dtype)
    apart = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype, device=factors.device)
    for part, rows in zip(parts, own, strict=True):
        apart += factors[part] @ rows
    factors[unsure] = 0.0
    module.disable_hooks()
    try:
        torch.autograd.backward((losses * factors).sum())
    finally:
        module.enable_hooks()
    for parameter, alone in zip(parameters, torch.split(apart, [p.numel() for p in parameters]), strict=True):
        together = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.summed_grad = together + alone.view_as(parameter)


def _own_gradients(
    bare: torch.nn.Module, parameters: Sequence[Any], batch: Batch, part: torch.Tensor, loss: ExampleLoss
) -> torch.Tensor:
    """Return the gradients (n, P) of the examples that `part` numbers."""
    import torch

    weight = None if batch.weight is None else batch.weight[part]
    chosen = Batch(batch.x[part], batch.y[part], batch.extra[part], batch.stratum[part], weight)
    whole_network_gradients(bare, parameters, chosen, loss)
    rows = [p.grad_sample.flatten(1).detach() for p in parameters]
    for parameter in parameters:
        parameter.grad_sample = None
    return torch.nan_to_num(torch.cat(rows, dim=1), nan=0.0, posinf=0.0, neginf=0.0)


def norms_in_double(samplers: Mapping[type, Callable[..., Any]]) -> dict[type, Callable[..., Any]]:
    """Return Opacus's norm samplers with their products in double precision.

    A norm is found there as a sum of products that may cancel: with a large offset common to all positions of an
    example, in single precision nothing of it is right.
    """

    def doubled(sampler: Callable[..., Any]) -> Callable[..., Any]:
        def norms(layer: Any, activations: Any, slopes: torch.Tensor) -> Any:
            wide = [a.double() if a.is_floating_point() else a for a in activations]
            return {p: n.to(p.dtype) for p, n in sampler(layer, wide, slopes.double()).items()}

        return norms

    return {kind: doubled(sampler) for kind, sampler in samplers.items()}


def _norms(
    module: Any, parameters: Sequence[Any], batch: Batch, loss: ExampleLoss, round_off: RoundOff
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses (B,) with their graph, and the norm of each example's gradient, (B,)."""
    import torch

    round_off.reset()
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
    return losses, torch.linalg.vector_norm(torch.stack([n.reshape(-1) for n in found if n is not None]), dim=0)
