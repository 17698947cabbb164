"""Distributed per-example DP-SGD: each client sends one clipped gradient sum, in integers, with its share of the noise.

A round of a client: `ClippedGradients.sum` (private coins at a public rate), `DistributedSum.encode` (scale, round at
random, add the share), a secure sum of the integers, `DistributedSum.decode`. The empty batch takes the same way and
has the same size; batch sizes and losses stay on the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.accountants import ORDERS, RdpAccountant
from privacy.batches import ExampleLoss, Stratum, check_weight, cross_entropy, poisson_batch
from privacy.dpsgd import DpSgdTrainer
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.events import Event, SampledGaussian, SampledSkellam
from privacy.randomness import RandomBytes, seed64, uniforms
from privacy.renyi import epsilon_at
from privacy.sampled_skellam import high_probability_sensitivity
from privacy.skellam import sample_skellam, skellam_bound

if TYPE_CHECKING:
    import torch

#: The probability per release that rounding adds more to a sensitivity than is charged; part of delta.
FAILURE = 1e-15

#: Examples whose gradients are held at once where a whole chunk is read.
PIECE = 128


@dataclass(frozen=True, kw_only=True)
class DistributedSum:
    """One noisy integer sum of clipped per-example gradients over `parties`: mechanism and event made together.

    `scale` is integers per unit of gradient. `noise_multiplier` is the standard deviation that the honest survivors
    together add, over `clipping_norm`, as in central DP-SGD.

    *Guarantee*: with at most `max_dropouts` parties missing and `colluders` that reveal or leave out their share, a
    round is `event(q)` for one example of one client added or removed, where every example joins by its own private
    coin of rate q. With fewer dropouts the noise is larger, never smaller. No amplification is claimed from which
    clients take part. At least one colluder is assumed: whoever receives the model knows its own share.

    Raises:
        InvalidParameter: nobody is left who is sure to add noise, or a number is outside its range.
    """

    parties: int
    max_dropouts: int
    colluders: int
    clipping_norm: float
    noise_multiplier: float
    dimension: int
    scale: float
    failure: float = FAILURE

    def __post_init__(self) -> None:
        if self.colluders < 1:
            raise InvalidParameter(f"colluders={self.colluders}: at least 1, a client that knows its own share")
        if self.max_dropouts < 0 or self.honest < 1:
            raise InvalidParameter(
                f"parties={self.parties} minus max_dropouts={self.max_dropouts} minus colluders={self.colluders} "
                "leaves nobody who is sure to add noise; lower one of the two"
            )
        for name in ("clipping_norm", "noise_multiplier", "scale"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")
        high_probability_sensitivity(self.clipping_norm * self.scale, self.dimension, self.failure)

    @property
    def honest(self) -> int:
        """Number of parties sure to survive and to keep their share secret; fewer survivors must abort the round."""
        return self.parties - self.max_dropouts - self.colluders

    @property
    def guaranteed_variance(self) -> float:
        """Variance per entry, in integers, that is charged."""
        return (self.noise_multiplier * self.clipping_norm * self.scale) ** 2

    @property
    def share_variance(self) -> float:
        """Variance per entry, in integers, that each party adds."""
        return self.guaranteed_variance / self.honest

    def event(self, q: float, weight: float = 1.0) -> SampledSkellam:
        """Return what one round charges an example of a stratum of rate `q` and `weight` (`Stratum.weight`).

        Raises:
            InvalidParameter: q is outside [0, 1] or the weight not positive and finite.
        """
        check_weight(weight)
        weighed = weight * self.clipping_norm * self.scale
        l2, l1 = high_probability_sensitivity(weighed, self.dimension, self.failure)
        return SampledSkellam(q=q, variance=self.guaranteed_variance, l2=l2, l1=l1, failure=self.failure)

    def encode(self, clipped_sum: NDArray[np.float64], random: RandomBytes) -> NDArray[np.int64]:
        """Return the integers one party sends, int64 (dimension,): the rounded scaled sum plus a fresh share.

        Raises:
            InvalidParameter: the sum has another shape, or an entry that is not finite or leaves 2^52 integers.
        """
        scaled = np.asarray(clipped_sum, dtype=np.float64) * self.scale
        if scaled.shape != (self.dimension,) or not np.all(np.abs(scaled) < 2.0**52):
            raise InvalidParameter(
                f"a sum of shape {scaled.shape} for dimension={self.dimension}, or an entry beyond 2^52 after scaling"
            )
        rounded = np.ceil(scaled - uniforms(random, scaled.shape)).astype(np.int64)
        return rounded + self.share(self.dimension, random)

    def share(self, entries: int, random: RandomBytes) -> NDArray[np.int64]:
        """Return one party's share, int64 (entries,); fresh bytes at every call, or two releases share their noise."""
        return sample_skellam(self.share_variance, entries, random)

    def noise_bound(self, entries: int, probability: float) -> int:
        """Return a bound that some entry's noise, summed over all parties, exceeds with at most `probability`."""
        return skellam_bound(self.parties * self.share_variance, entries, probability)

    def decode(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the noisy gradient sum, float64 (dimension,); divide by a public denominator to step."""
        return np.asarray(total, dtype=np.float64) / self.scale


def choose_scale(
    plan: DistributedSum, rates: Mapping[float, int], delta: float, inflation: float = 1e-3
) -> DistributedSum:
    """Return `plan` with the least scale (clipping norm times scale a power of two) that costs little epsilon.

    Little: epsilon over that of real Gaussian noise of equal variance, minus 1, below `inflation`, both by RDP at
    `delta` and at integer orders, where the Skellam bound is proven. `rates` maps each stratum's rate to the number of
    rounds of one example in it.

    Raises:
        BudgetUnreachable: even 2^30 integers per clipping norm cost more.
        InvalidParameter: delta or a rate is outside its range, or nothing is sampled.
    """
    ideal: dict[Event, int] = {
        SampledGaussian(q=q, noise_multiplier=plan.noise_multiplier): n for q, n in rates.items()
    }
    curve = RdpAccountant().curve(ideal)
    whole = [(a, float(c)) for a, c in zip(ORDERS, curve, strict=True) if a % 1 == 0]
    goal = epsilon_at([a for a, _ in whole], [c for _, c in whole], delta) * (1.0 + inflation)
    if not 0.0 < goal < math.inf:
        raise InvalidParameter(f"rates={dict(rates)} with noise_multiplier={plan.noise_multiplier} spend {goal}")

    def fits(bits: int) -> bool:
        tried = replace(plan, scale=2.0**bits / plan.clipping_norm)
        return RdpAccountant().epsilon({tried.event(q): n for q, n in rates.items()}, delta) < goal

    low, high = 0, 30
    if not fits(high):
        raise BudgetUnreachable(
            f"an inflation of {inflation:g} needs more than 2^30 integers per clipping norm at "
            f"dimension={plan.dimension}, failure={plan.failure:g}; allow a larger one, or lower failure or epsilon"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return replace(plan, scale=2.0**high / plan.clipping_norm)


class ClippedGradients:
    """Sums of clipped per-example gradients of one model, by Opacus's hooks; one instance per process.

    Raises:
        UnsuitableModel: as `DpSgdTrainer`.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._trainer = DpSgdTrainer(model)

    @property
    def dimension(self) -> int:
        """Number of trainable parameters, the length of every sum."""
        return sum(p.numel() for p in self._trainer._parameters)

    def sum(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        clipping_norm: float,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
    ) -> NDArray[np.float64]:
        """Return one Poisson batch's sum of gradients (of `loss`) at `weights`, float64 (dimension,).

        Every example's gradient is clipped to `clipping_norm` in L2 and multiplied by its stratum's weight (norms,
        factors and sum in double precision, so one example weighs no more up to 1e-12), and a gradient that is not
        finite counts as zero. An empty batch gives zeros.

        Raises:
            InvalidParameter: the clipping norm is not positive and finite, the weights do not fit, or no stratum.
        """
        samples, replay_weights = next(self._gradients(weights, strata, clipping_norm, random, loss, None))
        return _clipped_sum(samples, clipping_norm, replay_weights)

    def squares(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        clipping_norm: float,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
    ) -> NDArray[np.float64]:
        """Return one Poisson batch's sum of squared clipped gradients, entry by entry, float64 (dimension,).

        The diagonal of the empirical Fisher information, not divided by a count. An example adds g * g with
        |g| <= clipping_norm, so it weighs at most clipping_norm^2 in L2.

        Raises:
            InvalidParameter: as `sum`.
        """
        total = np.zeros(self.dimension)
        for samples, _ in self._gradients(weights, strata, clipping_norm, random, loss, PIECE):
            total += _clipped_squares(samples, clipping_norm)
        return total

    def magnitudes(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        clipping_norm: float,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
    ) -> NDArray[np.float64]:
        """Return one Poisson batch's sum of the absolute values of clipped gradients, float64 (dimension,).

        An example adds |g|, which is as long as g, so it weighs at most clipping_norm in L2.

        Raises:
            InvalidParameter: as `sum`.
        """
        total = np.zeros(self.dimension)
        for samples, _ in self._gradients(weights, strata, clipping_norm, random, loss, PIECE):
            total += _clipped_sum(samples, clipping_norm, None, absolute=True)
        return total

    def _gradients(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        clipping_norm: float,
        random: RandomBytes,
        loss: ExampleLoss,
        piece: int | None,
    ) -> Iterator[tuple[list[torch.Tensor], torch.Tensor | None]]:
        """Yield the gradients (n, size) by parameter and replay weights of one Poisson batch, whole or in pieces."""
        import torch

        if not 0.0 < clipping_norm < math.inf or not strata:
            raise InvalidParameter(f"clipping_norm={clipping_norm} must be positive and finite, and one stratum given")
        trainer = self._trainer
        trainer.check(strata[0].x.shape[1:], strata[0].x.dtype)
        trainer._load(weights)
        trainer._module.train()
        whole = poisson_batch(strata, torch.Generator().manual_seed(seed64(random)))
        for first in range(0, max(len(whole), 1), piece or max(len(whole), 1)):
            batch = whole.part(first, first + piece) if piece else whole
            trainer._module.zero_grad(set_to_none=True)
            trainer.take_gradients(batch, loss)
            samples = [getattr(p, "grad_sample").reshape(len(batch), p.numel()) for p in trainer._parameters]  # noqa: B009
            for parameter in trainer._parameters:
                parameter.grad_sample = None
                parameter.grad = None
            yield samples, batch.weight


def _clipped_sum(
    samples: Sequence[torch.Tensor], clipping_norm: float, weights: torch.Tensor | None, absolute: bool = False
) -> NDArray[np.float64]:
    import torch

    factors, samples = _factors(samples, clipping_norm)
    if weights is not None:
        factors = factors * weights
    if absolute:
        samples = [s.abs() for s in samples]
    return np.concatenate([(factors @ s.to(torch.float64)).numpy() for s in samples])


def _clipped_squares(samples: Sequence[torch.Tensor], clipping_norm: float) -> NDArray[np.float64]:
    import torch

    factors, samples = _factors(samples, clipping_norm)
    return np.concatenate([(factors.square() @ s.to(torch.float64).square()).numpy() for s in samples])


def _factors(samples: Sequence[torch.Tensor], clipping_norm: float) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Return each example's clipping factor, and the gradients with those that are not finite at zero."""
    import torch

    norms = torch.stack([torch.linalg.vector_norm(s, dim=1, dtype=torch.float64) for s in samples]).norm(dim=0)
    factors = torch.where(torch.isfinite(norms), (clipping_norm / norms).clamp(max=1.0), 0.0)
    broken = factors == 0.0
    if bool(broken.any()):
        # 0 times NaN is NaN.
        samples = [s.masked_fill(broken[:, None], 0.0) for s in samples]
    return factors, samples
