"""What a schedule costs a group of examples that come and go together, such as a block of windows with one coin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.events import Event, NonPrivate, SampledGaussian


@lru_cache(maxsize=64)
def _group_pld(q: float, sigma: float, size: int, count: int, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld
    from scipy.stats import binom

    one = pld.from_mixture_gaussian_mechanism(
        standard_deviation=sigma,
        sensitivities=[float(k) for k in range(size + 1)],
        sampling_probs=[float(binom.pmf(k, size, q)) for k in range(size + 1)],
        value_discretization_interval=interval,
    )
    return one.self_compose(count)


def group_epsilon(events: Mapping[Event, int], size: int, delta: float, interval: float = 1e-2) -> float:
    """Return epsilon for adding or removing `size` examples of one cohort at once.

    Each of them joins a batch by its own coin, so a step's shift is a Binomial(size, q) number of clipped gradients:
    at most that many clipping norms. It is bounded by the mixture of Gaussians with those shifts
    (Choquette-Choo, Ganesh, Steinke and Thakurta 2023, arXiv 2310.15526, section 4), composed as a privacy loss
    distribution. `size` 1 is the ordinary add-or-remove epsilon; no events give 0; a NonPrivate one gives inf.

    Raises:
        InvalidParameter: size below 1 or delta outside (0, 1).
        UnsupportedEvent: an event that is not a sampled Gaussian.
    """
    if size < 1 or not 0.0 < delta < 1.0:
        raise InvalidParameter(f"size={size} must be at least 1 and delta={delta} in (0, 1)")
    composed = None
    for event, count in sorted(events.items(), key=str):
        match event:
            case NonPrivate():
                return math.inf
            case SampledGaussian(q=q, noise_multiplier=sigma):
                if count == 0 or q == 0.0:
                    continue
                part = _group_pld(q, sigma, size, count, interval)
                composed = part if composed is None else composed.compose(part)
            case _:
                raise UnsupportedEvent(f"the cost of {event} to a group is not known")
    return 0.0 if composed is None else float(composed.get_epsilon_for_delta(delta))
