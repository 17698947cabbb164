"""DP-SGD through Opacus on stratified Poisson batches.

Opacus derives sampling rates from a loader's length, cannot stream, and ignores `expected_batch_size` when its
optimizer is told "sum"; here rates, steps and the denominator are public constants, the module sums, the
optimizer averages over the public denominator, and no DataLoader or PrivacyEngine takes part.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.events import Event, NonPrivate, SampledGaussian
from privacy.per_example import bound_each_example, refuse_batch_statistics, reset_hooks
from privacy.randomness import RandomBytes, key_stream, seed64

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DpSgdPlan:
    """A DP-SGD visit as public numbers: what runs and what it costs, made together.

    Each step releases (sum of per-example gradients clipped to `clipping_norm`, plus Gaussian noise of
    standard deviation `noise_multiplier * clipping_norm`) / `denominator` (Abadi et al. 2016, algorithm 1, with
    Poisson batches and a fixed denominator), and SGD with `momentum` follows it. `noise_multiplier = 0` is
    training without privacy and is charged as such.

    *Guarantee*: for an example of a stratum sampled at rate q, one visit is `steps` events SampledGaussian(q,
    noise_multiplier), as long as it lies in that stratum alone; the other strata do not depend on it. An empty
    batch still adds its noise.

    Raises:
        InvalidParameter: a number is not finite or outside its range.
    """

    steps: int
    denominator: float
    clipping_norm: float
    noise_multiplier: float
    learning_rate: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "denominator", "clipping_norm", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")
        if not 0 <= self.noise_multiplier < math.inf or not 0 <= self.momentum < 1:
            raise InvalidParameter(
                f"noise_multiplier={self.noise_multiplier} must be at least 0 and finite, "
                f"momentum={self.momentum} in [0, 1)"
            )

    def events(self, q: float) -> Counter[Event]:
        """Return what one visit charges an example of a stratum of rate `q`; q = 0 charges nothing.

        Raises:
            InvalidParameter: q is outside [0, 1].
        """
        _check_rate(q)
        if q == 0.0:
            return Counter()
        if self.noise_multiplier == 0.0:
            return Counter({NonPrivate("DP-SGD without noise"): self.steps})
        return Counter({SampledGaussian(q, self.noise_multiplier): self.steps})


@dataclass(frozen=True, eq=False)
class Stratum:
    """Examples that share one public sampling rate. x: float32 (n, ...), y: int64 (n,); n may be 0.

    Raises:
        InvalidParameter: q is outside [0, 1], or x and y differ in length.
    """

    x: torch.Tensor
    y: torch.Tensor
    q: float

    def __post_init__(self) -> None:
        _check_rate(self.q)
        if len(self.x) != len(self.y):
            raise InvalidParameter(f"{len(self.x)} examples but {len(self.y)} labels in one stratum")


class DpSgdTrainer:
    """Visits clients one after the other with one Opacus-wrapped model (it is put into training mode).

    One instance per worker process; nothing passes from one visit to the next: weights are copied in, buffers are
    reset and the optimizers are new. The noise comes from an AES-CTR key stream whose 32-byte key is drawn from the
    caller's random bytes for each visit; sampling coins from a torch generator seeded with 63 bits of them (Mersenne
    twister on the CPU: research grade); layers that draw, as dropout, use torch's global generator. An example whose
    gradient is not finite (an overflow in its own forward pass) contributes zero, since no clipping bounds it.

    Raises:
        UnsuitableModel: the model mixes examples or keeps statistics of them (BatchNorm, trainable or not), has
            layers without per-example gradients, or nothing to train.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.validators import ModuleValidator

        model.train()
        refuse_batch_statistics(model)
        problems = ModuleValidator.validate(model, strict=False)
        if problems:
            raise UnsuitableModel(f"{problems[0]} Replace that layer")
        try:
            self._module = GradSampleModule(model, loss_reduction="sum")
        except (NotImplementedError, ValueError) as error:
            raise UnsuitableModel(f"Opacus cannot take this model: {error}") from error
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        if not self._parameters:
            raise UnsuitableModel("no parameter of the model asks for a gradient; there is nothing to train")
        self._buffers = {name: b.clone() for name, b in self._module.named_buffers()}

    def visit(
        self, weights: torch.Tensor, strata: Sequence[Stratum], plan: DpSgdPlan, random: RandomBytes
    ) -> torch.Tensor:
        """Return the weights after `plan.steps` steps from `weights` (flat float32, not changed in place).

        Raises:
            InvalidParameter: `weights` does not fit the model, or there is no stratum.
            UnsuitableModel: the forward pass leaves out a parameter, or folds another axis into the batch.
        """
        import torch

        from privacy.secure_optimizer import SecureNoiseOptimizer

        if not strata:
            raise InvalidParameter("no stratum was given; for no data give one with 0 examples")
        self._load(weights)
        reset_hooks(self._module)
        self._module.train()
        coins = torch.Generator().manual_seed(seed64(random))
        inner = torch.optim.SGD(self._parameters, lr=plan.learning_rate, momentum=plan.momentum)
        optimizer = SecureNoiseOptimizer(
            inner,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clipping_norm,
            # Opacus types this as int and only divides by it; a public denominator may be fractional.
            expected_batch_size=plan.denominator,
            loss_reduction="mean",
            random=key_stream(random),
        )
        for _ in range(plan.steps):
            optimizer.zero_grad(set_to_none=True)
            x, y = poisson_batch(strata, coins)
            loss = torch.nn.functional.cross_entropy(self._module(x), y, reduction="sum")
            torch.autograd.backward(loss)
            bound_each_example(self._parameters, len(y))
            optimizer.step()
        flat = torch.cat([p.detach().reshape(-1) for p in self._parameters])
        for parameter in self._parameters:
            parameter.grad_sample = None
            parameter.grad = None
        return flat

    def _load(self, weights: torch.Tensor) -> None:
        import torch

        sizes = [p.numel() for p in self._parameters]
        if weights.numel() != sum(sizes):
            raise InvalidParameter(f"{weights.numel()} weights for a model of {sum(sizes)} parameters")
        with torch.no_grad():
            for parameter, part in zip(self._parameters, torch.split(weights, sizes), strict=True):
                # copy_: a view of `weights` would let the step change the caller's vector.
                parameter.copy_(part.view_as(parameter))
            for name, buffer in self._module.named_buffers():
                buffer.copy_(self._buffers[name])


def _check_rate(q: float) -> None:
    if not 0.0 <= q <= 1.0:
        raise InvalidParameter(f"sampling rate q={q} is outside [0, 1]; give a public probability")


def poisson_batch(strata: Sequence[Stratum], coins: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one batch: each example of each stratum joins by its own coin of rate q. It may be empty."""
    import torch

    # float64: a float32 coin has 24 bits, and the rate would exceed a small q.
    chosen = [torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q for s in strata]
    return (
        torch.cat([s.x[keep] for s, keep in zip(strata, chosen, strict=True)]),
        torch.cat([s.y[keep] for s, keep in zip(strata, chosen, strict=True)]),
    )
