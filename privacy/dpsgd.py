"""DP-SGD through Opacus on stratified Poisson batches. The only file that imports Opacus.

Opacus derives sampling rates from a loader's length, cannot stream, and ignores `expected_batch_size` when its
optimizer is told "sum"; here rates, steps and the denominator are public constants, the module sums, the optimizer
averages over the public denominator, and no DataLoader or PrivacyEngine takes part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.events import Event, NonPrivate, SampledGaussian
from privacy.randomness import RandomBytes, seed64

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DpSgdPlan:
    """A DP-SGD visit as public numbers: what runs and what it costs, made together.

    Each step releases (sum of per-example gradients clipped to `clipping_norm`, plus Gaussian noise of standard
    deviation `noise_multiplier * clipping_norm`) / `denominator` (Abadi et al. 2016, algorithm 1, with Poisson
    batches and a fixed denominator). `noise_multiplier = 0` is training without privacy and is charged as such.

    Guarantee: for an example of a stratum sampled at rate q, one visit is `steps` events SampledGaussian(q,
    noise_multiplier); the other strata do not depend on it. An empty batch still adds its noise.
    """

    steps: int
    denominator: float
    clipping_norm: float
    noise_multiplier: float
    learning_rate: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "denominator", "clipping_norm", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive")
        if self.noise_multiplier < 0 or not 0 <= self.momentum < 1:
            raise InvalidParameter(
                f"noise_multiplier={self.noise_multiplier} must be at least 0, momentum={self.momentum} in [0, 1)"
            )

    def events(self, q: float) -> Counter[Event]:
        """Return what one visit charges an example of a stratum sampled at rate `q`; q = 0 charges nothing."""
        if q == 0.0:
            return Counter()
        if self.noise_multiplier == 0.0:
            return Counter({NonPrivate("DP-SGD without noise"): self.steps})
        return Counter({SampledGaussian(q, self.noise_multiplier): self.steps})


@dataclass(frozen=True)
class Stratum:
    """Examples that share one public sampling rate. x: float32 (n, ...), y: int64 (n,); n may be 0."""

    x: torch.Tensor
    y: torch.Tensor
    q: float


class DpSgdTrainer:
    """Visits clients one after the other with one Opacus-wrapped model.

    One instance per worker process; nothing passes from one visit to the next, since weights are copied in and
    the optimizers are new. Sampling coins and noise come from torch generators seeded by the caller's random bytes.

    Raises:
        UnsuitableModel: the model has layers without per-example gradients (BatchNorm, say).
    """

    def __init__(self, model: torch.nn.Module) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.validators import ModuleValidator

        problems = ModuleValidator.validate(model, strict=False)
        if problems:
            raise UnsuitableModel(f"{problems[0]}; replace it (GroupNorm instead of BatchNorm)")
        self._module = GradSampleModule(model, loss_reduction="sum")
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]

    def visit(
        self, weights: torch.Tensor, strata: Sequence[Stratum], plan: DpSgdPlan, random: RandomBytes
    ) -> torch.Tensor:
        """Return the weights after `plan.steps` steps from `weights` (flat float32, not changed in place)."""
        import torch
        from opacus.optimizers import DPOptimizer

        self._load(weights)
        self._module.train()
        coins = torch.Generator().manual_seed(seed64(random))
        noise = torch.Generator(device=weights.device).manual_seed(seed64(random))
        inner = torch.optim.SGD(self._parameters, lr=plan.learning_rate, momentum=plan.momentum)
        optimizer = DPOptimizer(
            inner,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clipping_norm,
            # Opacus types this as int and only divides by it; a public denominator may be fractional.
            expected_batch_size=plan.denominator,  # type: ignore[arg-type]
            loss_reduction="mean",
            generator=noise,
        )
        for _ in range(plan.steps):
            optimizer.zero_grad(set_to_none=True)
            x, y = poisson_batch(strata, coins)
            torch.nn.functional.cross_entropy(self._module(x), y, reduction="sum").backward()
            optimizer.step()
        flat = torch.cat([p.detach().reshape(-1) for p in self._parameters])
        for parameter in self._parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]
            parameter.grad = None
        return flat

    def _load(self, weights: torch.Tensor) -> None:
        import torch

        sizes = [p.numel() for p in self._parameters]
        if weights.numel() != sum(sizes):
            raise InvalidParameter(f"{weights.numel()} weights for a model of {sum(sizes)} parameters")
        with torch.no_grad():
            for parameter, part in zip(self._parameters, weights.split(sizes), strict=True):
                # copy_: a view of `weights` would let the step change the caller's vector.
                parameter.copy_(part.view_as(parameter))


def poisson_batch(strata: Sequence[Stratum], coins: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one batch: each example of each stratum joins by its own coin of probability q. It may be empty."""
    import torch

    chosen = [torch.rand(len(s.y), generator=coins) < s.q for s in strata]
    return (
        torch.cat([s.x[keep] for s, keep in zip(strata, chosen, strict=True)]),
        torch.cat([s.y[keep] for s, keep in zip(strata, chosen, strict=True)]),
    )
