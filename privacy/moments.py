"""A torch optimizer's moments as one flat vector, so that a client may go on with them at its next visit.

Layout for P parameters: Adam's first moments, its second moments and the number of steps (2 P + 1); momentum's velocity
(P); nothing for plain SGD. All zero is a fresh optimizer. Moments come of noisy gradients alone: post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_ADAM, _MOMENTUM = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)


def take_up(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter], moments: torch.Tensor) -> None:
    """Set the state of `optimizer` from a flat vector (see the module); it is copied."""
    sizes = [parameter.numel() for parameter in parameters]
    for number, name in enumerate(_names(optimizer)):
        parts = torch.split(moments[number * sum(sizes) : (number + 1) * sum(sizes)], sizes)
        for parameter, part in zip(parameters, parts, strict=True):
            optimizer.state[parameter][name] = part.to(parameter.dtype).reshape(parameter.shape).clone()
            if name in _ADAM:
                optimizer.state[parameter]["step"] = moments[-1].to(torch.float32).clone()


def hand_back(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter], moments: torch.Tensor
) -> None:
    """Write the state of `optimizer` over a flat vector (see the module)."""
    names = _names(optimizer)
    found = [optimizer.state[parameter][name].reshape(-1) for name in names for parameter in parameters]
    if names == _ADAM:
        found.append(optimizer.state[parameters[0]]["step"].reshape(1))
    if found:
        moments.copy_(torch.cat([part.to(moments.dtype) for part in found]))


def _names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    if isinstance(optimizer, torch.optim.Adam):
        return _ADAM
    return _MOMENTUM if optimizer.defaults["momentum"] > 0.0 else ()
