import math

import numpy as np
import pytest

from privacy import NonPrivate, RdpAccountant, SampledGaussian, SkellamRelease
from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.renyi import epsilon_at, rdp_curve, rdp_epsilon, total_failure
from privacy.sampled_skellam import SampledSkellam


def test_mixed_events_add_up() -> None:
    a, b = SampledSkellam(0.05, 1e4, 50.0, 2500.0), SampledGaussian(0.01, 1.1)
    assert rdp_curve({a: 3, b: 2}) == pytest.approx(3 * rdp_curve({a: 1}) + 2 * rdp_curve({b: 1}))


def test_a_failure_probability_is_charged_to_delta() -> None:
    sure = SampledSkellam(0.1, 1e5, 50.0, 2500.0)
    risky = SampledSkellam(0.1, 1e5, 50.0, 2500.0, failure=1e-7)
    assert total_failure({risky: 20, sure: 3}) == pytest.approx(2e-7)
    low, high = rdp_epsilon({sure: 20}, 1e-5), rdp_epsilon({risky: 20}, 1e-5)
    assert high > low
    # The certified epsilon holds at the delta that is left when the failure is taken off.
    assert high >= epsilon_at(ORDERS, rdp_curve({risky: 20}).tolist(), 1e-5 - math.exp(high) * 2e-7) - 1e-9
    assert rdp_epsilon({SampledSkellam(0.1, 1e5, 50.0, 2500.0, failure=1e-3): 20}, 1e-5) == math.inf


def test_without_sampled_skellam_it_is_the_rdp_accountant() -> None:
    for events in ({SampledGaussian(0.01, 1.1): 1000}, {SkellamRelease(400.0, 5.0, 9.0): 3}, {}):
        assert rdp_epsilon(events, 1e-5) == pytest.approx(RdpAccountant().epsilon(events, 1e-5), rel=1e-12)
    assert rdp_epsilon({SampledGaussian(0.01, 1.1): 10_000}, 1e-5) == pytest.approx(5.6320, abs=2e-3)
    assert rdp_epsilon({NonPrivate("plain"): 1}, 1e-5) == math.inf


def test_a_count_of_zero_adds_nothing() -> None:
    event = SampledSkellam(1.0, 1e-300, 1e3, 1e6)
    assert not np.isnan(rdp_curve({event: 0})).any()
    assert rdp_epsilon({event: 0}, 1e-5) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_bad_deltas_are_refused(delta: float) -> None:
    with pytest.raises(InvalidParameter):
        epsilon_at([2.0], [1.0], delta)
