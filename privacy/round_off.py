"""How far rounding may move a layer's gradient: what ghost norms cannot see, since they are taken another way.

Ghost clipping releases a second backward pass, whose sums are rounded anew. Where a layer's terms cancel (an offset
common to all positions of an example) that rounding may be larger than the gradient itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

Sampler = Callable[..., dict[Any, torch.Tensor]]

#: Roundings of a slope on its way through a layer that subtracts a mean, each as large as mean over deviation.
_THROUGH_NORM = 4.0


class RoundOff:
    """Adds up, over one backward pass, a bound of each example's round-off in all layers: `bound`, float64 (B,).

    A layer that sums t products of inputs a and slopes d is off by at most t u |a| |d| (u: unit round-off of the
    slopes' type); where it subtracts a mean first, the inputs count before that. Slopes that went back through such a
    layer are themselves off by u times mean over deviation of theirs, which is carried on to all layers before it.
    Known for linear, convolution, embedding and normalisation layers.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin another backward pass."""
        self.bound: torch.Tensor | None = None
        self._slopes: torch.Tensor | None = None

    def watched(self, samplers: Mapping[type, Sampler]) -> dict[type, Sampler]:
        """Return Opacus's samplers of norms or gradients, each taking note of its layer's round-off first."""

        def noting(sampler: Sampler) -> Sampler:
            def found(layer: Any, activations: Any, slopes: torch.Tensor) -> dict[Any, torch.Tensor]:
                self._note(layer, activations[0], slopes)
                return sampler(layer, activations, slopes)

            return found

        return {kind: noting(sampler) for kind, sampler in samplers.items()}

    def _note(self, layer: nn.Module, inputs: torch.Tensor, slopes: torch.Tensor) -> None:
        unit = torch.finfo(slopes.dtype).eps / 2.0
        size, terms, offset = _sizes(layer, inputs, slopes)
        own = terms * unit * size if terms > 1 else torch.zeros_like(size)
        if self._slopes is not None and len(self._slopes) == len(size):
            own = own + self._slopes * size
        own = own * torch.linalg.vector_norm(slopes.double().flatten(1), dim=1)
        if self.bound is None or len(self.bound) != len(own):
            self.bound = torch.zeros_like(own)
        self.bound = self.bound + own
        if offset is not None:
            through = _THROUGH_NORM * unit * offset
            known = self._slopes is not None and len(self._slopes) == len(through)
            self._slopes = torch.maximum(self._slopes, through) if known and self._slopes is not None else through


def _sizes(
    layer: nn.Module, inputs: torch.Tensor, slopes: torch.Tensor
) -> tuple[torch.Tensor, int, torch.Tensor | None]:
    """Return the norm of each example's inputs (B,), the terms of a sum, and mean over deviation (B,) if one is taken.

    For layers that are not known the norm is 0.
    """
    of_one = math.prod(slopes.shape[1:])
    match layer:
        case nn.Embedding():
            terms = of_one // layer.embedding_dim
            return torch.full((len(slopes),), math.sqrt(terms), dtype=torch.float64, device=slopes.device), terms, None
        case nn.Linear():
            return _norms(inputs), of_one // layer.out_features, None
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            # An input is in as many products as the kernel has places.
            reach = math.sqrt(math.prod(layer.kernel_size))
            return reach * _norms(inputs), of_one // layer.out_channels, None
        case nn.LayerNorm():
            parts = inputs.double().flatten(-len(layer.normalized_shape))
            return _normalised(parts, layer.eps, of_one // math.prod(layer.normalized_shape))
        case nn.GroupNorm():
            parts = inputs.double().reshape(len(inputs), layer.num_groups, -1)
            return _normalised(parts, layer.eps, of_one // layer.num_channels)
        case nn.InstanceNorm1d() | nn.InstanceNorm2d() | nn.InstanceNorm3d():
            return _normalised(inputs.double().flatten(2), layer.eps, of_one // layer.num_features)
        case _:
            return torch.zeros(len(slopes), dtype=torch.float64, device=slopes.device), 1, None


def _norms(inputs: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.vector_norm(inputs.double().flatten(1), dim=1)
    return found


def _normalised(parts: torch.Tensor, eps: float, terms: int) -> tuple[torch.Tensor, int, torch.Tensor]:
    """Return what `_sizes` does for groups (B, ..., n) that are normalised each."""
    deviation = (parts.var(-1, correction=0, keepdim=True) + eps).sqrt()
    offset = (parts.mean(-1).abs() / deviation.squeeze(-1)).flatten(1).amax(1)
    return torch.linalg.vector_norm((parts / deviation).flatten(1), dim=1), max(2, terms), offset
