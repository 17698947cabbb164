"""Where a module's linear layers lie in its flat weight (or gradient) vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attacks.errors import InversionInvalid

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LinearPart:
    """Slices of one linear layer with bias: weight (outputs, inputs) row by row, bias (outputs,)."""

    weight: slice
    bias: slice
    outputs: int
    inputs: int

    def of(self, flat: Any) -> tuple[Any, Any]:
        """Weight (..., outputs, inputs) and bias (..., outputs) of flat vectors (..., d), arrays or tensors."""
        weight = flat[..., self.weight]
        return weight.reshape(*weight.shape[:-1], self.outputs, self.inputs), flat[..., self.bias]


def _linear_parts(module: torch.nn.Module) -> list[LinearPart]:
    import torch

    starts, at = {}, 0
    for name, parameter in module.named_parameters():
        starts[name] = slice(at, at + parameter.numel())
        at += parameter.numel()
    parts = []
    for name, layer in module.named_modules():
        prefix = f"{name}." if name else ""
        # A weight that another layer holds too stands under the other's name, with the gradient of both.
        if isinstance(layer, torch.nn.Linear) and {f"{prefix}weight", f"{prefix}bias"} <= starts.keys():
            parts.append(
                LinearPart(
                    weight=starts[f"{prefix}weight"],
                    bias=starts[f"{prefix}bias"],
                    outputs=layer.out_features,
                    inputs=layer.in_features,
                )
            )
    return parts


def last_linear(module: torch.nn.Module) -> LinearPart:
    """The last linear layer with bias, taken for the one whose outputs are the logits.

    Raises:
        InversionInvalid: the module has none.
    """
    parts = _linear_parts(module)
    if not parts:
        raise InversionInvalid("the module has no linear layer with bias, so labels cannot be read off its gradient")
    return parts[-1]


def first_linear(module: torch.nn.Module) -> LinearPart | None:
    """The linear layer with bias that sees the input itself, None if another kind comes first."""
    parts = _linear_parts(module)
    return parts[0] if parts and parts[0].weight.start == 0 else None
