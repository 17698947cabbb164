"""What a sample could have shown: known answers, laws, and the tests that the powers are about."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.errors import LevelError, SampleError
from evaluation.power import (
    auc_power,
    examples_for_auc,
    examples_for_tpr,
    hits_p_value,
    smallest_auc,
    smallest_tpr,
    tpr_power,
)
from evaluation.rank_test import rank_p_value
from evaluation.roc import tpr_at_fpr

sizes = st.integers(1, 3000)


def test_known_answers() -> None:
    # Noether (1987), equation 14: (z_a + z_b)^2 / (3 (A - 1/2)^2) examples in all, half of them members.
    z = stats.norm.isf(0.05) + stats.norm.isf(0.05)
    found = examples_for_auc(0.6, 10, 10)
    assert found is not None
    assert sum(found) == pytest.approx(z**2 / (3 * 0.1**2), rel=0.03)
    # The chance that no knowledge hits 5 of 20, threshold at the 11th of 100: scipy's own law, and by hand.
    by_scipy = stats.betabinom(20, 11, 90).sf(4)
    rates = stats.beta(11, 90).ppf((np.arange(20000) + 0.5) / 20000)
    assert hits_p_value(5, 20, 10, 100) == pytest.approx(by_scipy)
    assert by_scipy == pytest.approx(stats.binom.sf(4, 20, rates).mean(), rel=1e-4)
    assert hits_p_value(0, 20, 10, 100) == 1.0
    # With a threshold placed by very many the test is the binomial one.
    edge = int(stats.binom.isf(0.025, 1000, 0.1))
    least = stats.binom.sf(edge, 1000, 0.14)
    most = stats.binom.sf(edge - 1, 1000, 0.14)
    assert least < tpr_power(0.14, 0.1, 2000, 10**7) < most


def test_too_few_cannot_show_anything() -> None:
    # Of 2 + 2 candidates even a perfect order has the p-value 1/6; of 3 + 3 it has 1/20, and of 4 + 4 it is found.
    assert smallest_auc(2, 2) is None
    assert auc_power(1.0, 3, 3, level=0.051) == 1.0
    assert auc_power(1.0, 3, 3, level=0.049) == 0.0
    # A rate of 1 % needs 1000 non-members, whatever the leak.
    assert tpr_power(1.0, 0.01, 10**6, 999) == 0.0
    assert tpr_power(1.0, 0.01, 10**6, 1000) > 0.999
    assert smallest_tpr(0.01, 500, 500) is None
    found = examples_for_tpr(0.03, 0.01, 500, 500)
    assert found is not None
    assert tpr_power(0.03, 0.01, *found) >= 0.95
    assert examples_for_tpr(0.01, 0.01, 500, 500) is None
    assert examples_for_auc(0.5, 500, 500) is None
    assert examples_for_auc(1.0, 500, 400) == (500, 400)


@pytest.mark.parametrize(("area", "m", "n"), [(0.6, 100, 100), (0.7, 30, 60), (0.8, 12, 12)])
def test_the_rank_test_finds_as_often_as_its_power_says(area: float, m: int, n: int) -> None:
    random, truth, found = np.random.default_rng(m), np.arange(m + n) < m, 0
    for seed in range(300):
        scores = -np.concatenate([random.random(m) ** (area / (1 - area)), random.random(n)])
        found += rank_p_value(scores, truth, seed=seed) <= 0.05
    assert found / 300 == pytest.approx(auc_power(area, m, n), abs=0.08)


@pytest.mark.parametrize(("tpr", "fpr", "m", "n"), [(0.2, 0.1, 400, 400), (0.25, 0.1, 200, 300), (0.1, 0.1, 100, 100)])
def test_hits_are_told_as_often_as_their_power_says(tpr: float, fpr: float, m: int, n: int) -> None:
    random, truth, found = np.random.default_rng(m), np.arange(m + n) < m, 0
    for seed in range(400):
        scores = -np.concatenate([random.random(m) ** (math.log(fpr) / math.log(tpr)), random.random(n)])
        p_value = tpr_at_fpr(scores, truth, fpr, seed=seed).p_value
        assert p_value is not None
        found += p_value <= 0.025
    assert found / 400 == pytest.approx(tpr_power(tpr, fpr, m, n), abs=0.07)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 1.0), sizes, sizes, st.integers(1, 500))
def test_auc_power_grows_with_examples_and_with_the_leak(area: float, m: int, n: int, more: int) -> None:
    power = auc_power(area, m, n)
    assert 0.0 <= power <= 1.0
    assert auc_power(area, n, m) == pytest.approx(power, abs=1e-12)
    if power >= 0.5:
        assert auc_power(area, m + more, n) >= power - 1e-9
        assert auc_power(area, m, n + more) >= power - 1e-9
    assert auc_power((area + 1) / 2, m, n) >= min(power, 0.5) - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0), st.sampled_from([0.3, 0.1, 0.05]), sizes, st.integers(400, 3000), st.integers(2, 400))
def test_tpr_power_grows_with_members_and_with_the_leak(share: float, fpr: float, m: int, n: int, more: int) -> None:
    tpr = fpr + share * (1 - fpr)
    power = tpr_power(tpr, fpr, m, n)
    assert 0.0 <= power <= 1.0
    assert tpr_power(tpr, fpr, m + more, n) >= power - 2e-3
    assert tpr_power((tpr + 1) / 2, fpr, m, n) >= power - 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 2000), st.integers(4, 2000), st.integers(1, 4))
def test_smaller_leaks_show_with_more_examples(m: int, n: int, factor: int) -> None:
    few, many = smallest_auc(m, n), smallest_auc(m * factor, n * factor)
    assert few is None or (many is not None and many <= few + 1e-6)
    if few is not None:
        assert auc_power(few, m, n) >= 0.95 > auc_power(max(few - 1e-3, 0.5), m, n)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: auc_power(0.4, 5, 5),
        lambda: auc_power(0.6, 0, 5),
        lambda: tpr_power(0.05, 0.1, 50, 500),
        lambda: hits_p_value(6, 5, 1, 10),
        lambda: hits_p_value(1, 5, 10, 10),
    ],
)
def test_impossible_counts_are_refused(wrong: object) -> None:
    with pytest.raises(SampleError):
        wrong()  # type: ignore[operator]


def test_impossible_levels_are_refused() -> None:
    with pytest.raises(LevelError):
        auc_power(0.6, 5, 5, level=1.0)
    with pytest.raises(LevelError):
        tpr_power(0.6, 0.0, 50, 500)
    with pytest.raises(LevelError):
        smallest_tpr(0.1, 50, 500, power=0.0)
