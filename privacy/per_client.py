"""Distributed per-client noise: whole updates are clipped, the unit is one client with all its data.

A round of a client: `ClientSum.encode` (clip, scale, round at random, add the share of noise), a secure sum of the
integers, `ClientSum.decode`. The clipping norm follows a private quantile of the update norms: each client adds, as one
more entry of the same vector, whether its norm lies within the current one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privacy.distributed import FAILURE, DistributedSum
from privacy.errors import InvalidParameter
from privacy.events import SampledSkellam
from privacy.randomness import RandomBytes

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClientSum:
    """One noisy integer sum of clipped client updates, and of their bits: mechanism and event made together.

    The vector is the update divided by the clipping norm (so its norm is at most 1) and one entry, `bit_weight` times
    1 - `target` where the update's norm lies within the clipping norm, -`target` where not. A silent client's vector is
    zero, its bit too: whatever share of the clients is silent, the norm comes to rest where `target` of the others lie
    within it. Together update and bit have norm at most sqrt(1 + bit_weight^2 max(target, 1 - target)^2), to which
    `noise_multiplier` refers; so the event does not depend on the clipping norm, which may move from round to round.
    `bits`: integer steps per unit are 2^bits.

    *Guarantee*: with at most `max_dropouts` clients missing and `colluders` that reveal or leave out their share, a
    round is `event` for one client with all its data, or silent instead; rounds compose, whatever tasks they belong
    to. No amplification is claimed from which clients take part. The norm chosen next is post-processing.

    Raises:
        InvalidParameter: nobody is left who is sure to add noise, or a number is outside its range.
    """

    parties: int
    max_dropouts: int
    colluders: int
    noise_multiplier: float
    dimension: int
    bits: int = 16
    bit_weight: float = 0.2
    target: float = 0.5
    rate: float = 0.2
    failure: float = FAILURE

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 40 or not 0.0 < self.bit_weight < math.inf:
            raise InvalidParameter(f"bits={self.bits} must be in 1..40 and bit_weight={self.bit_weight} positive")
        if not 0.0 < self.target < 1.0 or not 0.0 < self.rate < math.inf:
            raise InvalidParameter(f"target={self.target} must be in (0, 1) and rate={self.rate} positive")
        if self.dimension < 1:
            raise InvalidParameter(f"dimension={self.dimension} must be at least 1")
        _ = self._sum

    @cached_property
    def _sum(self) -> DistributedSum:
        joint = math.hypot(1.0, self.bit_weight * max(self.target, 1.0 - self.target))
        return DistributedSum(
            parties=self.parties, max_dropouts=self.max_dropouts, colluders=self.colluders, clipping_norm=joint,
            noise_multiplier=self.noise_multiplier, dimension=self.dimension + 1, scale=2.0**self.bits,
            failure=self.failure,
        )  # fmt: skip

    @property
    def length(self) -> int:
        """Number of integers a client sends: the update's entries and the bit."""
        return self.dimension + 1

    @property
    def event(self) -> SampledSkellam:
        """What one round charges a client."""
        return self._sum.event(1.0)

    @property
    def share_variance(self) -> float:
        """Variance per entry, in integers, that each client adds."""
        return self._sum.share_variance

    def encode(self, update: Floats, norm: float, random: RandomBytes) -> NDArray[np.int64]:
        """Return the integers one client sends, int64 (length,); an update that is not finite counts as zero.

        Raises:
            InvalidParameter: the update has another shape, or the clipping norm is not positive and finite.
        """
        _check_norm(norm)
        if update.shape != (self.dimension,):
            raise InvalidParameter(f"an update of shape {update.shape} for dimension={self.dimension}")
        size = float(np.linalg.norm(update))
        finite = math.isfinite(size)
        unit = update / max(norm, size) if finite else np.zeros(self.dimension)
        bit = (1.0 if finite and size <= norm else 0.0) - self.target
        return self._sum.encode(np.append(unit, self.bit_weight * bit), random)

    def silent(self, random: RandomBytes) -> NDArray[np.int64]:
        """Return what a client without an update sends, so that its absence does not show: int64 (length,)."""
        return self._sum.encode(np.zeros(self.length), random)

    def decode(self, total: NDArray[np.int64], norm: float) -> tuple[Floats, float]:
        """Return the noisy sum of clipped updates, float64 (dimension,), and the norm of the next round.

        How far the fraction within the norm is above its target is taken over the public number of clients, never over
        those who sent: silent ones make the step smaller, and leave its sign alone.

        Raises:
            InvalidParameter: the clipping norm is not positive and finite.
        """
        _check_norm(norm)
        real = self._sum.decode(total)
        above = float(real[-1]) / self.bit_weight / self.parties
        above = min(1.0 - self.target, max(-self.target, above))
        return real[:-1] * norm, norm * math.exp(-self.rate * above)


def _check_norm(norm: float) -> None:
    if not 0.0 < norm < math.inf:
        raise InvalidParameter(f"clipping norm={norm} must be positive and finite")
