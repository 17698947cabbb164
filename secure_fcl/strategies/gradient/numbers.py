"""The public numbers of a gradient strategy: all that decides what is sent, what it costs and how it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from privacy import DpSgdPlan
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Method
from secure_fcl.strategies.gradient.networks import Networks
from secure_fcl.strategies.gradient.public_inputs import PublicInputs, made_up

Sends = Literal["gradient", "difference"]
"""What a client sends where the noise is shared: a gradient sum, or its model less the round's."""

#: A learnt norm stays between this and its inverse, so that noise alone never leads it out of the floats.
_LARGEST_NORM = 2.0**40


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Public Poisson rates of the strata, and of the current chunk when Fisher information is summed over it."""

    current: float
    memory: float = 0.0
    fisher: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Bounds and integer steps of uploads: what a coordinate may be, and how finely it is told.

    update_clip, update_bits: of an update with its own noise. sum_clip (in clipping norms), scale_bits (integers per
    clipping norm): of a gradient sum that gets its noise inside. fisher_bits: of one entry of Fisher information.
    """

    update_clip: float = 0.5
    update_bits: int = 17
    sum_clip: float = 4.0
    scale_bits: int = 14
    fisher_bits: int = 24


@dataclass(frozen=True, kw_only=True)
class LearntNorm:
    """How a clipping norm follows a private quantile (Andrew et al. 2021, arXiv 1905.03871); their rate and target.

    Attributes:
        target: share of the persons whose norm it is to be above.
        rate: logarithm of the most that it moves by in a round.
        share: of a round's budget that the count takes, of 1 / z^2 for the multiplier z of both releases together.
    """

    target: float = 0.5
    rate: float = 0.2
    share: float = 0.02

    @property
    def most(self) -> float:
        """Most that one client changes the count by, where it changes what is summed beside it by at most 1.

        Gaussian releases compose by 1 / z^2 = 1 / z_sum^2 + (change / z_sum)^2, so that the count's part is `share`. In
        the paper's letters, target 1/2: change = z_sum / (2 sigma_b) and z_sum = (1 / z^2 - 1 / (2 sigma_b)^2)^(-1/2).
        """
        return math.sqrt(self.share / (1.0 - self.share))

    @property
    def weight(self) -> float:
        """What a bit less its target is multiplied by, so that it is at most `most`."""
        return self.most / max(self.target, 1.0 - self.target)

    def counted(self, within: bool) -> float:
        """Return what a client adds that has a vector: whose norm lies within the clipping norm, or not."""
        return self.weight * (float(within) - self.target)

    def moved(self, norm: float, count: float, people: float) -> float:
        """Return the next round's norm, by the noisy count of about so many people; a silent one leaves it alone."""
        above = min(1.0 - self.target, max(-self.target, count / self.weight / people))
        return min(_LARGEST_NORM, max(1.0 / _LARGEST_NORM, norm * math.exp(-self.rate * above)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Numbers:
    """What both ends of an upload read of their strategy; nothing in it is private.

    Attributes:
        name: of the row, and of the upload.
        dpsgd: steps, clipping, noise and step size.
        rates: of the strata.
        networks: which networks, and who computes their gradients.
        method: what the strategy of the literature adds.
        examples: public bound on the examples of one chunk.
        encoding: bounds and integer steps.
        shared: whether noise is added inside the sum; read once, where the uploads are chosen.
        fisher_noise: noise multiplier of Fisher information; 0: none.
        count_noise: noise multiplier of a client's number of examples; 0: none.
        groups: the task of each class, where the test names it.
        keep_moments: whether a client's optimizer goes on at its next visit.
        given: the run's public inputs; None: made up.
        slots: of the calendar.
        last_from: the slot from which only the last layer is trained; None: never.
        persons: whether the unit is a client: its sum is clipped as a whole, and `rates.current` is its own coin's.
        sends: what a client sends where the noise is shared; a difference for persons alone.
        learnt: how the norm of a person's vector is learnt; None: it is `dpsgd.clipping_norm` throughout.
    """

    name: str
    dpsgd: DpSgdPlan
    rates: Rates
    networks: Networks
    method: Method
    examples: int
    encoding: Encoding
    shared: bool
    fisher_noise: float
    count_noise: float
    groups: tuple[int, ...] | None
    keep_moments: bool
    given: PublicInputs | None
    slots: int
    last_from: int | None
    persons: bool = False
    sends: Sends = "gradient"
    learnt: LearntNorm | None = None

    @property
    def unit(self) -> float:
        """The norm that a clipped vector travels with: a learnt one is the server's to multiply with again."""
        return self.dpsgd.clipping_norm if self.learnt is None else 1.0

    @cached_property
    def public(self) -> Floats:
        """The public inputs as networks see them, float32 (n, *shape)."""
        return (self.given or made_up(self.networks.shape, seed=self.networks.seed)).x

    def frozen(self, slot: int) -> int:
        """Return how many weights, from the first, are not trained in a slot."""
        return self.networks.frozen if self.last_from is not None and slot >= self.last_from else 0

    @cached_property
    def head(self) -> Head:
        """The public label set."""
        return Head(self.networks.classes, self.groups)

    @cached_property
    def size(self) -> int:
        """Number of weights."""
        return len(self.networks.initial)
