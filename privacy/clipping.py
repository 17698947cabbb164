"""How per-example gradients are clipped: to one norm, tensor by tensor, or to one that follows a private quantile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes
from privacy.secure_gaussian import release_noise

if TYPE_CHECKING:
    import torch

Kind = Literal["flat", "per_layer", "adaptive"]

#: Added to every norm before dividing, as Opacus does; it only shortens.
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """A clipping rule as public numbers.

    - flat: the whole gradient to the plan's clipping norm C.
    - per_layer: each of the L parameter tensors to C / sqrt(L), so that the whole stays within C.
    - adaptive: flat, but C is moved after every step towards the `target` quantile of the gradient norms by
      exp(-rate (fraction - target)) (Andrew et al. 2021, arXiv 1905.03871, algorithm 1). The fraction comes from a
      noisy count, centred so that one example weighs 1/2 and divided by the plan's *public* denominator, never by the
      size of the batch. The count takes `count_share` of the step's budget: gradient and count together are one
      Gaussian mechanism of the plan's noise multiplier s, with s / sqrt(1 - share) for the gradient and
      s / (2 sqrt(share)) for the count.

    Raises:
        InvalidParameter: a number is outside its range.
    """

    kind: Kind = "flat"
    target: float = 0.5
    rate: float = 0.2
    count_share: float = 0.05

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidParameter(f"clipping kind={self.kind!r} must be one of {get_args(Kind)}")
        if not 0.0 < self.target < 1.0 or not 0.0 < self.count_share < 1.0 or not 0.0 < self.rate < math.inf:
            raise InvalidParameter(
                f"target={self.target} and count_share={self.count_share} must be in (0, 1), rate={self.rate} positive"
            )

    def gradient_multiplier(self, noise_multiplier: float) -> float:
        """Return the multiplier of the gradient's own noise."""
        return noise_multiplier / math.sqrt(1.0 - self.count_share) if self.kind == "adaptive" else noise_multiplier

    def count_multiplier(self, noise_multiplier: float) -> float:
        """Return the standard deviation of the noise on the count."""
        return noise_multiplier / (2.0 * math.sqrt(self.count_share))


FLAT = Clipping()


class ClippingState:
    """The rule while a visit runs: the norm of the next step, and each batch's clipping factors."""

    def __init__(
        self, rule: Clipping, norm: float, noise_multiplier: float, denominator: float, random: RandomBytes
    ) -> None:
        self._rule = rule
        self._denominator = denominator
        self._std = rule.count_multiplier(noise_multiplier)
        self._random = random
        self.norm = norm

    def factors(self, norms: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return (L, B): what each example's gradient is multiplied by, tensor by tensor.

        norms: (L, B), norm of each example's gradient in each of L parameter tensors, or (1, B) of the whole.
        weights: (B,) or None for ones.
        """
        import torch

        bound = self.norm / math.sqrt(len(norms)) if self._rule.kind == "per_layer" else self.norm
        judged = norms if self._rule.kind == "per_layer" else torch.linalg.vector_norm(norms, dim=0, keepdim=True)
        factors = (bound / (judged + _TINY)).clamp(max=1.0)
        self._within = judged[0] <= bound
        self._weights = weights
        weighted = factors if weights is None else factors * weights
        return weighted.expand(len(norms), -1)

    def nothing(self) -> None:
        """Take note of an empty batch."""
        import torch

        self._within, self._weights = torch.zeros(0, dtype=torch.bool), None

    def advance(self) -> None:
        """Move the norm after a step; draws the count's noise. Nothing happens unless the rule is adaptive."""
        if self._rule.kind != "adaptive":
            return
        bits = self._within.double() - 0.5
        centred = float(bits.sum() if self._weights is None else (bits * self._weights).sum())
        noise = float(release_noise(self._std, (1,), self._random)[0])
        fraction = min(1.0, max(0.0, (centred + noise) / self._denominator + 0.5))
        self.norm *= math.exp(-self._rule.rate * (fraction - self._rule.target))
