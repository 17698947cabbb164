"""Layers of K stacked models: forward with parameters of shape (K, ...), exact ghost norms, clipped sums.

Shapes: K models, B examples each (padded), T positions of a sequence or an image, I inputs and O outputs of a product.
A layer's forward returns its output and a trace; from the output's gradient the trace gives every example's squared
gradient norm and the sum of the gradients, each times its example's factor, without keeping per-example gradients
where two small products do (Goodfellow 2015; Li et al. 2022, arXiv 2110.05679, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.nn import functional

Parameters = list[torch.Tensor]


class Trace(Protocol):
    """What one layer remembers of one forward pass."""

    def squared_norms(self, out_grad: torch.Tensor) -> torch.Tensor:
        """Return (K, B): squared norm of each example's gradient with respect to the layer's parameters."""

    def sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """Return per parameter (K, ...) the sum of the examples' gradients, each times its factor (K, B)."""

    def square_sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """Return per parameter (K, ...) the sum of the squared entries of the examples' gradients times factors."""


class Layer(Protocol):
    """A layer with parameters; `shapes` are those of one model, in the order of `module.parameters()`."""

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Shapes of one model's parameters."""

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """Return the outputs (K, B, ...) for inputs (K, B, ...)."""


@dataclass(eq=False)
class ProductTrace:
    """A product by a weight matrix at T positions: linear layers, and convolutions after unfolding.

    inputs: (K, B, T, I). Output gradients arrive as (K, B, T, O) after `positions`, a view of the layer's own layout.
    """

    inputs: torch.Tensor
    weight_shape: tuple[int, ...]
    bias: bool
    channels_first: bool
    _per_example: torch.Tensor | None = field(default=None, init=False)

    def _positions(self, out_grad: torch.Tensor) -> torch.Tensor:
        k, b, t, _ = self.inputs.shape
        if self.channels_first:
            return out_grad.flatten(3).transpose(2, 3) if out_grad.ndim > 3 else out_grad.unsqueeze(2)
        return out_grad.reshape(k, b, t, out_grad.shape[-1])

    def squared_norms(self, out_grad: torch.Tensor) -> torch.Tensor:
        """See `Trace.squared_norms`."""
        d, a = self._positions(out_grad), self.inputs
        t, outs, ins = a.shape[2], d.shape[3], a.shape[3]
        if t == 1:
            found = a.square().sum((2, 3)) * d.square().sum((2, 3))
        elif t * (outs + ins) < outs * ins:
            wide_a, wide_d = a.double(), d.double()
            found = ((wide_a @ wide_a.transpose(2, 3)) * (wide_d @ wide_d.transpose(2, 3))).sum((2, 3))
            found = _rounded_up(found, t, d.dtype, _norm(wide_a) * _norm(wide_d))
        else:
            self._per_example = d.transpose(2, 3) @ a
            found = self._per_example.square().sum((2, 3))
        if not self.bias:
            return found
        biases = d.sum(2, dtype=torch.float64).square().sum(2)
        return found + (biases if t == 1 else _rounded_up(biases, t, d.dtype, d.abs().sum(2).norm(dim=2)))

    def sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.sums`."""
        d = self._positions(out_grad) * factors[:, :, None, None]
        k = len(d)
        if self._per_example is not None:
            weight = factors.unsqueeze(1) @ self._per_example.reshape(k, factors.shape[1], -1)
        else:
            weight = d.reshape(k, -1, d.shape[3]).transpose(1, 2) @ self.inputs.reshape(k, -1, self.inputs.shape[3])
        grads = [weight.reshape(k, *self.weight_shape)]
        return [*grads, d.sum((1, 2))] if self.bias else grads

    def square_sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.square_sums`."""
        d, a = self._positions(out_grad) * factors[:, :, None, None], self.inputs
        k = len(d)
        if a.shape[2] == 1:
            weight = d.squeeze(2).square().transpose(1, 2) @ a.squeeze(2).square()
        else:
            weight = (d.transpose(2, 3) @ a).square().sum(1)
        found = [weight.reshape(k, *self.weight_shape)]
        return [*found, d.sum(2).square().sum(1)] if self.bias else found


def _norm(parts: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.vector_norm(parts, dim=(2, 3))
    return found


def _rounded_up(squares: torch.Tensor, terms: int, dtype: torch.dtype, size: torch.Tensor) -> torch.Tensor:
    """Return squared norms (K, B) of sums of `terms` outer products, as large as their sum in `dtype` can be.

    What is released is added up in the weights' own type, where terms that cancel (an offset common to all positions)
    leave an error of at most terms * u times the norms' product, `size`, u being the unit round-off: half of eps. An
    exact norm below that would let a clipped example weigh more than the clip.
    """
    return (squares.clamp(min=0.0).sqrt() + terms * torch.finfo(dtype).eps / 2.0 * size).square()


@dataclass(frozen=True)
class LinearLayer:
    """`torch.nn.Linear` on (K, B, ..., I)."""

    shapes: tuple[torch.Size, ...]

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """See `Layer.forward`."""
        k, b = x.shape[:2]
        flat = x.reshape(k, -1, x.shape[-1])
        out = _product(flat, parameters).reshape(*x.shape[:-1], -1)
        trace = ProductTrace(
            flat.detach().view(k, b, math.prod(x.shape[2:-1]), -1), tuple(self.shapes[0]), len(parameters) > 1, False
        )
        return out, trace


@dataclass(frozen=True)
class ConvLayer:
    """`torch.nn.Conv1d` and `Conv2d` (one group, no dilation, zero padding) by unfolding, on (K, B, C, *space)."""

    shapes: tuple[torch.Size, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """See `Layer.forward`."""
        kernel = self.shapes[0][2:]
        if any(self.padding):
            x = functional.pad(x, [p for size in reversed(self.padding) for p in (size, size)])
        for axis, (size, step) in enumerate(zip(kernel, self.stride, strict=True)):
            x = x.unfold(3 + axis, size, step)
        space = range(3, 3 + len(kernel))
        k, b = x.shape[:2]
        shape = [x.shape[i] for i in space]
        patches = x.permute(0, 1, *space, 2, *(i + len(kernel) for i in space)).reshape(k, b * math.prod(shape), -1)
        weight = parameters[0].flatten(2)
        out = _product(patches, [weight, *parameters[1:]])
        trace = ProductTrace(
            patches.detach().view(k, b, math.prod(shape), -1), tuple(self.shapes[0]), len(parameters) > 1, True
        )
        return out.view(k, b, *shape, -1).movedim(-1, 2), trace


def _product(x: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    weight = parameters[0].transpose(1, 2)
    return torch.baddbmm(parameters[1].unsqueeze(1), x, weight) if len(parameters) > 1 else torch.bmm(x, weight)


@dataclass(eq=False)
class ScaleTrace:
    """An element-wise scale and shift of `normal`, with parameters that keep the axes from 2 on but `summed`."""

    normal: torch.Tensor
    summed: tuple[int, ...]

    def _per_example(self, out_grad: torch.Tensor) -> Parameters:
        # sum(()) would sum over everything.
        parts = [out_grad * self.normal, out_grad]
        return [part.sum(self.summed) if self.summed else part for part in parts]

    def squared_norms(self, out_grad: torch.Tensor) -> torch.Tensor:
        """See `Trace.squared_norms`."""
        weight, bias = self._per_example(out_grad)
        return weight.square().flatten(2).sum(2) + bias.square().flatten(2).sum(2)

    def sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.sums`."""
        row = factors.unsqueeze(1)
        return [(row @ part.flatten(2)).view(len(part), *part.shape[2:]) for part in self._per_example(out_grad)]

    def square_sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.square_sums`."""
        row = factors.square().unsqueeze(1)
        parts = [part.square() for part in self._per_example(out_grad)]
        return [(row @ part.flatten(2)).view(len(part), *part.shape[2:]) for part in parts]


@dataclass(frozen=True)
class LayerNormLayer:
    """`torch.nn.LayerNorm` with scale and shift."""

    shapes: tuple[torch.Size, ...]
    eps: float

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """See `Layer.forward`."""
        shape = self.shapes[0]
        normal = functional.layer_norm(x, shape, eps=self.eps)
        between = x.ndim - 2 - len(shape)
        weight, bias = (p.view(len(p), *[1] * (1 + between), *shape) for p in parameters)
        return normal * weight + bias, ScaleTrace(normal.detach(), tuple(range(2, 2 + between)))


@dataclass(frozen=True, kw_only=True)
class GroupNormLayer:
    """`torch.nn.GroupNorm` with scale and shift, on (K, B, C, *space)."""

    shapes: tuple[torch.Size, ...]
    groups: int
    eps: float

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """See `Layer.forward`."""
        normal = functional.group_norm(x.flatten(0, 1), self.groups, eps=self.eps).view(x.shape)
        weight, bias = (p.view(len(p), 1, -1, *[1] * (x.ndim - 3)) for p in parameters)
        return normal * weight + bias, ScaleTrace(normal.detach(), tuple(range(3, x.ndim)))


@dataclass(frozen=True)
class EmbeddingTrace:
    """Rows picked by `tokens` (K, B, T) out of `rows` per model."""

    tokens: torch.Tensor
    rows: int

    def squared_norms(self, out_grad: torch.Tensor) -> torch.Tensor:
        """See `Trace.squared_norms`."""
        d = out_grad.reshape(*self.tokens.shape, -1).double()
        same = self.tokens.unsqueeze(3) == self.tokens.unsqueeze(2)
        found, t = ((d @ d.transpose(2, 3)) * same).sum((2, 3)), self.tokens.shape[2]
        return found if t == 1 else _rounded_up(found, t, out_grad.dtype, _norm(d) * math.sqrt(t))

    def sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.sums`."""
        d = out_grad.reshape(*self.tokens.shape, -1) * factors[:, :, None, None]
        k, width = len(d), d.shape[3]
        first = torch.arange(k).view(k, 1, 1) * self.rows
        total = d.new_zeros(k * self.rows, width)
        total.index_add_(0, (self.tokens + first).reshape(-1), d.reshape(-1, width))
        return [total.view(k, self.rows, width)]

    def square_sums(self, out_grad: torch.Tensor, factors: torch.Tensor) -> Parameters:
        """See `Trace.square_sums`; a token that an example repeats has one gradient, the sum of its places'."""
        d = out_grad.reshape(*self.tokens.shape, -1) * factors[:, :, None, None]
        k, examples, _, width = d.shape
        total = d.new_zeros(k, self.rows, width)
        for b in range(examples):
            (own,) = EmbeddingTrace(self.tokens[:, b : b + 1], self.rows).sums(d[:, b : b + 1], factors.new_ones(k, 1))
            total += own.square()
        return [total]


@dataclass(frozen=True)
class EmbeddingLayer:
    """`torch.nn.Embedding` without padding index, norm limit or frequency scaling, on int64 (K, B, ...)."""

    shapes: tuple[torch.Size, ...]

    def forward(self, x: torch.Tensor, parameters: Parameters) -> tuple[torch.Tensor, Trace]:
        """See `Layer.forward`."""
        (table,) = parameters
        k, rows, width = table.shape
        first = torch.arange(k).view(k, *[1] * (x.ndim - 1)) * rows
        out = functional.embedding(x + first, table.reshape(k * rows, width))
        return out, EmbeddingTrace(x.reshape(k, x.shape[1], -1), rows)
