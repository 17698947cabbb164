"""Small networks without BatchNorm, and the flat float32 vector that stands for one."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_seed
from secure_fcl.references import names_code

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

_MLP = re.compile(r"mlp(?::([1-9][0-9]{0,4}(?:,[1-9][0-9]{0,4}){0,7})(?::(tanh|relu))?)?")


def is_own(kind: str) -> bool:
    """Return whether a model's name is `module:name` of a user's own; "mlp:400" is a model of ours."""
    return names_code(kind) and not kind.startswith("mlp:")


def check_kind(kind: str) -> str:
    """Return a model's name if a run may ask for it.

    Raises:
        ConfigInvalid: there is no such model.
    """
    if kind in ("auto", "cnn", "softmax") or _MLP.fullmatch(kind) or is_own(kind):
        return kind
    raise ConfigInvalid(
        f"training.model = {kind!r}: use auto, cnn, softmax, mlp, or mlp:WIDTHS[:tanh|relu] with up to eight hidden "
        "layers of 1 to 99999 units, for example mlp:400,400:relu; or module:name of a function or class of your own"
    )


def build_model(kind: str, shape: tuple[int, ...], classes: int, seed: int) -> torch.nn.Sequential:
    """Return a network for examples of `shape` with public initial weights from `seed` (torch's own distribution).

    "cnn": one-dimensional for signals (channels, time), two-dimensional for images (1, h, w); "softmax": multinomial
    logistic regression; "auto": softmax for vectors (d,), as public features are, cnn for the rest;
    "mlp:400,300:relu": fully connected with hidden layers of these widths, "mlp": one of 64. Tanh units unless relu
    is named; they bound what one example can do (Papernot et al. 2021, section 3). "linear", for canaries: one layer
    with bias, so that examples along different axes have orthogonal gradients but for it.

    Raises:
        ConfigInvalid: a shape that no network fits, or no such network.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(public_seed(seed, "model"))
        if (named := _MLP.fullmatch(kind)) is not None:
            widths = [int(width) for width in (named[1] or "64").split(",")]
            return _mlp([math.prod(shape), *widths], classes, named[2] or "tanh")
        if kind == "linear":
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), classes))
        if check_kind(kind) == "softmax" or (kind == "auto" and len(shape) == 1):
            return _mlp([math.prod(shape)], classes, "tanh")
        if len(shape) == 2 and shape[1] >= 16:
            return _signal_cnn(shape, classes)
        if len(shape) == 3 and min(shape[1:]) >= 8:
            return _image_cnn(shape, classes)
    raise ConfigInvalid(f"training.model = {kind!r}: no network for examples of shape {shape}; use mlp or softmax")


def _mlp(widths: list[int], classes: int, unit: str) -> torch.nn.Sequential:
    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU() if unit == "relu" else nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def _signal_cnn(shape: tuple[int, ...], classes: int) -> torch.nn.Sequential:
    from torch import nn

    channels, time = shape
    left = (((time - 5) // 2 + 1) - 5) // 2 + 1
    return nn.Sequential(
        nn.Conv1d(channels, 24, 5, stride=2), nn.Tanh(),
        nn.Conv1d(24, 48, 5, stride=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(48 * left, classes),
    )  # fmt: skip


def _image_cnn(shape: tuple[int, ...], classes: int) -> torch.nn.Sequential:
    from torch import nn

    channels, height, width = shape
    stride = 2 if min(height, width) >= 16 else 1

    def shrink(n: int) -> int:
        return ((n - 3) // stride + 1 - 3) // stride + 1

    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=stride), nn.Tanh(),
        nn.Conv2d(16, 24, 3, stride=stride), nn.Tanh(),
        nn.Flatten(), nn.Linear(24 * shrink(height) * shrink(width), classes),
    )  # fmt: skip


def to_vector(model: torch.nn.Module) -> Floats:
    """Return the trainable parameters as one flat float32 vector (a copy)."""
    import torch

    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])
    return flat.cpu().numpy().copy()


def load_vector(model: torch.nn.Module, vector: Floats) -> None:
    """Copy a flat vector into the model's trainable parameters."""
    import torch

    # A copy: of a vector that may not be written torch would warn.
    flat = torch.tensor(vector, dtype=torch.float32)
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.view_as(parameter))


def without_frozen(model: torch.nn.Module) -> torch.nn.Module:
    """Make constants of a network's frozen weights: attacks read every parameter from the flat vector."""
    for layer in model.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(layer, name)
                layer.register_buffer(name, parameter.detach())
    return model


def logits(model: torch.nn.Module, x: Floats, batch: int = 2048) -> Floats:
    """Return the outputs (n, classes) for x (n, ...), without gradients; n may be 0."""
    import torch

    model.eval()
    with torch.no_grad():
        parts = [model(torch.tensor(x[i : i + batch])).numpy() for i in range(0, max(len(x), 1), batch)]
    return np.concatenate(parts)
