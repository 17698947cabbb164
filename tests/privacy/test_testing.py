"""The conformance suite on both accountants, and on wrong ones: each fault must be noticed."""

import math
from collections.abc import Callable, Mapping

import pytest

from privacy import Accountant, Event, NonPrivate, PldAccountant, RdpAccountant, SampledGaussian
from privacy.errors import ConformanceError
from privacy.testing import CHECKS, check_accountant, check_refusals, exact_gaussian, exact_skellam_bit

Check = Callable[[Accountant], None]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("accountant", [PldAccountant(), RdpAccountant()], ids=lambda a: a.name)
def test_ours(accountant: Accountant, check: Check) -> None:
    check(accountant)


class Wrong:
    """PLD with one fault."""

    name = "wrong"

    def __init__(self, fault: Callable[[float, Mapping[Event, int], float], float]) -> None:
        self._inner = PldAccountant()
        self._fault = fault

    def supports(self, event: Event) -> bool:
        return self._inner.supports(event)

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        return self._fault(self._inner.epsilon(events, delta), events, delta)


def clt(true: float, events: Mapping[Event, int], delta: float) -> float:
    """The central-limit approximation (Dong, Roth and Su 2022, Corollary 5.4), which understates short runs."""
    gaussians = [(e, n) for e, n in events.items() if isinstance(e, SampledGaussian) and n]
    if not gaussians or math.isinf(true):
        return true
    mu = math.sqrt(sum(n * e.q**2 * math.expm1(min(e.noise_multiplier**-2, 500.0)) for e, n in gaussians))
    return exact_gaussian(mu, delta) if mu else 0.0


FAULTS = {
    "too optimistic": lambda true, events, delta: 0.98 * true,
    "central limit": clt,
    "charges nothing something": lambda true, events, delta: true + 0.01,
    "counts one step": lambda true, events, delta: PldAccountant().epsilon(
        {e: 1 for e, n in events.items() if n}, delta
    ),
    "first event only": lambda true, events, delta: PldAccountant().epsilon(dict([*events.items()][:1]), delta),
    "order matters": lambda true, events, delta: (
        true + (0.1 * next(iter(events)).q if true and math.isfinite(true) else 0)
    ),
    "forgives": lambda true, events, delta: PldAccountant().epsilon(
        {e: n for e, n in events.items() if not isinstance(e, NonPrivate)}, delta
    ),
    "falls with delta": lambda true, events, delta: true * (1 + delta * 1e5),
    "not a number": lambda true, events, delta: math.nan if true > 3.0 else true,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_one_is_noticed(fault: Callable[..., float]) -> None:
    with pytest.raises(ConformanceError, match="accountant 'wrong'"):
        check_accountant(Wrong(fault))


def test_the_harness_itself_is_no_fault() -> None:
    check_accountant(Wrong(lambda true, events, delta: true))


def test_one_that_never_refuses_is_noticed() -> None:
    class Generous(Wrong):
        def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
            return super().epsilon(events, delta if 0 < delta < 1 else 1e-5)

    with pytest.raises(ConformanceError, match="must refuse"):
        check_accountant(Generous(lambda true, events, delta: true))


def test_one_that_guesses_is_noticed() -> None:
    class Guessing(Wrong):
        def supports(self, event: Event) -> bool:
            return True

    with pytest.raises(ConformanceError, match="claims to know"):
        check_refusals(Guessing(lambda true, events, delta: true))


def test_exact_values() -> None:
    """Balle and Wang 2018 at mu = 1; large Skellam noise is Gaussian noise."""
    assert exact_gaussian(1.0, 1e-5) == pytest.approx(4.3772, abs=1e-4)
    assert exact_skellam_bit(1e4, 1e-5) == pytest.approx(exact_gaussian(0.01, 1e-5), rel=1e-2)
