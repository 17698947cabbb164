import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skellam

from privacy import RdpAccountant, SampledGaussian, SampledSkellam
from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.sampled_skellam import (
    high_probability_sensitivity,
    poisson_sampled_rdp,
    sampled_skellam_curve,
)
from privacy.skellam import skellam_rdp

few = settings(max_examples=25, deadline=None)


def renyi(p: np.ndarray, q: np.ndarray, order: int) -> float:
    kept = (p > 0) & (q > 0)
    logs = order * np.log(p[kept]) + (1 - order) * np.log(q[kept])
    return float(np.logaddexp.reduce(logs)) / (order - 1)


@pytest.mark.parametrize("q", [0.001, 0.01, 0.25, 0.9])
@pytest.mark.parametrize("sigma", [0.7, 1.1, 4.0])
def test_with_a_gaussian_base_it_is_dp_accountings_sampled_gaussian(q: float, sigma: float) -> None:
    theirs = dict(zip(ORDERS, RdpAccountant().curve({SampledGaussian(q=q, noise_multiplier=sigma): 1}), strict=True))
    for order in (2, 3, 5, 16, 64, 512):
        mine = poisson_sampled_rdp(q, order, lambda k: k / (2 * sigma**2))
        if math.isfinite(theirs[order]):
            assert mine == pytest.approx(theirs[order], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("q", "variance", "shift"), [(0.1, 4.0, 1), (0.3, 30.0, 3), (0.02, 2.0, 2), (0.9, 9.0, 1)])
def test_not_below_the_exact_divergence_in_either_direction(q: float, variance: float, shift: int) -> None:
    k = np.arange(-400, 401)
    plain = skellam.pmf(k, variance / 2, variance / 2)
    mixture = (1 - q) * plain + q * skellam.pmf(k - shift, variance / 2, variance / 2)
    for order in (2, 3, 4, 8, 16):
        bound = poisson_sampled_rdp(q, order, lambda j: skellam_rdp(j, variance, float(shift), float(shift)))
        assert renyi(mixture, plain, order) <= bound + 1e-12
        assert renyi(plain, mixture, order) <= bound + 1e-12


@pytest.mark.parametrize(("q", "sigma", "published"), [(0.05, 2.0, 2.1202), (0.1, 4.0, 1.9348), (0.1, 8.0, 0.8824)])
def test_measured_figures_for_65k_entries(q: float, sigma: float, published: float) -> None:
    scaled = 2.0**13
    l2, l1 = high_probability_sensitivity(scaled, 65_000, 1e-12)
    found = RdpAccountant().epsilon(
        {SampledSkellam(q=q, variance=(sigma * scaled) ** 2, l2=l2, l1=l1, failure=1e-12): 300}, 1e-5
    )
    assert found == pytest.approx(published, abs=6e-4)
    assert found / RdpAccountant().epsilon({SampledGaussian(q=q, noise_multiplier=sigma): 300}, 1e-5) - 1 < 1e-3


def test_rate_one_is_the_release_itself_and_rate_zero_is_free() -> None:
    integer = np.array([a % 1 == 0 for a in ORDERS])
    whole = sampled_skellam_curve(SampledSkellam(q=1.0, variance=400.0, l2=5.0, l1=9.0), ORDERS)
    expected = [skellam_rdp(int(a), 400.0, 5.0, 9.0) for a in ORDERS if a % 1 == 0]
    assert whole[integer] == pytest.approx(expected)
    assert RdpAccountant().epsilon({SampledSkellam(q=0.0, variance=400.0, l2=5.0, l1=9.0): 10}, 1e-5) == 0.0
    assert RdpAccountant().epsilon({}, 1e-5) == 0.0


@few
@given(st.floats(0.001, 0.9), st.floats(1.0, 1.1), st.floats(10.0, 1e6), st.floats(1.0, 4.0))
def test_monotone_in_rate_and_noise_and_steps(q: float, more: float, variance: float, factor: float) -> None:
    def cost(rate: float, v: float, steps: int = 5) -> float:
        return RdpAccountant().epsilon({SampledSkellam(q=min(rate, 1.0), variance=v, l2=3.0, l1=9.0): steps}, 1e-5)

    assert cost(q, variance) <= cost(q * more, variance) * (1 + 1e-9)
    assert cost(q, variance * factor) <= cost(q, variance) * (1 + 1e-9)
    assert cost(q, variance, 5) <= cost(q, variance, 6)


def test_the_curve_rises_with_the_order() -> None:
    event = SampledSkellam(q=0.05, variance=1e4, l2=50.0, l1=2500.0)
    curve = RdpAccountant().curve({event: 1})
    assert (np.diff(curve) >= 0).all()
    assert curve[ORDERS.index(2.5)] == curve[ORDERS.index(3.0)] == sampled_skellam_curve(event, (3.0,))[0]
    # Proven at integers only.
    assert sampled_skellam_curve(event, (1.5, 2.5)).tolist() == [math.inf, math.inf]


def test_the_high_probability_sensitivity_holds_in_trials() -> None:
    rng = np.random.default_rng(3)
    l2, dimension, failure = 100.0, 4096, 1e-3
    g = rng.normal(size=dimension)
    g *= l2 / np.linalg.norm(g)
    bound, l1 = high_probability_sensitivity(l2, dimension, failure)
    assert bound < l2 + math.sqrt(dimension) == high_probability_sensitivity(l2, dimension, 0.0)[0]
    others = rng.normal(size=dimension) * 50
    u = rng.random((2000, dimension))
    # One client rounds its sum: the example changes the rounded sum by a stochastic rounding of its own gradient.
    change = np.ceil(others + g - u) - np.ceil(others - u)
    assert (np.linalg.norm(change, axis=1) > bound).mean() <= failure + 4 * math.sqrt(failure / 2000)
    assert (np.abs(change).sum(1) <= l1).all()


@pytest.mark.parametrize("bad", [(-0.1, 1, 1, 1, 0), (0.5, 0, 1, 1, 0), (0.5, 1, math.nan, 1, 0), (0.5, 1, 1, 1, 1)])
def test_bad_events_are_refused(bad: tuple) -> None:
    with pytest.raises(InvalidParameter):
        SampledSkellam(**dict(zip(("q", "variance", "l2", "l1", "failure"), bad, strict=True)))


def test_bad_arguments_are_refused() -> None:
    for order in (1, 2.5):
        with pytest.raises(InvalidParameter):
            poisson_sampled_rdp(0.1, order, lambda k: 1.0)
    with pytest.raises(InvalidParameter):
        RdpAccountant().epsilon({SampledSkellam(q=0.1, variance=1e5, l2=50.0, l1=2500.0): -1}, 1e-5)
    with pytest.raises(InvalidParameter):
        high_probability_sensitivity(1.0, 10, 1.0)
