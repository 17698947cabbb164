"""A `torch.nn.Sequential` as a network of K stacked models, and its clipped gradient sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from privacy.batches import Batch, ExampleLoss, cross_entropy
from privacy.errors import UnsuitableModel
from privacy.stacked.layers import (
    ConvLayer,
    EmbeddingLayer,
    GroupNormLayer,
    Layer,
    LayerNormLayer,
    LinearLayer,
    Parameters,
    Trace,
)

#: Layers without parameters that treat every example alone and draw nothing.
_PLAIN = (
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.Tanh, nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU),
    *(nn.LeakyReLU, nn.Softplus, nn.Hardtanh, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
)


@dataclass(frozen=True)
class StackedNetwork:
    """The layers of one architecture, in order; a module where a layer has no parameters.

    Built by `from_module`; weights are flat vectors in the order of `module.parameters()`.
    """

    layers: tuple[Layer | nn.Module, ...]

    @staticmethod
    def from_module(model: nn.Module) -> StackedNetwork:
        """Return the stacked form of a (nested) Sequential of supported layers.

        Raises:
            UnsuitableModel: a layer is not supported, or a parameter is frozen or shared; use `DpSgdTrainer`.
        """
        parameters = list(model.parameters())
        if not parameters or not all(p.requires_grad for p in parameters):
            raise UnsuitableModel("stacked training needs at least one parameter and none frozen; use DpSgdTrainer")
        found = tuple(_translate(layer) for layer in _leaves(model))
        held = [shape for layer in found if not isinstance(layer, nn.Module) for shape in layer.shapes]
        if held != [p.shape for p in parameters]:
            raise UnsuitableModel("a parameter is shared or lies outside the layers; use DpSgdTrainer")
        return StackedNetwork(found)

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Shapes of one model's parameters, in order."""
        return tuple(shape for layer in self.layers if not isinstance(layer, nn.Module) for shape in layer.shapes)

    def views(self, flat: torch.Tensor) -> Parameters:
        """Return the parameters (K, *shape) as views of `flat` (K, P)."""
        sizes = [shape.numel() for shape in self.shapes]
        return [
            part.view(len(flat), *shape)
            for part, shape in zip(torch.split(flat, sizes, dim=1), self.shapes, strict=True)
        ]

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, list[torch.Tensor], list[Trace]]:
        """Return outputs (K, B, ...), and each parametrised layer's output and trace, for inputs (K, B, ...)."""
        outputs: list[torch.Tensor] = []
        traces: list[Trace] = []
        rest = iter(parameters)
        for layer in self.layers:
            if isinstance(layer, nn.Module):
                merged = layer(x.flatten(0, 1))
                x = (
                    merged.view(*x.shape[:2], *merged.shape[1:])
                    if merged.is_contiguous()
                    else merged.unflatten(0, x.shape[:2])
                )
                continue
            x, trace = layer.forward(x, [next(rest) for _ in layer.shapes])
            # The first output has no graph of its own: the weights ask for no gradient, their sums are made by hand.
            if not x.requires_grad:
                x.requires_grad_()
            outputs.append(x)
            traces.append(trace)
        return x, outputs, traces

    def clipped_sums(
        self,
        flat: torch.Tensor,
        batch: Batch,
        present: torch.Tensor,
        clipping_norm: float,
        loss: ExampleLoss = cross_entropy,
    ) -> list[torch.Tensor]:
        """Return per parameter (K, *shape) the sum of the examples' gradients clipped to `clipping_norm`.

        flat: weights (K, P); batch: its tensors with two leading axes (K, B); present: bool (K, B), False where a
        batch is padded.
        Clips by the factor min(1, clipping_norm / (norm + 1e-6)), as Opacus does; an example whose gradient is not
        finite counts as zero.
        """
        if batch.y.shape[1] == 0:
            return [flat.new_zeros(len(flat), *shape) for shape in self.shapes]
        pairs, factors = self._clipped(flat, batch, present, clipping_norm, loss)
        if batch.weight is not None:
            factors = factors * batch.weight
        return [part for trace, g in pairs for part in trace.sums(g, factors)]

    def clipped_squares(
        self,
        flat: torch.Tensor,
        batch: Batch,
        present: torch.Tensor,
        clipping_norm: float,
        loss: ExampleLoss = cross_entropy,
    ) -> list[torch.Tensor]:
        """Return per parameter (K, *shape) the sum of the squared entries of clipped gradients; see `clipped_sums`.

        The strata's weights play no part.
        """
        if batch.y.shape[1] == 0:
            return [flat.new_zeros(len(flat), *shape) for shape in self.shapes]
        pairs, factors = self._clipped(flat, batch, present, clipping_norm, loss)
        return [part for trace, g in pairs for part in trace.square_sums(g, factors)]

    def _clipped(
        self, flat: torch.Tensor, batch: Batch, present: torch.Tensor, clipping_norm: float, loss: ExampleLoss
    ) -> tuple[list[tuple[Trace, torch.Tensor]], torch.Tensor]:
        """Return each layer's trace with its output's gradient, and each example's clipping factor (K, B)."""
        out, outputs, traces = self.forward(batch.x, self.views(flat))
        losses = loss(out.flatten(0, 1), batch.flattened())
        # Not multiplied by the mask: 0 times NaN is NaN.
        grads = torch.autograd.grad(losses.masked_select(present.flatten()).sum(), outputs)
        squares = torch.stack([trace.squared_norms(g).double() for trace, g in zip(traces, grads, strict=True)]).sum(0)
        finite = torch.isfinite(squares)
        if not bool(finite[present].all()):
            # Their inputs may hold NaN as well, so the batch is taken again without them.
            x = batch.x
            clean = torch.where(finite.view(*finite.shape, *[1] * (x.ndim - 2)), x, torch.zeros_like(x))
            return self._clipped(flat, replace(batch, x=clean), present & finite, clipping_norm, loss)
        factors = (clipping_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0).to(flat.dtype)
        return list(zip(traces, grads, strict=True)), factors


def _leaves(model: nn.Module) -> Iterator[nn.Module]:
    if isinstance(model, nn.Sequential):
        for child in model:
            yield from _leaves(child)
    else:
        yield model


def _translate(layer: nn.Module) -> Layer | nn.Module:
    shapes = tuple(p.shape for p in layer.parameters())
    match layer:
        case nn.Linear():
            return LinearLayer(shapes)
        case nn.Conv1d() | nn.Conv2d() if _is_simple(layer):
            return ConvLayer(shapes, tuple(layer.stride), tuple(int(p) for p in layer.padding))
        case nn.LayerNorm() if len(shapes) == 2:
            return LayerNormLayer(shapes, layer.eps)
        case nn.GroupNorm() if len(shapes) == 2:
            return GroupNormLayer(shapes=shapes, groups=layer.num_groups, eps=layer.eps)
        case nn.Embedding() if layer.padding_idx is None and layer.max_norm is None and not layer.scale_grad_by_freq:
            return EmbeddingLayer(shapes)
        case _ if isinstance(layer, _PLAIN):
            return _not_in_place(layer)
        case _:
            raise UnsuitableModel(f"layer {layer} cannot be stacked; use DpSgdTrainer, or one of the layers it lists")


def _is_simple(layer: nn.Conv1d | nn.Conv2d) -> bool:
    padded = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    return padded and layer.groups == 1 and set(layer.dilation) == {1}


def _not_in_place(layer: nn.Module) -> nn.Module:
    if not getattr(layer, "inplace", False):
        return layer
    # In place it would overwrite an output whose gradient is asked for.
    match layer:
        case nn.ReLU():
            return nn.ReLU()
        case nn.SiLU():
            return nn.SiLU()
        case nn.LeakyReLU():
            return nn.LeakyReLU(layer.negative_slope)
        case nn.ELU():
            return nn.ELU(layer.alpha)
        case _:
            raise UnsuitableModel(f"layer {layer} works in place; build it with inplace=False")
