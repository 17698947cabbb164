import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from privacy import SkellamRelease, SkellamSum
from privacy.errors import InvalidParameter
from privacy.skellam import rounded_sensitivity


@st.composite
def sums(draw: st.DrawFn) -> SkellamSum:
    dropouts, colluders, honest = draw(st.integers(0, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 30))
    return SkellamSum(
        parties=dropouts + colluders + honest,
        max_dropouts=dropouts,
        colluders=colluders,
        l2=draw(st.floats(1.0, 1e6)),
        dimension=draw(st.integers(1, 1000)),
        noise_multiplier=draw(st.floats(0.05, 100.0)),
        placement=draw(st.sampled_from(["shared", "local"])),
    )


@given(sums(), st.data())
def test_what_is_left_carries_the_charged_variance(shares: SkellamSum, data: st.DataObject) -> None:
    missing = data.draw(st.integers(0, shares.max_dropouts))
    revealed = data.draw(st.integers(0, shares.colluders))
    left = shares.parties - missing - revealed
    assert left * shares.share_variance >= shares.event.variance * (1 - 1e-12)


@given(sums())
def test_mechanism_and_event_agree(shares: SkellamSum) -> None:
    l2, l1 = rounded_sensitivity(shares.l2, shares.dimension)
    assert shares.event == SkellamRelease(variance=shares.guaranteed_variance, l2=l2, l1=l1)
    assert math.sqrt(shares.event.variance) / l2 == pytest.approx(shares.noise_multiplier)
    if shares.placement == "local":
        assert shares.share_variance == shares.guaranteed_variance


@pytest.mark.parametrize("placement", ["shared", "local"])
def test_drawn_shares_sum_to_the_charged_variance(placement: str, keyed) -> None:
    shares = SkellamSum(
        parties=12, max_dropouts=3, colluders=2, l2=100.0, dimension=50, noise_multiplier=1.5, placement=placement
    )
    entries, survivors = 20_000, shares.honest
    total = sum(shares.share(entries, keyed(k)) for k in range(survivors))
    parties = 1 if placement == "shared" else survivors
    statistic = float((total.astype(np.float64) ** 2).sum() / (parties * shares.event.variance))
    assert 1e-6 < chi2.cdf(statistic, entries) < 1 - 1e-6


def test_the_noise_bound_covers_all_parties(keyed) -> None:
    shares = SkellamSum(
        parties=12, max_dropouts=3, colluders=2, l2=100.0, dimension=50, noise_multiplier=1.5, placement="shared"
    )
    entries = 20_000
    total = np.abs(sum(shares.share(entries, keyed(k)) for k in range(shares.parties))).max()
    assert total <= shares.noise_bound(entries, 2.0**-42)
    assert shares.noise_bound(entries, 0.5) < shares.noise_bound(entries, 2.0**-42) < 20 * total


def test_at_least_one_colluder_is_assumed() -> None:
    with pytest.raises(InvalidParameter, match="knows its own share"):
        SkellamSum(
            parties=10, max_dropouts=0, colluders=0, l2=1.0, dimension=1, noise_multiplier=1.0, placement="shared"
        )


def test_somebody_must_be_sure_to_add_noise() -> None:
    with pytest.raises(InvalidParameter, match="leaves nobody"):
        SkellamSum(
            parties=5, max_dropouts=3, colluders=2, l2=1.0, dimension=1, noise_multiplier=1.0, placement="shared"
        )


@pytest.mark.parametrize(
    ("l2", "dimension", "multiplier", "placement"),
    [
        (0.0, 1, 1.0, "shared"),
        (math.inf, 1, 1.0, "shared"),
        (1.0, 0, 1.0, "shared"),
        (1.0, 1, 0.0, "shared"),
        (1.0, 1, math.nan, "local"),
        (1.0, 1, 1.0, "central"),
    ],
)
def test_numbers_out_of_range_are_refused(l2: float, dimension: int, multiplier: float, placement: str) -> None:
    with pytest.raises(InvalidParameter):
        SkellamSum(
            parties=5,
            max_dropouts=0,
            colluders=1,
            l2=l2,
            dimension=dimension,
            noise_multiplier=multiplier,
            placement=placement,
        )
