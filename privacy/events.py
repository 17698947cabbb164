"""Events are data: what ran, not what it costs. Accountants interpret them; an unknown one is refused.

The meaning of an event class never changes once released: old ledgers must keep their meaning.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from privacy.errors import InvalidParameter, UnsupportedEvent


@dataclass(frozen=True, order=True, kw_only=True)
class SampledGaussian:
    """One Gaussian mechanism on a Poisson sample: each example joins with probability `q` by its own coin.

    `noise_multiplier` is the noise's standard deviation over the clipping norm of one example. Neighbours
    differ by one example added or removed (Abadi et al. 2016, section 3; Mironov et al. 2019). `q = 1` is
    the plain Gaussian mechanism, `q = 0` costs nothing.

    Raises:
        InvalidParameter: q is outside [0, 1], or the multiplier is not positive and finite.
    """

    q: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.q <= 1.0:
            raise InvalidParameter(f"sampling rate q={self.q} is outside [0, 1]; give a public probability")
        if not (self.noise_multiplier > 0.0 and math.isfinite(self.noise_multiplier)):
            raise InvalidParameter(
                f"noise_multiplier={self.noise_multiplier} is not positive and finite; "
                "a step without noise is a NonPrivate event"
            )


@dataclass(frozen=True, order=True, kw_only=True)
class SkellamRelease:
    """One release of an integer vector plus independent Skellam noise of the given variance per entry.

    `l2` and `l1` bound what one example changes in the *rounded integer* vector (Agarwal, Kairouz and Liu
    2021, arXiv 2110.04995, section 3). `variance` is what the guaranteed honest parties add, not what was
    hoped. Neighbours differ by one example added or removed.

    Raises:
        InvalidParameter: a number is not positive and finite.
    """

    variance: float
    l2: float
    l1: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (value > 0.0 and math.isfinite(value)):
                raise InvalidParameter(f"SkellamRelease {name}={value} must be positive and finite")


@dataclass(frozen=True, order=True, kw_only=True)
class SampledSkellam:
    """One Skellam release of a rounded sum over a Poisson sample of rate `q`.

    `variance` is per entry, what the guaranteed honest parties add. `l2` and `l1` bound what one sampled example
    changes in the rounded integers, but for a probability of at most `failure` over the rounding's own coins (0 where
    the bound is sure). Neighbours differ by one example added or removed.

    Raises:
        InvalidParameter: q is outside [0, 1], failure outside [0, 1), or another number is not positive and finite.
    """

    q: float
    variance: float
    l2: float
    l1: float
    failure: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.q <= 1.0:
            raise InvalidParameter(f"sampling rate q={self.q} is outside [0, 1]; give a public probability")
        if not 0.0 <= self.failure < 1.0:
            raise InvalidParameter(f"failure={self.failure} is outside [0, 1); it is a probability per release")
        for name in ("variance", "l2", "l1"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise InvalidParameter(f"SampledSkellam {name}={value} must be positive and finite")


@dataclass(frozen=True, order=True)
class NonPrivate:
    """A release without any guarantee; a cohort that holds one has epsilon infinity."""

    reason: str


Event = SampledGaussian | SkellamRelease | SampledSkellam | NonPrivate


def to_json(event: Event) -> dict[str, Any]:
    """Return the event as a JSON object with its class under "type"."""
    return {"type": type(event).__name__, **asdict(event)}


def from_json(record: dict[str, Any]) -> Event:
    """Return the event of a JSON object made by `to_json`.

    Raises:
        UnsupportedEvent: the type is not one of this version's; it is refused rather than skipped.
    """
    fields = {key: value for key, value in record.items() if key != "type"}
    match record.get("type"):
        case "SampledGaussian":
            return SampledGaussian(**fields)
        case "SkellamRelease":
            return SkellamRelease(**fields)
        case "SampledSkellam":
            return SampledSkellam(**fields)
        case "NonPrivate":
            return NonPrivate(**fields)
        case unknown:
            raise UnsupportedEvent(f"event type {unknown!r} is unknown to this version; upgrade to read it")


def describe(event: Event) -> str:
    """Return one short line for tables and certificates."""
    match event:
        case SampledGaussian(q=q, noise_multiplier=sigma):
            return f"Poisson-sampled Gaussian q={q:g} sigma={sigma:.4g}"
        case SkellamRelease(variance=variance, l2=l2):
            return f"Skellam sigma={math.sqrt(variance) / l2:.4g} (L2 {l2:.6g})"
        case SampledSkellam(q=q, variance=variance, l2=l2, failure=failure):
            sigma = math.sqrt(variance) / l2
            return f"Poisson-sampled Skellam q={q:g} sigma={sigma:.4g} (L2 {l2:.6g} but for {failure:.3g})"
        case NonPrivate(reason=reason):
            return f"no guarantee: {reason}"
