import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from evaluation.errors import LevelError, SampleError
from evaluation.evidence import Estimate, LowerBound, Score
from evaluation.roc import (
    _one_run_p_value,
    auc,
    epsilon_lower_bound,
    epsilon_lower_bound_from_scores,
    epsilon_lower_bound_one_run,
    halves,
    roc_curve,
    tpr_at_fpr,
)


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_sklearn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = (np.array(column) for column in zip(*pairs, strict=True))
    if truth.all() or not truth.any():
        with pytest.raises(SampleError):
            auc(scores, truth)
        return
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert auc(-scores, truth) == pytest.approx(1 - auc(scores, truth))
    assert auc(np.exp(scores), truth) == pytest.approx(auc(scores, truth))


def test_auc_edges() -> None:
    assert auc([1, 1, 1, 1], [1, 0, 1, 0]) == 0.5
    assert auc([math.inf, 0, -math.inf], [1, 1, 0]) == 1.0


def test_tpr_of_a_perfect_and_of_a_blind_score() -> None:
    truth = np.repeat([True, False], [500, 1000])
    perfect = tpr_at_fpr(truth.astype(float), truth, 0.01)
    assert (perfect.value, perfect.high, perfect.measured_fpr, perfect.reason) == (1.0, 1.0, 0.0, None)
    blind = tpr_at_fpr(np.random.default_rng(0).normal(size=1500), truth, 0.1)
    assert blind.low is not None
    assert blind.high is not None
    assert blind.low < 0.1 < blind.high
    constant = tpr_at_fpr(np.zeros(1500), truth, 0.1)
    assert (constant.value, constant.measured_fpr) == (0.0, 0.0)


def test_tpr_is_refused_where_the_sample_is_too_small() -> None:
    truth = np.repeat([True, False], [50, 999])
    refused = tpr_at_fpr(np.arange(1049.0), truth, 0.01)
    assert refused.value is None
    assert refused.low is None
    assert refused.reason is not None
    assert "1000" in refused.reason
    enough = tpr_at_fpr(np.arange(1050.0), np.repeat([True, False], [50, 1000]), 0.01)
    assert enough.value is not None


def test_the_threshold_comes_from_the_other_half() -> None:
    random, truth = np.random.default_rng(2), np.repeat([True, False], [400, 400])
    scores = random.normal(size=800) + truth
    calibration, judged = halves(truth, seed=0)
    before = tpr_at_fpr(scores, truth, 0.1, seed=0)
    moved = scores.copy()
    moved[judged & ~truth] += 100.0
    after = tpr_at_fpr(moved, truth, 0.1, seed=0)
    assert after.threshold == before.threshold
    assert (after.value, after.measured_fpr) == (before.value, 1.0)
    shifted = scores.copy()
    shifted[calibration & ~truth] += 100.0
    assert tpr_at_fpr(shifted, truth, 0.1, seed=0).threshold != before.threshold


@given(st.integers(0, 2**32 - 1), st.integers(2, 80))
def test_halves_are_disjoint_even_and_keep_clusters_whole(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.random(size) < 0.5
    first, second = halves(truth, seed)
    assert (first ^ second).all()
    assert abs(int((first & truth).sum()) - int((second & truth).sum())) <= 1 + (size % 2)
    clusters = random.integers(0, 10, size)
    one, other = halves(truth, seed, clusters)
    assert not set(clusters[one]) & set(clusters[other])


@pytest.mark.parametrize(("n", "ceiling"), [(100, 3.28), (500, 4.91), (1000, 5.60), (10_000, 7.90)])
def test_ceiling_of_a_perfect_attack(n: int, ceiling: float) -> None:
    found = epsilon_lower_bound(n, 0, n_members=n, n_nonmembers=n, delta=1e-5)
    assert found.value == found.ceiling == pytest.approx(ceiling, abs=0.006)


def test_lower_bound_by_hand() -> None:
    # No error in 100 and 100: both rates at their upper limit 1 - 0.025^(1/100), at delta 0.1.
    rate = 1 - 0.025 ** (1 / 100)
    found = epsilon_lower_bound(100, 0, n_members=100, n_nonmembers=100, delta=0.1)
    assert found.value == pytest.approx(math.log((0.9 - rate) / rate))
    assert epsilon_lower_bound(50, 50, n_members=100, n_nonmembers=100, delta=1e-5).value == 0.0
    assert epsilon_lower_bound(0, 0, n_members=1, n_nonmembers=1, delta=0.5).value == 0.0


def test_a_test_that_accuses_everybody_but_members_counts_as_well() -> None:
    forward = epsilon_lower_bound(10, 0, n_members=100, n_nonmembers=1000, delta=0.0)
    mirrored = epsilon_lower_bound(1000, 90, n_members=1000, n_nonmembers=100, delta=0.0)
    assert forward.value > 1.0
    assert mirrored.value == pytest.approx(forward.value)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 0.5), st.floats(0.5, 0.999))
def test_lower_bound_laws(tp: int, fp: int, delta: float, confidence: float) -> None:
    found = epsilon_lower_bound(tp, fp, n_members=50, n_nonmembers=50, delta=delta, confidence=confidence)
    assert 0.0 <= found.value <= found.ceiling
    looser = epsilon_lower_bound(tp, fp, n_members=50, n_nonmembers=50, delta=delta / 2, confidence=confidence)
    assert looser.value >= found.value


def test_lower_bound_holds_for_randomised_response() -> None:
    # Randomised response at epsilon 1 is exactly 1-DP. Above 7 % false bounds in 2000 audits at 95 % has
    # p < 1e-4 even if the interval were exact; Clopper-Pearson is conservative and the seed fixed.
    random, epsilon = np.random.default_rng(11), 1.0
    keep = math.exp(epsilon) / (1 + math.exp(epsilon))
    tps, fps = random.binomial(300, keep, 2000), random.binomial(300, 1 - keep, 2000)
    bounds = [
        epsilon_lower_bound(int(tp), int(fp), n_members=300, n_nonmembers=300, delta=0.0).value
        for tp, fp in zip(tps, fps, strict=True)
    ]
    assert np.mean(np.array(bounds) > epsilon) < 0.07
    assert np.median(bounds) > 0.5


def test_bound_from_scores_uses_a_disjoint_half() -> None:
    truth = np.repeat([True, False], [1000, 1000])
    perfect = epsilon_lower_bound_from_scores(truth * 1.0, truth, delta=1e-5)
    assert perfect.value == perfect.ceiling == pytest.approx(4.91, abs=0.006)
    # A score that works on the half where the threshold is chosen, and only there, shows nothing.
    calibration, _ = halves(truth, seed=0)
    lucky = np.where(calibration, truth * 1.0, np.random.default_rng(0).random(2000))
    assert epsilon_lower_bound_from_scores(lucky, truth, delta=0.0, seed=0).value == 0.0
    with pytest.raises(SampleError, match="half"):
        epsilon_lower_bound_from_scores([1, 2, 3], [1, 0, 0], delta=0.0)


def test_one_run_published_values() -> None:
    # Steinke et al. 2023, appendix D: the p-value of its example; the bound 0.673 for m=1000, r=100, v=75.
    assert _one_run_p_value(75, 100, 100, math.log(3), 0.0) == pytest.approx(0.553, abs=1e-3)
    found = epsilon_lower_bound_one_run(75, 100, candidates=1000, delta=1e-4)
    assert found.value == pytest.approx(0.673, abs=1e-3)


def test_one_run_edges_and_order() -> None:
    assert epsilon_lower_bound_one_run(0, 0, candidates=100, delta=1e-5).value == 0.0
    assert epsilon_lower_bound_one_run(50, 100, candidates=100, delta=0.0).value == 0.0
    # Without delta the bound is the logit of the lower Clopper-Pearson end at one-sided 95 %.
    share = 0.05 ** (1 / 100)
    perfect = epsilon_lower_bound_one_run(100, 100, candidates=100, delta=0.0)
    assert perfect.value == perfect.ceiling == pytest.approx(math.log(share / (1 - share)), abs=1e-6)
    values = [epsilon_lower_bound_one_run(v, 100, candidates=500, delta=1e-5).value for v in range(50, 101, 10)]
    assert values == sorted(values)
    with pytest.raises(SampleError):
        epsilon_lower_bound_one_run(5, 4, candidates=10, delta=0.0)


def test_levels_are_checked() -> None:
    truth = np.repeat([True, False], 100)
    for fpr in (0.0, 1.0, math.nan):
        with pytest.raises(LevelError):
            tpr_at_fpr(np.zeros(200), truth, fpr)
    for delta in (-0.1, 1.0, math.nan):
        with pytest.raises(LevelError):
            epsilon_lower_bound(1, 0, n_members=1, n_nonmembers=1, delta=delta)
        with pytest.raises(LevelError):
            epsilon_lower_bound_one_run(1, 1, candidates=1, delta=delta)
    with pytest.raises(SampleError):
        epsilon_lower_bound(0, 0, n_members=0, n_nonmembers=5, delta=0.0)
    with pytest.raises(SampleError):
        epsilon_lower_bound(6, 0, n_members=5, n_nonmembers=5, delta=0.0)


def test_three_kinds_of_evidence_are_three_frozen_types() -> None:
    bound = LowerBound(value=1.0, ceiling=2.0, confidence=0.95, delta=1e-5, method="method")
    guess = Estimate(value=1.0, delta=1e-5, assumption="Gaussian scores")
    score = Score(value=0.5, low=0.4, high=0.6, confidence=0.95, n=10)
    for value in (bound, guess, score):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.value = 3.0  # type: ignore[misc]
        assert not isinstance(value, float)
    assert 0.5 in score.interval
    assert 0.7 not in score.interval


def test_roc_curves_have_every_step_or_few_points() -> None:
    scores, truth = np.array([3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 0])
    # Candidates of one score step together.
    assert roc_curve(scores, truth) == ((0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0))
    random = np.random.default_rng(0)
    many = roc_curve(np.append(random.normal(1, 1, 5000), random.normal(0, 1, 5000)), np.arange(10000) < 5000)
    assert len(many) <= 202
    assert many[0] == (0.0, 0.0)
    assert many[-1] == (1.0, 1.0)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(many))
    # Thinned points lie on the curve: the share of members found at a thousandth of false alarms is the normal's.
    at = max(tpr for fpr, tpr in many if fpr <= 0.001)
    assert 0.01 < at < 0.04


def test_hits_have_a_p_value_without_clusters_only() -> None:
    random = np.random.default_rng(1)
    scores, truth = np.append(random.normal(2, 1, 200), random.normal(0, 1, 200)), np.arange(400) < 200
    found = tpr_at_fpr(scores, truth, 0.1)
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert tpr_at_fpr(scores, truth, 0.1, clusters=np.arange(400) // 2).p_value is None
    assert tpr_at_fpr(scores, truth, 0.01).p_value is None
