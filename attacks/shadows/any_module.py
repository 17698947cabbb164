"""Shadow trainers for any torch module without running statistics: stacked with vmap, or one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ShadowsInvalid
from attacks.modules.functions import losses_of, named_weights, require_no_statistics
from attacks.shadows.mlp import BatchedMlp
from attacks.shadows.rule import Data, Rule, Schedule, Seeds, ShadowTrainer, Weights, checked, present_rows

if TYPE_CHECKING:
    import torch


def _initial(module: torch.nn.Module, seeds: NDArray[np.int64]) -> Weights:
    """Uniform in +-1/sqrt(inputs of one output), biases by their layer's inputs, scales of norm layers 1."""
    rows = []
    for seed in seeds:
        random, fan, parts = np.random.default_rng(int(seed)), 1, []
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                fan = int(np.prod(parameter.shape[1:]))
                parts.append(random.uniform(-1, 1, parameter.numel()) / fan**0.5)
            elif name.endswith("weight"):
                parts.append(np.ones(parameter.numel()))
            else:
                parts.append(random.uniform(-1, 1, parameter.numel()) / fan**0.5)
        rows.append(np.concatenate(parts))
    size = sum(p.numel() for p in module.parameters())
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, size), dtype=np.float32)


def _sum_gradient(module: torch.nn.Module, rule: Rule) -> Any:
    """(named weights, x (B, ...), y (B,), filled (B,)) -> named gradient sums over the batch, clipped on demand."""
    import torch

    def loss(named: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = torch.func.functional_call(module, named, (x,))
        return (torch.nn.functional.cross_entropy(logits, y, reduction="none") * filled).sum()

    if rule.clip_norm is None:
        return torch.func.grad(loss)
    bound = rule.clip_norm

    def one(named: Any, x: torch.Tensor, y: torch.Tensor, filled: torch.Tensor) -> Any:
        gradient = torch.func.grad(loss)(named, x[None], y[None], filled[None])
        norm = torch.stack([part.square().sum() for part in gradient.values()]).sum().sqrt()
        return {name: part * (bound / norm.clamp_min(1e-30)).clamp_max(1.0) for name, part in gradient.items()}

    def clipped(named: Any, x: torch.Tensor, y: torch.Tensor, filled: torch.Tensor) -> Any:
        rows = torch.func.vmap(one, in_dims=(None, 0, 0, 0))(named, x, y, filled)
        return {name: part.sum(dim=0) for name, part in rows.items()}

    return clipped


def _descend(
    gradient: Any, flat: torch.Tensor, split: Any, data: tuple[Any, Any], schedule: torch.Tensor, rule: Rule, seeds: Any
) -> None:
    """Runs a schedule (..., T, B) on flat weights (..., d), in place; `gradient` maps over leading axes."""
    import torch

    generators = [] if seeds is None else [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    divisor, buffer = rule.divisor(schedule.shape[-1]), torch.zeros_like(flat)
    scale = rule.noise_multiplier * float(rule.clip_norm or 0.0)
    for step in range(schedule.shape[-2]):
        rows, filled = present_rows(schedule[..., step, :])
        parts = gradient(split(flat), data[0][rows], data[1][rows], filled)
        total = torch.cat([part.flatten(flat.ndim - 1) for part in parts.values()], dim=-1)
        if generators:
            noise = torch.stack([torch.randn(flat.shape[-1], generator=g) for g in generators])
            total = total + scale * noise.reshape(flat.shape)
        buffer.mul_(rule.momentum).add_(total, alpha=1 / divisor)
        flat.sub_(buffer, alpha=rule.learning_rate)


@dataclass(frozen=True, eq=False)
class ModuleTrainer:
    """Trains any module without running statistics, and evaluates any.

    Attributes:
        inner: the architecture; its own weights are not touched.
        stacked: maps the training step over models with `torch.func.vmap`; otherwise one model after the other, for
            modules that vmap refuses, and as the yardstick of the faster ways.
        chunk: models stacked together. More than 8 was slower for small convolutional networks.
    """

    inner: torch.nn.Module = field(repr=False)
    stacked: bool = True
    chunk: int = 8

    @property
    def label(self) -> str:
        """See `ShadowTrainer.label`."""
        return " ".join(str(self.inner).split()) + ", uniform initialisation"

    def initial(self, seeds: Seeds) -> Weights:
        """See `ShadowTrainer.initial`."""
        return _initial(self.inner, seeds)

    def train(
        self, weights: Weights, data: Data, schedule: Schedule, rule: Rule, noise_seeds: Seeds | None = None
    ) -> Weights:
        """See `ShadowTrainer.train`."""
        import torch

        checked(weights, data, schedule, rule, noise_seeds)
        require_no_statistics(self.inner)
        tensors = torch.from_numpy(np.array(data[0], dtype=np.float32)), torch.from_numpy(np.array(data[1]))
        gradient = _sum_gradient(self.inner, rule) if self.stacked or rule.clip_norm else _plain_gradient(self.inner)
        split: Any = partial(named_weights, self.inner)
        if self.stacked:
            gradient, split = torch.func.vmap(gradient), torch.func.vmap(split)
        out = np.empty_like(weights)
        for start in range(0, len(weights), self.chunk if self.stacked else 1):
            # A single index drops the models' axis, which is what the functions without vmap expect.
            part = slice(start, start + self.chunk) if self.stacked else start
            flat = torch.from_numpy(weights[part].copy())
            seeds = None if noise_seeds is None else np.atleast_1d(noise_seeds[part])
            _descend(gradient, flat, split, tensors, torch.from_numpy(schedule[part].copy()), rule, seeds)
            out[part] = flat.numpy()
        return out

    def losses(self, weights: Weights, x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `ShadowTrainer.losses`."""
        rows = [losses_of(self.inner)(row, x, y) for row in weights]
        return np.stack(rows) if rows else np.zeros((0, len(y)))


def _plain_gradient(module: torch.nn.Module) -> Any:
    """As `_sum_gradient` without clipping, by ordinary automatic differentiation."""
    import torch

    def gradient(named: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, filled: torch.Tensor) -> Any:
        leaves = {name: part.detach().requires_grad_() for name, part in named.items()}
        logits = torch.func.functional_call(module, leaves, (x,))
        loss = (torch.nn.functional.cross_entropy(logits, y, reduction="none") * filled).sum()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    return gradient


def trainer_for(module: torch.nn.Module) -> ShadowTrainer:
    """The fastest trainer for a module: batched products for plain ReLU or tanh networks, otherwise vmap.

    Raises:
        ShadowsInvalid: the module has no parameters.
        LossesInvalid: it keeps running statistics.
    """
    import torch

    require_no_statistics(module)
    layers = [layer for layer in module.modules() if not isinstance(layer, torch.nn.Sequential | torch.nn.Flatten)]
    linear, between = layers[::2], layers[1::2]
    kind = torch.nn.Tanh if between and isinstance(between[0], torch.nn.Tanh) else torch.nn.ReLU
    plain = (
        isinstance(module, torch.nn.Sequential)
        and len(layers) % 2 == 1
        and all(isinstance(layer, torch.nn.Linear) and layer.bias is not None for layer in linear)
        and all(isinstance(layer, kind) for layer in between)
    )
    if plain:
        sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
        return BatchedMlp(sizes, activation="tanh" if kind is torch.nn.Tanh else "relu")  # type: ignore[arg-type]
    if not any(True for _ in module.parameters()):
        raise ShadowsInvalid("the module has no parameters, so there is nothing to train")
    return ModuleTrainer(module)
