import itertools

import numpy as np
import pytest
from scipy import stats

from evaluation.errors import SampleError
from evaluation.rank_test import rank_p_value, rank_p_values


@pytest.mark.parametrize(("m", "n"), [(1, 3), (3, 3), (5, 7), (13, 36), (20, 430), (49, 60)])
def test_without_ties_few_candidates_get_the_exact_value(m: int, n: int) -> None:
    random, truth = np.random.default_rng(m * n), np.repeat([True, False], [m, n])
    for shift in (-1.0, 0.0, 0.5, 1.0, 3.0):
        scores = random.normal(size=m + n) + shift * truth
        known = stats.mannwhitneyu(scores[truth], scores[~truth], alternative="greater", method="exact").pvalue
        assert rank_p_value(scores, truth, seed=0) == pytest.approx(known, rel=1e-9)


def test_the_extremes() -> None:
    truth = np.repeat([True, False], [20, 430])
    perfect = rank_p_value(np.r_[np.ones(20), np.zeros(430)] + np.linspace(0, 0.1, 450), truth, seed=0)
    # One arrangement of (450 over 20).
    assert 0.0 < perfect < 1e-34
    assert rank_p_value(-np.arange(450.0)[::-1], ~truth, seed=0) > 0.0
    assert rank_p_value(np.zeros(450), truth, seed=0) == 1.0
    assert rank_p_value(np.zeros(400), np.arange(400) % 2 == 0, seed=0) == 1.0


def test_ties_are_permuted_as_all_arrangements_would_be() -> None:
    scores, truth = np.array([2.0, 2, 1, 1, 1, 0, 0, 3]), np.array([1, 0, 1, 1, 0, 0, 0, 1], dtype=bool)
    ranks = stats.rankdata(scores)
    sums = [sum(ranks[list(chosen)]) for chosen in itertools.combinations(range(8), 4)]
    exact = np.mean([total >= ranks[truth].sum() for total in sums])
    found = rank_p_value(scores, truth, seed=1, repeats=40_000)
    assert found == pytest.approx(exact, abs=0.01)
    assert found == rank_p_value(scores, truth, seed=1, repeats=40_000)


def test_many_candidates_get_the_normal_value() -> None:
    random, truth = np.random.default_rng(4), np.repeat([True, False], [80, 300])
    for scores in (random.normal(size=380) + 0.3 * truth, np.round(random.normal(size=380) + 0.3 * truth)):
        known = stats.mannwhitneyu(scores[truth], scores[~truth], alternative="greater", method="asymptotic").pvalue
        assert rank_p_value(scores, truth, seed=0) == pytest.approx(known, rel=0.01)


def test_coins_per_cluster_are_permuted_by_cluster() -> None:
    """Ten windows of each of 40 recordings: windows as independent coins would find a leak in nothing."""
    found, naive = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(40), 10)
        truth = (random.random(40) < 0.5)[clusters]
        scores = 3 * random.normal(size=40)[clusters] + random.normal(size=400)
        found.append(rank_p_value(scores, truth, seed=seed, clusters=clusters))
        naive.append(rank_p_value(scores, truth, seed=seed))
    # Binomial(200, .05) exceeds 27 with probability below 1e-5; the seeds are fixed.
    assert np.mean(np.array(found) < 0.05) < 27 / 200
    assert np.mean(np.array(naive) < 0.05) > 0.3


def test_small_p_values_are_as_rare_as_they_say_without_a_leak() -> None:
    for m, n in ((3, 3), (6, 90), (20, 430), (60, 60)):
        truth = np.repeat([True, False], [m, n])
        values = [
            rank_p_value(np.random.default_rng([m, n, seed]).normal(size=m + n), truth, seed=seed)
            for seed in range(2000)
        ]
        for level in (0.05, 0.01):
            # One-sided, at 1e-5.
            assert np.sum(np.array(values) <= level) <= stats.binom.isf(1e-5, 2000, level)


@pytest.mark.parametrize(("m", "n"), [(5, 7), (13, 36), (80, 90)])
def test_the_two_sided_value_is_the_same_for_a_score_and_its_negative(m: int, n: int) -> None:
    random, truth = np.random.default_rng(m * n), np.repeat([True, False], [m, n])
    method = "exact" if min(m, n) < 50 else "asymptotic"
    for shift in (-2.0, 0.0, 0.7):
        scores = random.normal(size=m + n) + shift * truth
        known = stats.mannwhitneyu(scores[truth], scores[~truth], alternative="two-sided", method=method).pvalue
        found = rank_p_values(scores, truth, seed=0)[1]
        assert found == pytest.approx(known, rel=1e-6)
        assert rank_p_values(-scores, truth, seed=0)[1] == pytest.approx(found, rel=1e-9)


def test_unusable_samples_are_refused() -> None:
    with pytest.raises(SampleError, match="100 at least"):
        rank_p_value([1.0, 2.0], [0, 1], seed=0, repeats=10)
    with pytest.raises(SampleError, match="NaN"):
        rank_p_value([1.0, np.nan], [0, 1], seed=0)
    with pytest.raises(SampleError, match="need one"):
        rank_p_value([1.0, 2.0], [0, 0], seed=0)
