"""The laws of an accountant. The bounds from below are exact: one that claims less is wrong, not tighter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from privacy.accountants import Accountant
from privacy.errors import ConformanceError, InvalidParameter, UnsupportedEvent
from privacy.events import Event, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.testing.exact import exact_gaussian, exact_sampled_gaussian, exact_skellam_bit

DELTA = 1e-5
#: Relative and absolute slack for floating point, and for a discretisation of the losses.
SLACK = 1e-6

_SAMPLES: tuple[Event, ...] = (
    SampledGaussian(q=0.01, noise_multiplier=1.1),
    SampledGaussian(q=0.25, noise_multiplier=1.4),
    SampledGaussian(q=1.0, noise_multiplier=2.0),
    SkellamRelease(variance=400.0, l2=5.0, l1=9.0),
    SkellamRelease(variance=1e8, l2=4000.0, l1=60000.0),
    SampledSkellam(q=0.05, variance=1e4, l2=50.0, l1=2500.0),
    SampledSkellam(q=0.25, variance=1e8, l2=4000.0, l1=60000.0, failure=1e-15),
)


@dataclass(frozen=True)
class _Foreign:
    """An event of somebody else's mechanism."""

    strength: float = 1.0


def check_free(accountant: Accountant) -> None:
    """Nothing costs nothing: no events, events counted 0 times, a stratum that is never sampled."""
    histories: list[dict[Event, int]] = [{}, *({event: 0} for event in _supported(accountant))]
    if accountant.supports(SampledGaussian(q=0.0, noise_multiplier=1.0)):
        histories.append({SampledGaussian(q=0.0, noise_multiplier=1.0): 100})
    if accountant.supports(SampledSkellam(q=0.0, variance=1.0, l2=1.0, l1=1.0)):
        histories.append({SampledSkellam(q=0.0, variance=1.0, l2=1.0, l1=1.0, failure=0.5): 100})
    for history in histories:
        _expect(accountant.epsilon(history, DELTA) == 0.0, accountant, f"{history} must cost 0")


def check_non_private(accountant: Accountant) -> None:
    """A release without any guarantee makes epsilon infinite, whatever stands beside it."""
    event = NonPrivate("conformance suite")
    if not accountant.supports(event):
        return
    histories: list[dict[Event, int]] = [{event: 1}, *({o: 3, event: 1} for o in _supported(accountant))]
    for history in histories:
        _expect(accountant.epsilon(history, DELTA) == math.inf, accountant, f"{history} must be infinite")


def check_refusals(accountant: Accountant) -> None:
    """A delta outside (0, 1) and a negative count are refused, and so is every event that is not supported."""
    event = next(iter(_supported(accountant)), None)
    history: dict[Event, int] = {} if event is None else {event: 1}
    for delta in (0.0, 1.0, -1e-5, 2.0, math.nan):
        _expect_refusal(accountant, history, delta, InvalidParameter)
    if event is not None:
        _expect_refusal(accountant, {event: -1}, DELTA, InvalidParameter)
    foreign: Any = _Foreign()
    _expect(not accountant.supports(foreign), accountant, f"it claims to know {foreign}")
    for unknown in (foreign, *(e for e in _SAMPLES if not accountant.supports(e))):
        _expect_refusal(accountant, {unknown: 1}, DELTA, UnsupportedEvent)


def check_monotone(accountant: Accountant) -> None:
    """Epsilon never falls with more steps, a higher rate, less noise, a smaller delta, or an event more."""
    for event in _supported(accountant):
        for fewer, more in itertools.pairwise((1, 2, 10, 100)):
            _expect_order(accountant, {event: fewer}, {event: more})
        _expect_order(accountant, {event: 10}, {event: 10}, DELTA, DELTA / 100)
        for other in _supported(accountant):
            _expect_order(accountant, {event: 10}, {event: 10} | ({other: 10} if other != event else {}))
    rates, multipliers = (0.0, 1e-3, 0.01, 0.2, 1.0), (8.0, 2.0, 1.1, 0.7)
    if accountant.supports(SampledGaussian(q=0.1, noise_multiplier=1.0)):
        for low, high in itertools.pairwise(rates):
            _expect_order(
                accountant,
                {SampledGaussian(q=low, noise_multiplier=1.3): 40},
                {SampledGaussian(q=high, noise_multiplier=1.3): 40},
            )
        for much, little in itertools.pairwise(multipliers):
            _expect_order(
                accountant,
                {SampledGaussian(q=0.1, noise_multiplier=much): 40},
                {SampledGaussian(q=0.1, noise_multiplier=little): 40},
            )
    if accountant.supports(SkellamRelease(variance=1.0, l2=1.0, l1=1.0)):
        for large, small in itertools.pairwise((1e6, 1e4, 100.0, 30.0)):
            _expect_order(
                accountant,
                {SkellamRelease(variance=large, l2=5.0, l1=9.0): 3},
                {SkellamRelease(variance=small, l2=5.0, l1=9.0): 3},
            )
    _check_sampled_skellam(accountant, rates)


def _check_sampled_skellam(accountant: Accountant, rates: tuple[float, ...]) -> None:
    if not accountant.supports(SampledSkellam(q=0.1, variance=400.0, l2=5.0, l1=9.0)):
        return
    for low, high in itertools.pairwise(rates):
        less, more = (
            SampledSkellam(q=low, variance=400.0, l2=5.0, l1=9.0),
            SampledSkellam(q=high, variance=400.0, l2=5.0, l1=9.0),
        )
        _expect_order(accountant, {less: 10}, {more: 10})
    for large, small in itertools.pairwise((1e6, 1e4, 100.0, 30.0)):
        less, more = (
            SampledSkellam(q=0.1, variance=large, l2=5.0, l1=9.0),
            SampledSkellam(q=0.1, variance=small, l2=5.0, l1=9.0),
        )
        _expect_order(accountant, {less: 10}, {more: 10})
    for sure, unsure in itertools.pairwise((0.0, 1e-12, 1e-8, 1e-3, 0.5)):
        less, more = (
            SampledSkellam(q=0.1, variance=400.0, l2=5.0, l1=9.0, failure=sure),
            SampledSkellam(q=0.1, variance=400.0, l2=5.0, l1=9.0, failure=unsure),
        )
        _expect_order(accountant, {less: 10}, {more: 10})


def check_order(accountant: Accountant) -> None:
    """A history is a multiset: the order in which its events are named does not matter."""
    history = {event: 1 + 7 * place for place, event in enumerate(_supported(accountant))}
    first = accountant.epsilon(history, DELTA)
    second = accountant.epsilon(dict(reversed(history.items())), DELTA)
    close = math.isclose(first, second, rel_tol=SLACK, abs_tol=SLACK)
    _expect(close, accountant, f"the order of the events changes epsilon from {first} to {second}")


def check_not_below_truth(accountant: Accountant) -> None:
    """Epsilon is not below the exact value where that is known in closed form or by a sum.

    Gaussian mechanism and its composition (Balle and Wang 2018, Theorem 8), one Poisson-sampled Gaussian step, and
    one Skellam release of a bit.
    """
    known: list[tuple[Event, int, float]] = [
        (SampledGaussian(q=1.0, noise_multiplier=sigma), steps, exact_gaussian(math.sqrt(steps) / sigma, DELTA))
        for sigma, steps in ((0.5, 1), (1.0, 1), (4.0, 16), (2.0, 100))
    ]
    known += [
        (SampledGaussian(q=q, noise_multiplier=sigma), 1, exact_sampled_gaussian(q, sigma, DELTA))
        for q, sigma in ((0.01, 1.1), (0.25, 0.8), (0.5, 1.4))
    ]
    for variance in (2.0, 30.0):
        exact = exact_skellam_bit(variance, DELTA)
        known += [
            (SkellamRelease(variance=variance, l2=1.0, l1=1.0), 1, exact),
            (SampledSkellam(q=1.0, variance=variance, l2=1.0, l1=1.0), 1, exact),
        ]
    for event, count, exact in known:
        if accountant.supports(event):
            claimed = accountant.epsilon({event: count}, DELTA)
            said = f"{count} x {event}: it claims {claimed}, but {exact} is spent"
            _expect(claimed >= exact - SLACK, accountant, said)


CHECKS: tuple[Callable[[Accountant], None], ...] = (
    check_free,
    check_non_private,
    check_refusals,
    check_monotone,
    check_order,
    check_not_below_truth,
)


def check_accountant(accountant: Accountant) -> None:
    """Run every check of `CHECKS` on one accountant; takes well under a minute for ours.

    Raises:
        ConformanceError: at the first law broken.
    """
    for check in CHECKS:
        check(accountant)


def check_not_above(tighter: Accountant, looser: Accountant) -> None:
    """Epsilon of `tighter` is never above that of `looser`, for every event that both support, few steps and many.

    Meant for privacy loss distributions at an interval of 1e-4 or finer against Renyi accounting.

    Raises:
        ConformanceError: names the history, and both values.
    """
    for event in _supported(tighter):
        if not looser.supports(event):
            continue
        for count in (1, 30, 1000):
            low, high = (a.epsilon({event: count}, DELTA) for a in (tighter, looser))
            said = f"{count} x {event} costs {low}, above the {high} of {looser.name!r}"
            _expect(0.0 <= low <= high * (1.0 + SLACK) + SLACK, tighter, said)


def _supported(accountant: Accountant) -> list[Event]:
    return [event for event in _SAMPLES if accountant.supports(event)]


def _expect(holds: bool, accountant: Accountant, said: str) -> None:
    if not holds:
        raise ConformanceError(f"accountant {accountant.name!r}: {said}")


def _expect_order(
    accountant: Accountant,
    less: Mapping[Event, int],
    more: Mapping[Event, int],
    delta_of_less: float = DELTA,
    delta_of_more: float = DELTA,
) -> None:
    low, high = accountant.epsilon(less, delta_of_less), accountant.epsilon(more, delta_of_more)
    said = f"{dict(more)} at delta {delta_of_more:g} costs {high}, but {dict(less)} at {delta_of_less:g} costs {low}"
    # Written so that a NaN fails.
    _expect(0.0 <= low <= high * (1.0 + SLACK) + SLACK, accountant, said)


def _expect_refusal(accountant: Accountant, history: Mapping[Event, int], delta: float, error: type[Exception]) -> None:
    try:
        claimed = accountant.epsilon(history, delta)
    except error:
        return
    raise ConformanceError(
        f"accountant {accountant.name!r} must refuse {dict(history)} at delta {delta} with {error.__name__}, "
        f"but says {claimed}"
    )
