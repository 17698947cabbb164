"""Skellam noise inside a secure sum: how large each party's share is, and what it charges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter
from privacy.events import SkellamRelease
from privacy.randomness import RandomBytes
from privacy.skellam import rounded_sensitivity, sample_skellam, skellam_bound

Placement = Literal["shared", "local"]


@dataclass(frozen=True, kw_only=True)
class SkellamSum:
    """One noisy integer sum over `parties`: mechanism and event made together.

    An example weighs at most `l2` (in the units of the scaled integers, before rounding) and touches at most
    `dimension` entries. "shared": the guaranteed honest parties (`parties - max_dropouts - colluders`)
    together add the full variance, so the released sum carries it whoever drops or colludes within the bounds.
    "local": every party adds the full variance alone and trusts nobody.

    *Guarantee*: with at most `max_dropouts` parties missing and at most `colluders` parties that reveal or leave
    out their noise, the release is SkellamRelease(variance, L2, L1) for one example added or removed. More noise
    than that (fewer dropouts) is post-processing. At least one colluder is always assumed, since whoever receives
    the model knows its own share.

    Raises:
        InvalidParameter: nobody is left who is sure to add noise, or a number is outside its range.
    """

    parties: int
    max_dropouts: int
    colluders: int
    l2: float
    dimension: int
    noise_multiplier: float
    placement: Placement

    def __post_init__(self) -> None:
        if self.colluders < 1:
            raise InvalidParameter(f"colluders={self.colluders}: at least 1, a client that knows its own share")
        if self.max_dropouts < 0 or self.honest < 1:
            raise InvalidParameter(
                f"parties={self.parties} minus max_dropouts={self.max_dropouts} minus "
                f"colluders={self.colluders} leaves nobody who is sure to add noise; lower one of the two"
            )
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise InvalidParameter(f"noise_multiplier={self.noise_multiplier} must be positive and finite")
        if self.placement not in get_args(Placement):
            raise InvalidParameter(f"placement={self.placement!r} must be one of {get_args(Placement)}")
        rounded_sensitivity(self.l2, self.dimension)

    @property
    def honest(self) -> int:
        """Number of parties sure to survive and to keep their share secret."""
        return self.parties - self.max_dropouts - self.colluders

    @property
    def guaranteed_variance(self) -> float:
        """Variance per entry that is charged: (noise multiplier times the rounded L2 sensitivity) squared."""
        return (self.noise_multiplier * rounded_sensitivity(self.l2, self.dimension)[0]) ** 2

    @property
    def share_variance(self) -> float:
        """Variance per entry that each party adds."""
        return self.guaranteed_variance / (self.honest if self.placement == "shared" else 1)

    @property
    def event(self) -> SkellamRelease:
        """What one release charges."""
        l2, l1 = rounded_sensitivity(self.l2, self.dimension)
        return SkellamRelease(variance=self.guaranteed_variance, l2=l2, l1=l1)

    def share(self, entries: int, random: RandomBytes) -> NDArray[np.int64]:
        """Return one party's share, int64 (entries,); fresh bytes at every call, or two releases share their noise."""
        return sample_skellam(self.share_variance, entries, random)

    def noise_bound(self, entries: int, probability: float) -> int:
        """Return a bound that some entry's noise, summed over all parties, exceeds with at most `probability`."""
        return skellam_bound(self.parties * self.share_variance, entries, probability)
