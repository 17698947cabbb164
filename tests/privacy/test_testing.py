"""The conformance suite on ours, and on wrong ones: each fault must be noticed."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from privacy import (
    Accountant,
    Event,
    NonPrivate,
    PldAccountant,
    RandomBytes,
    RdpAccountant,
    SampledGaussian,
    SkellamRelease,
)
from privacy.errors import ConformanceError, InvalidParameter
from privacy.secure_gaussian import gaussian
from privacy.skellam import sample_skellam
from privacy.statistics import Moments
from privacy.testing import (
    CHECKS,
    MechanismCase,
    check_accountant,
    check_cheaper,
    check_mechanism,
    check_not_above,
    check_refusals,
    exact_gaussian,
    exact_skellam_bit,
    lower_bound,
)

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
        true + (0.1 * getattr(next(iter(events)), "q", 0.0) if true and math.isfinite(true) else 0)
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


def test_pld_at_a_fine_interval_is_never_above_rdp() -> None:
    check_not_above(PldAccountant(1e-4), RdpAccountant())
    with pytest.raises(ConformanceError, match="above the"):
        check_not_above(RdpAccountant(), PldAccountant(1e-4))


BIT, NOBODY = np.array([[1.0]]), SampledGaussian(q=1.0, noise_multiplier=2.0)


def gaussian_bit(x: np.ndarray, random: RandomBytes) -> np.ndarray:
    return x.sum(0) + gaussian(2.0, (1,), random).numpy()


def case(release: Callable, event: Event = NOBODY, scale: float = 1.0) -> MechanismCase:
    return MechanismCase("bit", release, BIT, {event: 1}, lambda r: float(r[0]) / scale, RdpAccountant())


def skellam_bit(x: np.ndarray, random: RandomBytes) -> np.ndarray:
    return x.sum(0).astype(np.int64) + sample_skellam(4.0, 1, random)


def test_sound_mechanisms_pass(keyed) -> None:
    check_mechanism(case(gaussian_bit), 1000, keyed(1))
    check_mechanism(case(skellam_bit, SkellamRelease(variance=4.0, l2=1.0, l1=1.0)), 1000, keyed(2))
    sums = Moments(dimension=3, bound=1.0, noise_multiplier=1.5)

    def release(x: np.ndarray, random: RandomBytes) -> np.ndarray:
        found = sums.release(x, random)
        return np.append(found.total, found.count)

    examples = np.vstack([[1.0, 0, 0], np.zeros((5, 3))])
    check_mechanism(
        MechanismCase("moments", release, examples, {sums.event: 1}, lambda r: float(r[0] + r[3]), RdpAccountant()),
        1000, keyed(3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda x, random: x.sum(0) + 0.05 * gaussian(2.0, (1,), random).numpy(), "trials prove"),
        (lambda x, random: x.sum(0), "no noise"),
        (lambda x, random: gaussian_bit(x, random) if len(x) else np.zeros(1), "no noise"),
        (lambda x, random: np.append(x[:, 0], gaussian(2.0, (1,), random).numpy()), "shape tells"),
        (lambda x, random: x.sum(0) + gaussian(2.0, (1,), random).numpy() * len(x), "no noise"),
        (lambda x, random: gaussian_bit(-9.0 * x, random), "trials prove"),
    ],
    ids=["too little", "none", "none when empty", "as long as the data", "grows with the data", "wrong way round"],
)
def test_faulty_mechanisms_are_noticed(fault: Callable, said: str, keyed) -> None:
    cheap = SampledGaussian(q=1.0, noise_multiplier=20.0)
    with pytest.raises(ConformanceError, match=said):
        check_mechanism(case(fault, cheap), 1000, keyed(4))


def test_a_mechanism_charges_less_for_more_noise() -> None:
    check_cheaper([{SampledGaussian(q=0.1, noise_multiplier=s): 5} for s in (0.7, 1.0, 3.0)])
    with pytest.raises(ConformanceError, match="case 1"):
        check_cheaper(
            [{SampledGaussian(q=0.1, noise_multiplier=3.0): 5}, {SampledGaussian(q=0.1, noise_multiplier=1.0): 5}]
        )


def test_the_lower_bound(keyed) -> None:
    """Perfect separation proves what the trials can; equal scores prove nothing; it holds for the Gaussian bit."""
    ones, zeros = np.ones(2000), np.zeros(2000)
    ceiling = math.log((1e-6 / 2) ** (1 / 1000)) - math.log1p(-((1e-6 / 2) ** (1 / 1000)))
    assert lower_bound(ones, zeros) == pytest.approx(ceiling, rel=1e-3)
    assert lower_bound(zeros, ones) == pytest.approx(ceiling, rel=1e-3)
    assert lower_bound(ones, ones) == 0.0
    assert lower_bound(np.full(20, math.nan), np.full(20, math.nan)) == 0.0
    noise = gaussian(1.0, (2, 20_000), keyed(5)).numpy()
    assert 0.5 < lower_bound(noise[0] + 1.0, noise[1]) < exact_gaussian(1.0, 1e-5)
    with pytest.raises(InvalidParameter):
        lower_bound(ones[:1], zeros)
    with pytest.raises(InvalidParameter):
        check_mechanism(case(gaussian_bit), 10)
