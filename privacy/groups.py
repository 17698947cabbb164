"""What a schedule costs a group that comes and goes together: a block of windows with one coin, or many steps apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.events import Event, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.statement import COARSE, best_epsilon

#: A delta below it for a single step asks for more than losses in floats can tell.
_LEAST_DELTA = 1e-200


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


def stepwise_epsilon(histories: Sequence[Mapping[Event, int]], steps: int, delta: float, most: float = 20.0) -> float:
    """Return epsilon between two data sets that are `steps` neighbours apart, each step costing one of `histories`.

    The smaller of two bounds that hold; inf where neither says at most `most`, which is not sought further.

    - Step by step: M(D) <= e^epsilon M(D') + d at every step gives e^(k epsilon) and d (1 + e^epsilon + ... +
      e^((k-1) epsilon)) after k of them, by induction; epsilon is that of the worst history at d, and d is sought such
      that the second is at most `delta`.
    - At once, where every event is Skellam noise on a sum that everybody is in: each of k steps moves the integers of a
      release by no more than its history says, in a Gaussian's measure m_r for release r. By Minkowski's inequality the
      root of the sum over releases of (m_r1 + ... + m_rk)^2 is at most the sum of the steps' own roots, so at most k
      times the worst history's: the history with k times its sensitivities (`shifted`), counted as Gaussians.

    Raises:
        InvalidParameter: steps below 1 or delta outside (0, 1).
    """
    if steps < 1 or not 0.0 < delta < 1.0:
        raise InvalidParameter(f"steps={steps} must be at least 1 and delta={delta} in (0, 1)")
    held = [{event: count for event, count in history.items() if count} for history in histories]
    if any(isinstance(event, NonPrivate) for history in held for event in history):
        return math.inf
    # Loss distributions of very large sensitivities take long, and say nothing.
    if steps * _of_one(held, delta) > most:
        return math.inf
    at_once = max((_at_once(history, steps, delta) for history in held), default=0.0)
    found = min(at_once, _chained(held, steps, delta, min(at_once, most)))
    return found if found <= most else math.inf


def _at_once(history: Mapping[Event, int], steps: int, delta: float) -> float:
    whole = shifted(history, steps)
    return math.inf if whole is None or not all(map(COARSE.supports, whole)) else COARSE.epsilon(whole, delta)


def shifted(events: Mapping[Event, int], steps: int) -> dict[Event, int] | None:
    """Return what so many steps cost at once: the sensitivities times `steps`; None for a release that is sampled.

    A sampled release is an event of one step's own coin: to move by another's coin as well costs more than its size.
    """
    found: dict[Event, int] = {}
    for event, count in events.items():
        match event:
            case SkellamRelease():
                found[replace(event, l2=steps * event.l2, l1=steps * event.l1)] = count
            case SampledSkellam(q=1.0):
                failure = steps * event.failure
                found[replace(event, l2=steps * event.l2, l1=steps * event.l1, failure=failure)] = count
            case _:
                return None
    return found


def _chained(histories: Sequence[Mapping[Event, int]], steps: int, delta: float, enough: float) -> float:
    """Return what step by step gives; inf once it is sure to be more than `enough`."""
    share = delta / steps
    while share > _LEAST_DELTA:
        one = _of_one(histories, share)
        if not steps * one <= enough:
            return math.inf
        fits = delta / sum(math.exp(k * one) for k in range(steps))
        if share <= fits:
            return steps * one
        # A hair less, so that it ends: a smaller share costs more at every step.
        share = 0.98 * fits
    return math.inf


def _of_one(histories: Sequence[Mapping[Event, int]], delta: float) -> float:
    return max((min(e for e in best_epsilon(one, delta) if e is not None) for one in histories), default=0.0)
