"""Epsilon of groups: one example agrees with the ordinary accountant; larger groups cost more."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import NonPrivate, PldAccountant, SampledGaussian, SkellamRelease
from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.groups import group_epsilon

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
