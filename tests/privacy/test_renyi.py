import math

import numpy as np
import pytest

from privacy import NonPrivate, RdpAccountant, SampledGaussian, SampledSkellam
from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.renyi import epsilon_at, total_failure

RDP = RdpAccountant()


def test_mixed_events_add_up() -> None:
    a, b = SampledSkellam(q=0.05, variance=1e4, l2=50.0, l1=2500.0), SampledGaussian(q=0.01, noise_multiplier=1.1)
    assert RDP.curve({a: 3, b: 2}) == pytest.approx(3 * RDP.curve({a: 1}) + 2 * RDP.curve({b: 1}))


def test_a_failure_probability_is_charged_to_delta() -> None:
    sure = SampledSkellam(q=0.1, variance=1e5, l2=50.0, l1=2500.0)
    risky = SampledSkellam(q=0.1, variance=1e5, l2=50.0, l1=2500.0, failure=1e-7)
    assert total_failure({risky: 20, sure: 3}) == pytest.approx(2e-7)
    low, high = RDP.epsilon({sure: 20}, 1e-5), RDP.epsilon({risky: 20}, 1e-5)
    assert high > low
    # The certified epsilon holds at the delta that is left when the failure is taken off.
    assert high >= epsilon_at(ORDERS, RDP.curve({risky: 20}).tolist(), 1e-5 - math.exp(high) * 2e-7) - 1e-9
    assert RDP.epsilon({SampledSkellam(q=0.1, variance=1e5, l2=50.0, l1=2500.0, failure=1e-3): 20}, 1e-5) == math.inf


def test_a_failure_counts_where_the_curve_is_zero() -> None:
    """Noise so large that its divergence underflows does not hide that the sensitivity may be wrong."""
    event = SampledSkellam(q=1.0, variance=1e300, l2=1e-300, l1=1e-300, failure=0.5)
    assert not RDP.curve({event: 1}).any()
    assert RDP.epsilon({event: 1}, 1e-5) == math.inf
    assert epsilon_at([2.0], [0.0], 1e-5) == 0.0


def test_known_answers() -> None:
    assert RDP.epsilon({SampledGaussian(q=0.01, noise_multiplier=1.1): 10_000}, 1e-5) == pytest.approx(5.6320, abs=2e-3)
    assert (
        RDP.epsilon({NonPrivate("plain"): 1, SampledSkellam(q=0.1, variance=1e5, l2=50.0, l1=2500.0): 1}, 1e-5)
        == math.inf
    )


def test_a_count_of_zero_adds_nothing() -> None:
    event = SampledSkellam(q=1.0, variance=1e-300, l2=1e3, l1=1e6)
    assert not np.isnan(RDP.curve({event: 0})).any()
    assert RDP.epsilon({event: 0}, 1e-5) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_bad_deltas_are_refused(delta: float) -> None:
    with pytest.raises(InvalidParameter):
        epsilon_at([2.0], [1.0], delta)
