import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import Accountant, NonPrivate, PldAccountant, RdpAccountant, SampledGaussian, SkellamRelease
from privacy.accountants import FRACTIONAL_ORDERS, ORDERS, _rdp_curve
from privacy.errors import InvalidParameter
from privacy.testing import exact_sampled_gaussian

PLD, RDP = PldAccountant(), RdpAccountant()
both = pytest.mark.parametrize("accountant", [PLD, RDP], ids=lambda a: a.name)
# A small set, since a Renyi curve takes 0.15 s and is then remembered.
GAUSSIANS = [SampledGaussian(q=q, noise_multiplier=s) for q in (0.01, 0.25, 1.0) for s in (0.8, 1.4, 5.0)]
SKELLAMS = [SkellamRelease(variance=400.0, l2=5.0, l1=9.0), SkellamRelease(variance=1e8, l2=4000.0, l1=60000.0)]
gaussian_histories = st.dictionaries(st.sampled_from(GAUSSIANS), st.integers(1, 60), min_size=1, max_size=3)
histories = st.dictionaries(st.sampled_from(GAUSSIANS + SKELLAMS), st.integers(1, 60), min_size=1, max_size=4)
deltas = st.floats(1e-9, 0.1)
few = settings(max_examples=15, deadline=None)


@few
@given(gaussian_histories, deltas)
def test_pld_is_not_above_rdp(history: dict, delta: float) -> None:
    # The slack is what pessimistic losses on multiples of 1e-3 may add.
    assert PLD.epsilon(history, delta) <= RDP.epsilon(history, delta) * 1.02 + 0.02


@few
@given(histories, st.sampled_from(GAUSSIANS + SKELLAMS), st.integers(1, 20), deltas)
def test_one_event_more_never_costs_less(history: dict, event: object, count: int, delta: float) -> None:
    more = dict(history)
    more[event] = more.get(event, 0) + count
    assert RDP.epsilon(history, delta) <= RDP.epsilon(more, delta)


@few
@given(gaussian_histories, gaussian_histories, deltas)
def test_a_kept_example_spends_at_least_what_a_discarded_one_does(current: dict, memory: dict, delta: float) -> None:
    kept = {event: current.get(event, 0) + memory.get(event, 0) for event in {*current, *memory}}
    assert PLD.epsilon(current, delta) <= PLD.epsilon(kept, delta) + 1e-9


@few
@given(histories, st.randoms())
def test_order_does_not_matter(history: dict, random: object) -> None:
    items = list(history.items())
    random.shuffle(items)
    assert RDP.epsilon(dict(items), 1e-5) == pytest.approx(RDP.epsilon(history, 1e-5), rel=1e-12)


@few
@given(st.floats(0.0, 1.0), st.floats(0.4, 20.0), st.floats(1.0, 2.0))
def test_pld_is_monotone_in_rate_and_noise(q: float, sigma: float, factor: float) -> None:
    def cost(rate: float, noise: float) -> float:
        return PLD.epsilon({SampledGaussian(q=rate, noise_multiplier=noise): 5}, 1e-5)

    assert cost(q / factor, sigma) <= cost(q, sigma) + 1e-6
    assert cost(q, sigma * factor) <= cost(q, sigma) + 1e-6


@few
@given(st.floats(0.001, 1.0), st.floats(0.5, 8.0), st.sampled_from([1e-1, 1e-3, 1e-5, 1e-7]))
def test_pld_of_one_step_is_at_least_and_nearly_exact(q: float, sigma: float, delta: float) -> None:
    exact = exact_sampled_gaussian(q, sigma, delta)
    claimed = PLD.epsilon({SampledGaussian(q=q, noise_multiplier=sigma): 1}, delta)
    assert exact - 1e-9 <= claimed <= exact + 2e-3


@pytest.mark.parametrize("interval", [1e-4, 1e-3, 1e-2, 0.1])
def test_a_coarser_grid_of_losses_only_adds(interval: float) -> None:
    """Pessimism: the true value lies below every discretisation, here seen through the exact Gaussian."""
    history = {SampledGaussian(q=1.0, noise_multiplier=4.0): 16}
    assert PldAccountant(interval).epsilon(history, 1e-5) >= 4.377178095681223 - 1e-9


@both
def test_nothing_costs_nothing(accountant: Accountant) -> None:
    assert accountant.epsilon({}, 1e-5) == 0.0
    assert (
        accountant.epsilon(
            {SampledGaussian(q=0.0, noise_multiplier=1.0): 50, SampledGaussian(q=0.5, noise_multiplier=1.0): 0}, 1e-5
        )
        == 0.0
    )
    assert accountant.epsilon({NonPrivate("never happened"): 0}, 1e-5) == 0.0


@both
def test_no_guarantee_is_infinite(accountant: Accountant) -> None:
    assert accountant.epsilon({NonPrivate("x"): 1, SampledGaussian(q=0.1, noise_multiplier=1.0): 1}, 1e-5) == math.inf


@both
@pytest.mark.parametrize("delta", [0.0, 1.0, -0.5, math.nan])
def test_delta_is_a_probability(accountant: Accountant, delta: float) -> None:
    with pytest.raises(InvalidParameter, match="outside"):
        accountant.epsilon({}, delta)


@both
def test_a_negative_count_is_refused(accountant: Accountant) -> None:
    with pytest.raises(InvalidParameter, match="count=-2"):
        accountant.epsilon({SampledGaussian(q=0.1, noise_multiplier=1.0): -2}, 1e-5)


@pytest.mark.parametrize("interval", [0.0, -1.0, 2.0, math.nan])
def test_an_interval_is_positive(interval: float) -> None:
    with pytest.raises(InvalidParameter, match="interval"):
        PldAccountant(interval)


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.05])
def test_a_hopeless_history_is_infinite_and_quick(sigma: float) -> None:
    assert PLD.epsilon({SampledGaussian(q=0.9, noise_multiplier=sigma): 10_000}, 1e-5) == math.inf


def test_too_many_steps_are_left_to_rdp() -> None:
    history = {SampledGaussian(q=1.0, noise_multiplier=1000.0): 10**10}
    assert PLD.epsilon(history, 1e-5) == math.inf
    assert 5000.0 < RDP.epsilon(history, 1e-5) < math.inf


def numeric_rdp(q: float, sigma: float, order: float) -> float:
    """Renyi divergence of q N(1, sigma^2) + (1 - q) N(0, sigma^2) from N(0, sigma^2), by a Riemann sum."""
    x = np.linspace(-12 * sigma - 2, order + 14 * sigma + 2, 200_001)
    ratio = np.logaddexp(np.log1p(-q), np.log(q) + (2 * x - 1) / (2 * sigma**2))
    exponent = order * ratio - x**2 / (2 * sigma**2) - 0.5 * math.log(2 * math.pi * sigma**2)
    top = exponent.max()
    return float(top + math.log(np.exp(exponent - top).sum() * (x[1] - x[0]))) / (order - 1)


@pytest.mark.parametrize(("q", "sigma"), list(itertools.product((0.01, 0.25, 0.9), (0.5, 1.4, 5.0))))
def test_the_renyi_curve_bounds_the_numeric_one(q: float, sigma: float) -> None:
    curve = _rdp_curve(SampledGaussian(q=q, noise_multiplier=sigma))
    for order in (*FRACTIONAL_ORDERS, 2.0, 3.0, 8.0, 32.0):
        true = numeric_rdp(q, sigma, order)
        claimed = curve[ORDERS.index(order)]
        assert claimed >= true * (1 - 1e-5) - 1e-10
        if order.is_integer():
            assert claimed <= true * (1 + 1e-5) + 1e-10


@pytest.mark.parametrize(
    "event",
    [SampledGaussian(q=0.5, noise_multiplier=100.0), SampledGaussian(q=0.05, noise_multiplier=0.5), *SKELLAMS],
    ids=str,
)
def test_a_renyi_curve_rises_and_has_no_holes(event: object) -> None:
    """The series fails at some fractional orders; the next higher order stands in."""
    curve = _rdp_curve(event)
    assert np.isfinite(curve).all()
    assert (np.diff(curve) >= 0).all()
    assert (curve > 0).all()


def test_a_failed_series_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """dp_accounting turns a negative divergence into epsilon 0; here it is an order that is left out."""
    from privacy import accountants

    negative = np.full(len(ORDERS), 0.5)
    negative[3:] = -1e-9
    negative[1] = math.nan
    monkeypatch.setattr(accountants, "_sampled_gaussian", lambda q, sigma: negative)
    fresh = SampledGaussian(q=0.123456789, noise_multiplier=1.0)
    try:
        assert RDP.epsilon({fresh: 1}, 1e-5) > 0.5
    finally:
        _rdp_curve.cache_clear()


def test_mixed_histories_use_all_orders() -> None:
    """Skellam bounds exist at integers only; with Gaussian steps beside them nothing becomes infinite or less."""
    gaussian, skellam = {GAUSSIANS[0]: 10}, {SKELLAMS[0]: 2}
    together = RDP.epsilon(gaussian | skellam, 1e-5)
    assert max(RDP.epsilon(gaussian, 1e-5), RDP.epsilon(skellam, 1e-5)) < together
    assert together < RDP.epsilon(gaussian, 5e-6) + RDP.epsilon(skellam, 5e-6) + 1e-9
