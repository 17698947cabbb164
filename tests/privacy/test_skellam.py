import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, logsumexp
from scipy.stats import chisquare, kstest, norm, poisson, skellam

from privacy.errors import InvalidParameter
from privacy.skellam import (
    log_poisson,
    rounded_sensitivity,
    sample_poisson,
    sample_skellam,
    skellam_bound,
    skellam_norm_bound,
    skellam_rdp,
    skellam_tail,
)

N = 100_000


def chi_square(drawn: np.ndarray, pmf: np.ndarray, values: np.ndarray) -> float:
    """p-value of the counts of `values`, with what is expected below 10 times (and all else) in one cell."""
    expected = len(drawn) * pmf
    common = expected >= 10
    counts = np.array([np.count_nonzero(drawn == v) for v in values[common]])
    observed = np.append(counts, len(drawn) - counts.sum())
    wanted = np.append(expected[common], len(drawn) - expected[common].sum())
    if wanted[-1] < 10:
        observed, wanted = observed[:-1], wanted[:-1] * (observed[:-1].sum() / wanted[:-1].sum())
    return float(chisquare(observed, wanted).pvalue)


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.0, 9.99, 10.0, 12.0, 45.0])
def test_poisson_against_its_probabilities(mean: float, keyed) -> None:
    drawn = sample_poisson(mean, N, keyed(int(100 * mean)))
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    values = np.arange(200)
    assert chi_square(drawn, poisson.pmf(values, mean), values) > 1e-6


@pytest.mark.parametrize("mean", [1e4, 1e9])
def test_large_poisson_against_its_distribution(mean: float, keyed) -> None:
    drawn = sample_poisson(mean, N, keyed(7))
    # Randomised within each step of the distribution function, a discrete variable becomes uniform.
    spread = poisson.cdf(drawn - 1, mean) + np.random.default_rng(1).random(N) * poisson.pmf(drawn, mean)
    assert kstest(spread, "uniform").pvalue > 1e-6


@pytest.mark.parametrize("mean", [1e14, 2.0**50 * 1.3])
def test_huge_poisson_is_normal(mean: float, keyed) -> None:
    drawn = sample_poisson(mean, N, keyed(8))
    assert kstest((drawn - mean) / math.sqrt(mean), "norm").pvalue > 1e-6


@pytest.mark.parametrize("variance", [0.02, 1.0, 6.0, 24.0, 90.0])
def test_skellam_against_its_probabilities(variance: float, keyed) -> None:
    drawn = sample_skellam(variance, N, keyed(int(10 * variance)))
    values = np.arange(-120, 121)
    assert chi_square(drawn, skellam.pmf(values, variance / 2, variance / 2), values) > 1e-6


@pytest.mark.parametrize("variance", [1.0, 24.0, 2e4, 2e9, 2e15])
def test_skellam_has_the_charged_variance(variance: float, keyed) -> None:
    drawn = sample_skellam(variance, N, keyed(9)).astype(np.float64)
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / N)
    # Var of a sample variance: (kurtosis - 1) variance^2 / N, with excess kurtosis 1 / variance.
    assert abs(drawn.var() / variance - 1.0) < 5 * math.sqrt((2.0 + 1.0 / variance) / N)


def test_the_tails_are_there(keyed) -> None:
    """Beyond 4 standard deviations: 63 in a million; noise cut off there would spend delta."""
    variance, n = 1e4, 1_000_000
    beyond = np.count_nonzero(np.abs(sample_skellam(variance, n, keyed(10))) > 400)
    expected = 2 * n * skellam.sf(400, variance / 2, variance / 2)
    assert expected == pytest.approx(63, abs=5)
    assert poisson.cdf(beyond, expected) > 1e-6
    assert poisson.sf(beyond - 1, expected) > 1e-6


@pytest.mark.parametrize("variance", [3.0, 1e6])
def test_equal_bytes_give_equal_noise_and_others_do_not(variance: float, keyed) -> None:
    first, same, other = (sample_skellam(variance, 500, keyed(key)) for key in (11, 11, 12))
    assert (first == same).all()
    assert (first != other).any()


def test_no_noise_and_no_entries(keyed) -> None:
    assert (sample_skellam(0.0, 5, keyed(1)) == 0).all()
    for variance in (3.0, 1e6):
        assert sample_skellam(variance, 0, keyed(1)).shape == (0,)


@pytest.mark.parametrize("mean", [-1.0, math.nan, math.inf, 2.0**56])
def test_a_mean_out_of_range_is_refused(mean: float, keyed) -> None:
    with pytest.raises(InvalidParameter, match="outside"):
        sample_poisson(mean, 3, keyed(1))


@pytest.mark.parametrize("mean", [10.0, 57.3, 1e4, 1e9, 2.0**49])
def test_log_probabilities_keep_the_recurrence(mean: float) -> None:
    """p(k+1) / p(k) = mean / (k+1) exactly; the textbook formula is off by 4 in the logarithm at 2^49."""
    k = np.floor(np.maximum(mean + math.sqrt(mean) * np.linspace(-5, 6, 200), 0.0))
    differences = log_poisson(k + 1, mean) - log_poisson(k, mean)
    assert np.abs(differences - np.log1p((mean - k - 1) / (k + 1))).max() < 1e-6


@pytest.mark.parametrize("mean", [10.0, 23.4, 1e3, 1e6])
def test_log_probabilities_against_scipy(mean: float) -> None:
    k = np.floor(np.maximum(mean + math.sqrt(mean) * np.linspace(-8, 9, 300), 0.0))
    assert np.abs(log_poisson(k, mean) - poisson.logpmf(k, mean)).max() < 1e-8 * mean**0.5


def log_pmf(variance: float, reach: int) -> np.ndarray:
    """Log probabilities of Skellam(variance) at -reach..reach, by the series of the Bessel function."""
    k, m = np.arange(reach + 1)[:, None], np.arange(300)[None, :]
    half = logsumexp((2 * m + k) * math.log(variance / 2) - gammaln(m + 1) - gammaln(m + k + 1), axis=1) - variance
    return np.concatenate([half[:0:-1], half])


@pytest.mark.parametrize("variance", [0.05, 0.25, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0])
def test_the_renyi_bound_holds(variance: float) -> None:
    """Against the true divergence of shifted Skellam variables, summed numerically; tight for large variances."""
    reach = 700
    plain = log_pmf(variance, reach)
    assert logsumexp(plain) == pytest.approx(0.0, abs=1e-9)
    for shift, alpha in itertools.product((1, 2, 3, 8), (2, 3, 4, 8, 16, 64)):
        shifted = np.full_like(plain, -np.inf)
        shifted[shift:] = plain[:-shift]
        terms = alpha * shifted - (alpha - 1) * plain
        if terms.argmax() > len(terms) - 50:
            continue
        true = float(logsumexp(terms)) / (alpha - 1)
        bound = skellam_rdp(alpha, variance, float(shift), float(shift))
        assert bound >= true
        if variance >= 30 and shift <= 3 and alpha <= 8:
            assert bound <= 1.2 * true


@pytest.mark.parametrize(("alpha", "variance"), [(1, 3.0), (0, 3.0), (2.5, 3.0), (2, 0.0), (2, -1.0), (2, math.nan)])
def test_outside_the_theorem_there_is_no_bound(alpha: float, variance: float) -> None:
    with pytest.raises(InvalidParameter):
        skellam_rdp(alpha, variance, 1.0, 1.0)


vectors = st.lists(st.floats(-6.0, 6.0), min_size=3, max_size=3).map(np.array)


@settings(max_examples=100, deadline=None)
@given(vectors, vectors, st.floats(0.5, 8.0))
def test_rounding_and_clipping_a_sum_keep_the_sensitivity(rest: np.ndarray, example: np.ndarray, clip: float) -> None:
    """Both sums are rounded with the same thresholds u, all of a grid: the bound holds for each."""
    with_it, without = np.clip(rest + example, -clip, clip), np.clip(rest, -clip, clip)
    axis = (np.arange(40) + 0.5) / 40
    # Entry by entry is enough: the largest changes of the entries occur at thresholds of their own.
    change = np.ceil(with_it - axis[:, None]) - np.ceil(without - axis[:, None])
    worst = np.abs(change).max(axis=0)
    l2, l1 = rounded_sensitivity(max(float(np.linalg.norm(example)), 1e-9), 3)
    assert np.linalg.norm(worst) <= l2 + 1e-9
    assert worst.sum() <= min(math.sqrt(3) * l2, np.linalg.norm(worst) ** 2) + 1e-9
    assert l1 <= min(math.sqrt(3) * l2, l2 * l2) + 1e-9


def test_the_coupled_change_rounds_the_example() -> None:
    """ceil(s + g - u) - ceil(s - u) is floor(g) or ceil(g), with mean g over u."""
    u = (np.arange(10_000) + 0.5) / 10_000
    for s, g in ((0.3, 1.6), (5.9, -0.2), (-2.5, 0.5), (1.0, 3.0)):
        change = np.ceil(s + g - u) - np.ceil(s - u)
        assert set(change) <= {math.floor(g), math.ceil(g)}
        assert change.mean() == pytest.approx(g, abs=2e-4)


@pytest.mark.parametrize(("l2", "dimension"), [(0.0, 3), (-1.0, 3), (math.nan, 3), (math.inf, 3), (1.0, 0)])
def test_a_sensitivity_is_positive(l2: float, dimension: int) -> None:
    with pytest.raises(InvalidParameter):
        rounded_sensitivity(l2, dimension)


@pytest.mark.parametrize("variance", [0.3, 4.0, 400.0, 1e6])
@pytest.mark.parametrize("deviations", [0.5, 2.0, 4.0, 6.0])
def test_the_tail_bound_holds(variance: float, deviations: float) -> None:
    bound = math.floor(deviations * math.sqrt(variance))
    assert skellam_tail(variance, bound) >= 2 * skellam.sf(bound, variance / 2, variance / 2)


@pytest.mark.parametrize("variance", [1e12, 1e16, 1e18, 1e24])
@pytest.mark.parametrize("deviations", [1.0, 4.0, 7.0])
def test_the_tail_of_large_noise_does_not_cancel(variance: float, deviations: float) -> None:
    """cosh(t) - 1 is 0 in floating point for t < 1e-8; the tail must stay that of a normal variable, and above it."""
    bound = skellam_tail(variance, deviations * math.sqrt(variance))
    assert bound >= 2 * norm.sf(deviations)
    assert bound == pytest.approx(min(1.0, 2 * math.exp(-(deviations**2) / 2)), rel=1e-3)


def test_the_tail_at_the_edges() -> None:
    assert skellam_tail(0.0, 0.0) == 0.0
    assert skellam_tail(5.0, 0.0) == 1.0
    assert skellam_tail(5.0, -1.0) == 1.0


@pytest.mark.parametrize("variance", [0.01, 5.0, 1e4, 1e15])
@pytest.mark.parametrize("entries", [1, 30_000])
def test_the_bound_is_exceeded_as_seldom_as_promised(variance: float, entries: int) -> None:
    bound = skellam_bound(variance, entries, 2.0**-42)
    assert entries * skellam_tail(variance, bound) <= 2.0**-42
    assert entries * skellam_tail(variance, (bound - 1) / 1.06) > 2.0**-42


def test_a_bound_of_nothing_and_impossible_bounds() -> None:
    assert skellam_bound(0.0, 10, 1e-9) == 0
    assert skellam_bound(5.0, 0, 1e-9) == 0
    for variance, probability in ((1.0, 0.0), (1.0, -1.0), (-1.0, 0.1), (math.nan, 0.1), (math.inf, 0.1)):
        with pytest.raises(InvalidParameter):
            skellam_bound(variance, 1, probability)


@pytest.mark.parametrize(("variance", "entries"), [(0.3, 5), (2.0, 1), (50.0, 40), (1e6, 2000)])
def test_norms_of_noise_stay_within_their_bound(variance: float, entries: int, keyed) -> None:
    drawn = sample_skellam(variance, 4000 * entries // max(1, entries // 50), keyed(7))
    norms = np.linalg.norm(drawn[: len(drawn) // entries * entries].reshape(-1, entries), axis=1)
    for probability in (1e-1, 1e-2):
        # Of n norms n p may exceed it; five standard deviations more never do.
        most = len(norms) * probability
        assert (norms > skellam_norm_bound(variance, entries, probability)).sum() <= most + 5 * math.sqrt(most)
    assert (
        skellam_norm_bound(variance, entries, 1e-13) <= math.sqrt(entries) * skellam_bound(variance, entries, 5e-14) + 1
    )


def test_norm_bounds_of_long_noise_are_tight_and_of_none_zero() -> None:
    assert skellam_norm_bound(100.0, 100_000, 1e-15) < 1.03 * math.sqrt(100.0 * 100_000)
    assert skellam_norm_bound(0.0, 10, 1e-6) == skellam_norm_bound(3.0, 0, 1e-6) == 0
