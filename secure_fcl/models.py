"""Small networks without BatchNorm, and the flat float32 vector that stands for one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_seed

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


def build_model(kind: str, shape: tuple[int, ...], classes: int, seed: int) -> torch.nn.Sequential:
    """Return a network for examples of `shape` with public initial weights from `seed`.

    "cnn": one-dimensional for signals (channels, time), two-dimensional for images (1, h, w); "mlp": one hidden
    layer; "auto": cnn. Tanh units, which bound what one example can do (Papernot et al. 2021, section 3). "linear", for
    canaries: one layer without bias, so that examples along different axes have orthogonal gradients.

    Raises:
        ConfigInvalid: a shape that no network fits.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(public_seed(seed, "model"))
        if kind == "mlp":
            return torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), 64), torch.nn.Tanh(), torch.nn.Linear(64, classes)
            )
        if kind == "linear":
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), classes, bias=False))
        if len(shape) == 2 and shape[1] >= 16:
            return _signal_cnn(shape, classes)
        if len(shape) == 3 and min(shape[1:]) >= 8:
            return _image_cnn(shape, classes)
    raise ConfigInvalid(f"training.model = {kind!r}: no network for examples of shape {shape}; use mlp")


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

    flat = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float32))
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.view_as(parameter))


def logits(model: torch.nn.Module, x: Floats, batch: int = 2048) -> Floats:
    """Return the outputs (n, classes) for x (n, ...), without gradients; n may be 0."""
    import torch

    model.eval()
    with torch.no_grad():
        parts = [model(torch.from_numpy(x[i : i + batch])).numpy() for i in range(0, max(len(x), 1), batch)]
    return np.concatenate(parts)
