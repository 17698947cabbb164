"""Epsilon of groups: one example agrees with the ordinary accountant; larger groups cost more."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy import NonPrivate, PldAccountant, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.groups import group_epsilon, shifted, stepwise_epsilon
from privacy.skellam_gdp import shift_cost
from privacy.statement import best_epsilon

HISTORY = {SampledGaussian(q=0.25, noise_multiplier=1.3): 40, SampledGaussian(q=0.05, noise_multiplier=1.3): 200}


def test_a_group_of_one_costs_what_the_pld_accountant_says() -> None:
    assert group_epsilon(HISTORY, 1, 1e-5) == pytest.approx(PldAccountant(1e-2).epsilon(HISTORY, 1e-5), rel=1e-3)


def test_an_unsampled_group_is_a_gaussian_of_larger_sensitivity() -> None:
    together = group_epsilon({SampledGaussian(q=1.0, noise_multiplier=8.0): 3}, 4, 1e-5, interval=1e-3)
    assert together == pytest.approx(
        PldAccountant(1e-3).epsilon({SampledGaussian(q=1.0, noise_multiplier=2.0): 3}, 1e-5), rel=2e-3
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.floats(0.01, 0.3))
def test_larger_groups_never_cost_less(size: int, q: float) -> None:
    history = {SampledGaussian(q=q, noise_multiplier=2.0): 5}
    assert group_epsilon(history, size, 1e-5) <= group_epsilon(history, size + 1, 1e-5) + 1e-2


def test_edges() -> None:
    assert group_epsilon({}, 3, 1e-5) == 0.0
    assert group_epsilon({SampledGaussian(q=0.0, noise_multiplier=1.0): 9}, 3, 1e-5) == 0.0
    assert group_epsilon({NonPrivate("x"): 1}, 3, 1e-5) == math.inf
    with pytest.raises(UnsupportedEvent):
        group_epsilon({SkellamRelease(variance=4.0, l2=1.0, l1=1.0): 1}, 2, 1e-5)
    with pytest.raises(InvalidParameter, match="size=0"):
        group_epsilon({}, 0, 1e-5)


def of_gaussian(mu: float, delta: float) -> float:
    """Balle and Wang 2018, theorem 8, by bisection."""
    low, high = 0.0, 1000.0
    for _ in range(200):
        e = (low + high) / 2
        spends = norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)
        low, high = (e, high) if spends > delta else (low, e)
    return high


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_of_unsampled_sums_add_up_their_shifts(steps: int) -> None:
    release, variance, count = SkellamRelease(variance=4e8, l2=2000.0, l1=9e4), 4e8, 3
    mu = shift_cost(variance) * 2000.0 * math.sqrt(count)
    found = stepwise_epsilon([{release: count}], steps, 1e-5)
    assert found == pytest.approx(of_gaussian(steps * mu, 1e-5), rel=0.01)
    # Skipping the least share of what is stated would be tighter than the charge.
    charged = min(e for e in best_epsilon({release: count}, 1e-5) if e is not None)
    assert found >= steps * charged * 0.999


def test_steps_of_sampled_sums_keep_the_induction() -> None:
    events = {SampledGaussian(q=0.3, noise_multiplier=4.0): 6}
    found = stepwise_epsilon([events], 3, 1e-5)
    # The numbers by hand: a share of delta whose weighted sum is at most delta, at an epsilon of a third.
    shares = [10 ** (-5 - k / 50) for k in range(1, 400)]
    options = [
        3 * one
        for share, one in ((s, PldAccountant(1e-3).epsilon(events, s)) for s in shares[::8])
        if share * (1 + math.exp(one) + math.exp(2 * one)) <= 1e-5
    ]
    assert min(options) * 0.97 <= found <= min(options) * 1.05
    assert found > 3 * PldAccountant(1e-3).epsilon(events, 1e-5)


def test_steps_of_two_kinds_cost_as_the_worst_of_them() -> None:
    quiet, loud = ({SampledGaussian(q=1.0, noise_multiplier=s): 1} for s in (40.0, 10.0))
    assert stepwise_epsilon([quiet, loud], 4, 1e-5) == stepwise_epsilon([loud], 4, 1e-5)


def test_steps_that_say_nothing_are_not_stated() -> None:
    loud = {SampledGaussian(q=1.0, noise_multiplier=1.0): 1}
    assert stepwise_epsilon([loud], 400, 1e-5) == math.inf
    assert stepwise_epsilon([{NonPrivate("x"): 1}], 2, 1e-5) == math.inf
    assert stepwise_epsilon([{}], 2, 1e-5) == 0.0
    assert shifted({SampledSkellam(q=0.5, variance=4.0, l2=1.0, l1=1.0, failure=0.0): 1}, 2) is None
    with pytest.raises(InvalidParameter, match="steps=0"):
        stepwise_epsilon([loud], 0, 1e-5)
