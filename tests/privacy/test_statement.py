import math

import pytest

from privacy import Charge, Cohort, NonPrivate, SampledGaussian, SkellamRelease, spent, statements, worst
from privacy.errors import InvalidParameter

DELTA = 1e-5
CURRENT, MEMORY = SampledGaussian(q=0.25, noise_multiplier=1.4), SampledGaussian(q=0.05, noise_multiplier=1.4)
KEPT, DISCARDED = (
    Cohort(group="all", arrival=0, chunk=0, fate="kept"),
    Cohort(group="all", arrival=0, chunk=0, fate="discarded"),
)


def replayed() -> list[Charge]:
    return [Charge(KEPT, CURRENT, 40), Charge(DISCARDED, CURRENT, 40), Charge(KEPT, MEMORY, 200)]


def test_the_worst_cohort_is_the_kept_one() -> None:
    rows = statements(spent(replayed()), DELTA)
    assert [row.cohort for row in rows] == [DISCARDED, KEPT]
    assert rows[1].epsilon > rows[0].epsilon > 0.0
    assert worst(rows) == rows[1]
    assert rows[1].events == (
        "200 x Poisson-sampled Gaussian q=0.05 sigma=1.4",
        "40 x Poisson-sampled Gaussian q=0.25 sigma=1.4",
    )


def test_the_smaller_of_the_valid_bounds_is_named() -> None:
    (row,) = statements(spent([Charge(KEPT, CURRENT, 40)]), DELTA)
    assert row.epsilon == row.epsilon_pld == min(row.epsilon_rdp, row.epsilon_pld)
    assert row.accountant == "PLD"
    (tiny,) = statements(spent([Charge(KEPT, SampledGaussian(q=1e-4, noise_multiplier=10.0), 10**6)]), DELTA)
    assert tiny.epsilon == tiny.epsilon_rdp < tiny.epsilon_pld
    assert tiny.accountant == "RDP"


def test_skellam_is_stated_by_the_gaussian_that_dominates_it() -> None:
    (row,) = statements(spent([Charge(KEPT, SkellamRelease(variance=1e4, l2=100.0, l1=900.0), 1)]), DELTA)
    assert row.epsilon_pld is not None
    assert row.epsilon == row.epsilon_pld < 0.95 * row.epsilon_rdp
    assert row.accountant == "PLD"


def test_equal_histories_cost_the_same_whoever_they_are() -> None:
    other = Cohort(group="late", arrival=3, chunk=1, fate="kept")
    rows = statements(spent([*replayed(), Charge(other, MEMORY, 200), Charge(other, CURRENT, 40)]), DELTA)
    assert len({row.epsilon for row in rows}) == 2


def test_one_non_private_event_leaves_no_guarantee() -> None:
    rows = statements(spent([*replayed(), Charge(DISCARDED, NonPrivate("herding"), 1)]), DELTA)
    bad = worst(rows)
    assert bad is not None
    assert bad.cohort == DISCARDED
    assert math.isinf(bad.epsilon)


def test_nothing_charged() -> None:
    assert statements({}, DELTA) == ()
    assert worst(()) is None


def test_delta_is_a_probability() -> None:
    with pytest.raises(InvalidParameter):
        statements(spent(replayed()), 0.0)


def test_small_spends_are_queried_at_the_finer_interval() -> None:
    """q = 0.001, sigma = 2, 1000 steps: 0.0640 at losses in multiples of 1e-3, 0.0501 at 1e-4 (dp-accounting 0.6.0)."""
    (row,) = statements(spent([Charge(KEPT, SampledGaussian(q=0.001, noise_multiplier=2.0), 1000)]), DELTA)
    assert row.epsilon == row.epsilon_pld == pytest.approx(0.0501, abs=1e-4)
    (single,) = statements(spent([Charge(KEPT, SampledGaussian(q=0.001, noise_multiplier=5.0), 1)]), DELTA)
    assert single.epsilon_pld is not None
    assert single.epsilon_pld < single.epsilon_rdp / 10
