import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy import SampledGaussian
from privacy.errors import InvalidParameter
from privacy.statistics import FisherDiagonal, Moments, Quantile, clip_rows

few = settings(max_examples=60, deadline=None)
tables = arrays(np.float64, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-1e3, 1e3))
rows = arrays(np.float64, (1, 3), elements=st.floats(allow_nan=True, allow_infinity=True))
SILENT = 1e-12


@few
@given(rows, st.floats(1e-3, 1e3))
def test_no_row_is_longer_than_the_bound(x: np.ndarray, bound: float) -> None:
    clipped = clip_rows(x, bound)
    assert np.linalg.norm(clipped) <= bound * (1 + 1e-12)
    if np.isfinite(x).all() and np.abs(x).max() < 1e100 and np.linalg.norm(x) <= bound:
        assert clipped == pytest.approx(x, rel=1e-9, abs=1e-100)


@few
@given(tables, rows, st.floats(0.1, 5.0), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_one_example_changes_the_moments_by_the_sensitivity_at_most(
    x: np.ndarray, extra: np.ndarray, bound: float, asked: tuple
) -> None:
    if not any(asked):
        return
    count, total, gram = asked
    moments = Moments(
        dimension=3, bound=bound, noise_multiplier=1.0, count=count, total=total, gram=gram, count_weight=0.7
    )
    change = moments.flat(np.concatenate([x, extra])) - moments.flat(x)
    assert change.shape == (moments.length,)
    assert np.linalg.norm(change) <= moments.sensitivity * (1 + 1e-9) + 1e-9


def test_the_joint_sensitivity_is_reached() -> None:
    moments = Moments(dimension=4, bound=2.0, noise_multiplier=1.0, gram=True)
    x = np.full((1, 4), 1.0)
    assert moments.sensitivity == pytest.approx(math.sqrt(1 + 4 + 16))
    assert np.linalg.norm(moments.flat(x)) == pytest.approx(moments.sensitivity)


def test_without_much_noise_the_moments_are_numpy_s(keyed) -> None:
    x = np.random.default_rng(3).normal(size=(200, 4))
    found = Moments(dimension=4, bound=100.0, noise_multiplier=SILENT, gram=True).release(x, keyed(1))
    assert found.count == pytest.approx(200)
    assert found.mean() == pytest.approx(x.mean(0), abs=1e-6)
    assert found.covariance() == pytest.approx(np.cov(x.T, bias=True), abs=1e-6)
    assert found.gram == pytest.approx(x.T @ x, abs=1e-5)


def test_the_noise_has_the_charged_deviation(keyed) -> None:
    moments = Moments(dimension=50_000, bound=2.0, noise_multiplier=1.5)
    assert moments.event == SampledGaussian(q=1.0, noise_multiplier=1.5)
    total = moments.release(np.zeros((0, 50_000)), keyed(2)).total
    assert total.std() == pytest.approx(1.5 * math.sqrt(5), rel=5 / math.sqrt(100_000))


def test_gram_noise_is_symmetric_and_the_floor_holds(keyed) -> None:
    found = Moments(dimension=6, bound=1.0, noise_multiplier=5.0, gram=True).release(np.zeros((0, 6)), keyed(5))
    assert (found.gram == found.gram.T).all()
    assert np.linalg.eigvalsh(found.covariance(floor=0.1)).min() >= 0.1 - 1e-9


def test_moments_that_were_not_released_are_refused(keyed) -> None:
    found = Moments(dimension=2, bound=1.0, noise_multiplier=1.0, count=False).release(np.zeros((3, 2)), keyed(1))
    assert found.count is None
    with pytest.raises(InvalidParameter):
        found.mean()
    with pytest.raises(InvalidParameter):
        found.covariance()


@few
@given(tables, rows, st.floats(0.1, 5.0))
def test_fisher_sensitivity(x: np.ndarray, extra: np.ndarray, bound: float) -> None:
    def exact(table: np.ndarray) -> np.ndarray:
        return FisherDiagonal(bound=bound, noise_multiplier=SILENT).release(table, 1.0, np.random.default_rng(1).bytes)

    change = exact(np.concatenate([x, extra])) - exact(x)
    assert np.linalg.norm(change) <= FisherDiagonal(bound=bound, noise_multiplier=1.0).sensitivity * (1 + 1e-6) + 1e-9


def test_fisher_is_the_mean_square_and_never_negative(keyed) -> None:
    g = np.random.default_rng(4).normal(size=(100, 5))
    assert FisherDiagonal(bound=50.0, noise_multiplier=SILENT).release(g, 100.0, keyed(1)) == pytest.approx(
        (g**2).mean(0), abs=1e-6
    )
    # Clipped per example: a sum of squares of unclipped gradients would be 1e8 times larger.
    assert FisherDiagonal(bound=0.1, noise_multiplier=SILENT).release(g * 1e4, 1.0, keyed(1)).sum() == pytest.approx(
        100 * 0.01
    )
    assert (FisherDiagonal(bound=1.0, noise_multiplier=9.0).release(np.zeros((0, 400)), 1.0, keyed(2)) >= 0).all()


@pytest.mark.parametrize("target", [0.2, 0.5, 0.9])
def test_the_quantile_is_found(target: float, keyed) -> None:
    values = np.random.default_rng(6).lognormal(1.0, 0.7, size=2000)
    found = Quantile(
        target=target, start=0.1, expected_count=2000.0, rounds=150, noise_multiplier=20.0, rate=0.3
    ).search(values, keyed(3))
    assert (values <= found).mean() == pytest.approx(target, abs=0.05)


def test_one_value_changes_a_count_by_a_half() -> None:
    # With all values below the start and hardly any noise, one example more moves one step by rate / (2 count).
    def after(n: int) -> float:
        return Quantile(
            target=0.25, start=1.0, expected_count=10.0, rounds=1, noise_multiplier=SILENT, rate=1.0
        ).search(np.zeros(n), np.random.default_rng(1).bytes)

    assert math.log(after(3) / after(4)) == pytest.approx(
        Quantile(target=0.25, start=1.0, expected_count=10.0, rounds=1, noise_multiplier=1.0).sensitivity / 10.0
    )


def test_bad_numbers_are_refused(keyed) -> None:
    for make in (
        lambda: Moments(dimension=3, bound=math.inf, noise_multiplier=1.0),
        lambda: Moments(dimension=3, bound=1.0, noise_multiplier=0.0),
        lambda: Moments(dimension=3, bound=1.0, noise_multiplier=1.0, count=False, total=False),
        lambda: Moments(dimension=3, bound=1.0, noise_multiplier=1.0).flat(np.zeros((2, 4))),
        lambda: FisherDiagonal(bound=0.0, noise_multiplier=1.0),
        lambda: FisherDiagonal(bound=1.0, noise_multiplier=1.0).release(np.zeros((2, 4)), 0.0, keyed(1)),
        lambda: Quantile(target=1.0, start=1.0, expected_count=1.0, rounds=1, noise_multiplier=1.0),
        lambda: Quantile(target=0.5, start=1.0, expected_count=math.nan, rounds=1, noise_multiplier=1.0),
    ):
        with pytest.raises(InvalidParameter):
            make()
