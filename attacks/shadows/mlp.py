"""Many multilayer perceptrons at once: one batch of matrix products per layer, gradients by hand.

For a ReLU network the backward pass is two products per layer, and the gradient of one example for a layer is an
outer product, so that its norm needs no gradient: |g|^2 = sum over layers of (|input|^2 + 1) |delta|^2 (Goodfellow
2015, "Efficient per-example gradient computations"). DP-SGD then costs about as much as plain SGD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ShadowsInvalid
from attacks.modules.functions import label_losses
from attacks.shadows.rule import Data, Rule, Schedule, Seeds, Weights, checked, present_rows

if TYPE_CHECKING:
    import torch

Activation = Literal["relu", "tanh"]


@dataclass(frozen=True)
class BatchedMlp:
    """Linear layers with bias and ReLU or tanh between them, as `torch.nn.Sequential` lays them out.

    Attributes:
        sizes: inputs, hidden layers, classes; at least two numbers.
        chunk: models trained together. 16 fits the caches of a laptop core; more is slower, not faster.
        activation: of every layer but the last.
    """

    sizes: tuple[int, ...]
    chunk: int = 16
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1 or self.chunk < 1:
            raise ShadowsInvalid(
                f"sizes {self.sizes} and chunk {self.chunk}: two positive sizes and a chunk are needed"
            )

    @property
    def label(self) -> str:
        """See `ShadowTrainer.label`."""
        return f"{self.activation} mlp {'-'.join(map(str, self.sizes))}, uniform initialisation"

    @property
    def dimension(self) -> int:
        """Number of parameters of one model."""
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    def initial(self, seeds: NDArray[np.int64]) -> Weights:
        """Weights and biases uniform in +-1/sqrt(inputs), torch's default, from one public seed per model."""
        out = np.empty((len(seeds), self.dimension), dtype=np.float32)
        for row, seed in zip(out, seeds, strict=True):
            random, at = np.random.default_rng(int(seed)), 0
            for fan, size in zip(self.sizes, self.sizes[1:], strict=False):
                row[at : at + (fan + 1) * size] = random.uniform(-1, 1, (fan + 1) * size) / math.sqrt(fan)
                at += (fan + 1) * size
        return out

    def module(self) -> torch.nn.Module:
        """The same architecture as a torch module, for `losses_of` and `gradients_of`. Its own weights are unset."""
        import torch
        from torch.nn.utils import skip_init

        layers: list[torch.nn.Module] = []
        for fan, size in zip(self.sizes, self.sizes[1:], strict=False):
            between = torch.nn.ReLU() if self.activation == "relu" else torch.nn.Tanh()
            layers += [skip_init(torch.nn.Linear, fan, size), between]  # type: ignore[no-untyped-call]
        return torch.nn.Sequential(torch.nn.Flatten(), *layers[:-1])

    def train(
        self, weights: Weights, data: Data, schedule: Schedule, rule: Rule, noise_seeds: Seeds | None = None
    ) -> Weights:
        """See `ShadowTrainer.train`."""
        import torch

        checked(weights, data, schedule, rule, noise_seeds)
        self._check_dimension(weights)
        x = torch.from_numpy(np.array(data[0], dtype=np.float32)).flatten(1)
        y = torch.from_numpy(np.array(data[1], dtype=np.int64))
        out = np.empty_like(weights)
        with torch.no_grad():
            for start in range(0, len(weights), self.chunk):
                part = slice(start, start + self.chunk)
                noise = None if noise_seeds is None else _noise(noise_seeds[part], rule, self)
                layers = self._split(torch.from_numpy(weights[part].copy()))
                _descend(layers, x, y, torch.from_numpy(schedule[part].copy()), rule, noise, self.activation)
                out[part] = _join(layers)
        return out

    def losses(self, weights: Weights, x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `ShadowTrainer.losses`."""
        import torch

        self._check_dimension(weights)
        inputs = torch.from_numpy(np.array(x, dtype=np.float32)).flatten(1)
        labels = torch.from_numpy(np.array(y, dtype=np.int64))
        out = np.empty((len(weights), len(inputs)))
        with torch.no_grad():
            for start in range(0, len(weights), self.chunk):
                part = slice(start, start + self.chunk)
                layers = self._split(torch.from_numpy(weights[part].copy()))
                m = len(out[part])
                logits = _forward(layers, inputs.expand(m, *inputs.shape), self.activation)[-1]
                out[part] = label_losses(logits, labels.expand(m, -1)).numpy()
        return out

    def _check_dimension(self, weights: Weights) -> None:
        if weights.ndim != 2 or weights.shape[1] != self.dimension:
            raise ShadowsInvalid(f"weights have shape {weights.shape}; {self.label} needs (M, {self.dimension})")

    def _split(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        layers, at = [], 0
        for fan, size in zip(self.sizes, self.sizes[1:], strict=False):
            matrix = flat[:, at : at + fan * size].reshape(-1, size, fan).transpose(1, 2).contiguous()
            at += fan * size
            layers.append((matrix, flat[:, at : at + size].reshape(-1, 1, size).contiguous()))
            at += size
        return layers


def _join(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> NDArray[np.float32]:
    import torch

    parts = [part for matrix, bias in layers for part in (matrix.transpose(1, 2).flatten(1), bias.flatten(1))]
    joined: NDArray[np.float32] = torch.cat(parts, dim=1).numpy()
    return joined


def _noise(seeds: NDArray[np.int64], rule: Rule, shape: BatchedMlp) -> Any:
    """A function that draws the next step's noise for every model of the chunk, in the layers' layout."""
    import torch

    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    scale = rule.noise_multiplier * float(rule.clip_norm or 0.0)

    def draw() -> list[tuple[torch.Tensor, torch.Tensor]]:
        flat = torch.stack([torch.randn(shape.dimension, generator=generator) for generator in generators])
        return shape._split(flat * scale)

    return draw


def _forward(
    layers: list[tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor, activation: Activation
) -> list[torch.Tensor]:
    """Inputs of every layer, then the logits; all (M, B, size)."""
    import torch

    values = [x]
    for number, (matrix, bias) in enumerate(layers):
        out = torch.baddbmm(bias, values[-1], matrix)
        if number < len(layers) - 1:
            out = out.relu_() if activation == "relu" else out.tanh_()
        values.append(out)
    return values


def _clip(deltas: list[torch.Tensor], values: list[torch.Tensor], norm: float) -> None:
    """Scales each example's deltas so that its gradient has at most the given norm."""
    squares = sum(
        (value.square().sum(dim=2) + 1.0) * delta.square().sum(dim=2)
        for value, delta in zip(values, deltas, strict=False)
    )
    factor = (norm / squares.sqrt().clamp_min(1e-30)).clamp_max(1.0).unsqueeze(2)  # type: ignore[union-attr]
    for delta in deltas:
        delta.mul_(factor)


def _descend(
    layers: list[tuple[torch.Tensor, torch.Tensor]],
    x: torch.Tensor,
    y: torch.Tensor,
    schedule: torch.Tensor,
    rule: Rule,
    noise: Any,
    activation: Activation,
) -> None:
    """Runs the schedule on the chunk's layers, in place."""
    import torch

    divisor = rule.divisor(schedule.shape[2])
    buffers = [(torch.zeros_like(matrix), torch.zeros_like(bias)) for matrix, bias in layers]
    for batch in schedule.transpose(0, 1):
        rows, filled = present_rows(batch)
        values = _forward(layers, x[rows], activation)
        delta = values[-1].softmax(dim=2)
        delta.scatter_add_(2, y[rows].unsqueeze(2), delta.new_full((1, 1, 1), -1.0).expand(*rows.shape, 1))
        delta.mul_(filled.unsqueeze(2))
        deltas = [delta]
        for number in range(len(layers) - 1, 0, -1):
            back = torch.bmm(deltas[0], layers[number][0].transpose(1, 2))
            slope = values[number] > 0 if activation == "relu" else 1 - values[number].square()
            deltas.insert(0, back.mul_(slope))
        if rule.clip_norm is not None:
            _clip(deltas, values, rule.clip_norm)
        drawn = None if noise is None else noise()
        for number, (matrix, bias) in enumerate(layers):
            matrix_buffer, bias_buffer = buffers[number]
            matrix_buffer.baddbmm_(
                values[number].transpose(1, 2), deltas[number], beta=rule.momentum, alpha=1 / divisor
            )
            bias_buffer.mul_(rule.momentum).add_(deltas[number].sum(dim=1, keepdim=True), alpha=1 / divisor)
            if drawn is not None:
                matrix_buffer.add_(drawn[number][0], alpha=1 / divisor)
                bias_buffer.add_(drawn[number][1], alpha=1 / divisor)
            matrix.sub_(matrix_buffer, alpha=rule.learning_rate)
            bias.sub_(bias_buffer, alpha=rule.learning_rate)
