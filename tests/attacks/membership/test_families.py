from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attacks.errors import ShadowsInvalid
from attacks.membership.families import (
    BAVARIA,
    BAVARIA_T,
    LIRA,
    LIRA_FIXED,
    RATIO,
    Family,
    family_scores,
    log_mean_probability,
    rmia_scores,
    signals,
)
from evaluation.roc import auc

FAMILIES = [LIRA, LIRA_FIXED, RATIO, BAVARIA, BAVARIA_T]


def _world(n: int = 300, shadows: int = 16, gap: float = 1.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Signals with a mean of their own per example, OUT deviation 1, IN higher by `gap`; truth and coins."""
    random = np.random.default_rng(seed)
    centre = random.normal(scale=5, size=n) - 8
    member = random.random((shadows, n)).argsort(axis=0).argsort(axis=0) < shadows // 2
    truth = random.random(n) < 0.5
    theirs = centre + random.normal(size=(shadows, n)) + gap * member
    return centre + random.normal(size=n) + gap * truth, theirs, member, truth


def test_lira_by_hand() -> None:
    """One example, three IN and three OUT models, unbiased variances: log N(x; IN) - log N(x; OUT)."""
    inside, outside = np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0])
    theirs = np.concatenate([inside, outside])[:, None]
    member = np.array([1, 1, 1, 0, 0, 0], dtype=bool)[:, None]
    got = family_scores(LIRA, np.array([2.5]), theirs, member)
    want = stats.norm.logpdf(2.5, 3.0, 1.0) - stats.norm.logpdf(2.5, 1.0, 1.0)
    assert got[0] == pytest.approx(want, abs=1e-9)


def test_offline_is_the_tail_of_the_out_models() -> None:
    theirs = np.array([[0.0], [1.0], [2.0]])
    got = family_scores(LIRA.offline(), np.array([3.0]), theirs, np.zeros((3, 1), dtype=bool))
    assert got[0] == pytest.approx(-stats.norm.logsf(3.0, 1.0, 1.0), abs=1e-6)


def test_weights_interpolate_between_own_and_common_variance() -> None:
    observed, theirs, member, _ = _world()
    own = family_scores(LIRA, observed, theirs, member)
    common = family_scores(LIRA_FIXED, observed, theirs, member)
    nearly_own = family_scores(Family(name="", mean_weight=0, variance_weight=1e-9), observed, theirs, member)
    nearly_common = family_scores(Family(name="", mean_weight=0, variance_weight=1e9), observed, theirs, member)
    assert np.allclose(own, nearly_own, atol=1e-4)
    assert np.allclose(common, nearly_common, atol=1e-4)
    assert not np.allclose(own, common, atol=0.1)


def test_student_becomes_normal_with_much_prior() -> None:
    observed, theirs, member, _ = _world(shadows=64)
    heavy = Family(name="", mean_weight=1e7, variance_weight=1e7)
    normal = family_scores(heavy, observed, theirs, member)
    student = family_scores(replace(heavy, predictive="student"), observed, theirs, member)
    # The OUT side keeps its own mean, whose uncertainty (1 + 1/32) only the Student predictive knows.
    assert np.corrcoef(normal, student)[0, 1] > 0.99


def test_the_ratio_is_log_p_minus_log_mean_out_p() -> None:
    random = np.random.default_rng(1)
    losses, theirs = random.exponential(size=50), random.exponential(size=(8, 50))
    member = random.random((8, 50)).argsort(axis=0).argsort(axis=0) < 4
    theirs = np.where(member, theirs * 0.3, theirs)
    score = family_scores(RATIO, -losses, -theirs, member)
    mean = np.log(np.where(~member, np.exp(-theirs), 0.0).sum(axis=0) / 4)
    order = np.argsort(-losses - mean)
    assert (np.diff(score[order]) >= -1e-9).all()


def test_rmia_agrees_with_the_ratio_and_counts_by_hand() -> None:
    theirs = np.log(np.array([[0.2, 0.5], [0.4, 0.5]]))
    none = np.zeros((2, 2), dtype=bool)
    population = (np.log(np.array([0.3, 0.9])), np.log(np.array([[0.3, 0.3], [0.3, 0.3]])))
    # Ratios: .6/.3 = 2 and .25/.5 = .5; population .3/.3 = 1 and .9/.3 = 3.
    got = rmia_scores(np.log(np.array([0.6, 0.25])), theirs, none, population)
    assert got.tolist() == [0.5, 0.0]
    assert rmia_scores(np.log(np.array([0.6, 0.25])), theirs, none, population, gamma=3.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("family", [*FAMILIES, LIRA.offline(), BAVARIA_T.offline()], ids=lambda f: f.name)
def test_members_score_higher_and_coins_do_not(family: Family) -> None:
    observed, theirs, member, truth = _world(n=600, shadows=32, gap=2.0)
    scores = family_scores(family, observed, theirs, member)
    assert np.isfinite(scores).all()
    assert auc(scores, truth) > 0.75
    fresh = np.random.default_rng(9).random(600) < 0.5
    # Standard deviation of a null AUC: sqrt(1/12 * (1/300 + 1/300)) = .0236.
    assert abs(auc(scores, fresh) - 0.5) < 5 * 0.0236


def test_shrinkage_pays_when_shadows_are_few() -> None:
    gains = []
    for seed in range(8):
        observed, theirs, member, truth = _world(n=800, shadows=6, gap=1.5, seed=seed)
        gains.append(
            auc(family_scores(BAVARIA, observed, theirs, member), truth)
            - auc(family_scores(LIRA, observed, theirs, member), truth)
        )
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("family", [LIRA_FIXED, BAVARIA], ids=lambda f: f.name)
@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_scores_do_not_depend_on_the_unit(family: Family, shift: float, scale: float) -> None:
    observed, theirs, member, _ = _world(n=40, shadows=12)
    base = family_scores(family, observed, theirs, member)
    moved = family_scores(family, shift + scale * observed, shift + scale * theirs, member)
    assert np.allclose(base, moved, rtol=1e-5, atol=1e-5)


def test_an_example_without_in_models_gets_the_common_shift() -> None:
    observed, theirs, member, _ = _world(n=100, shadows=16, gap=3.0)
    member[:, 0] = False
    theirs[:, 0] = np.linspace(-2, 2, 16)
    observed[0] = 3.0
    assert family_scores(LIRA_FIXED, observed, theirs, member)[0] > 0
    observed[0] = 0.0
    assert family_scores(LIRA_FIXED, observed, theirs, member)[0] < 0


def test_models_of_neither_kind_are_left_out() -> None:
    observed, theirs, member, _ = _world(n=50, shadows=12)
    outside = ~member
    outside[np.argmax(outside, axis=0), np.arange(50)] = False
    spoiled = np.where(member | outside, theirs, 1e6)
    assert np.array_equal(
        family_scores(BAVARIA, observed, spoiled, member, outside),
        family_scores(BAVARIA, observed, theirs, member, outside),
    )


def test_signals() -> None:
    assert signals(np.array([math.log(2)]), "log odds")[0] == pytest.approx(0.0)
    assert signals(np.array([0.5]), "log probability")[0] == -0.5


def test_rmia_averages_in_and_out_and_offline_does_without_in() -> None:
    """By hand: one candidate, in .9 and .7, out .2 and .4; five strangers whose own ratio is known."""
    shadows = np.log(np.array([[0.9], [0.7], [0.2], [0.4]]))
    member = np.array([[True], [True], [False], [False]])
    wanted = {None: (0.8 + 0.3) / 2, 1.0: 0.3, 0.3: (1.3 * 0.3 + 0.7) / 2, 0.0: (0.3 + 1) / 2}
    reference = np.log(np.full((4, 5), 0.5))
    for offline, mean in wanted.items():
        base = 0.5 if offline is None else ((1 + offline) * 0.5 + 1 - offline) / 2
        ratio = 0.6 / mean
        # Strangers just below and just above the candidate's own ratio.
        theirs = np.log(base * ratio * np.array([0.5, 0.999, 1.001, 1.5, 2.0]))
        found = rmia_scores(np.log([0.6]), shadows, member, (theirs, reference), offline=offline)
        assert found == pytest.approx([0.4]), offline
    spoiled = np.where(member, -50.0, shadows)
    both = [rmia_scores(np.log([0.6]), s, member, (theirs, reference), offline=0.3) for s in (shadows, spoiled)]
    assert np.array_equal(*both)


def test_rmia_tells_apart_what_every_model_is_sure_of() -> None:
    """Probabilities 1 - 1e-20 and 1 - 1e-22 are both 1 in float64; the losses are not."""
    random = np.random.default_rng(0)
    shadows = -np.exp(random.normal(-45, 1, (16, 300)))
    member = random.random((16, 300)) < 0.5
    truth = np.arange(300) < 150
    observed = -np.exp(random.normal(-45, 1, 300)) * np.where(truth, 0.1, 1.0)
    population = (-np.exp(random.normal(-45, 1, 500)), -np.exp(random.normal(-45, 1, (16, 500))))
    for offline in (None, 0.3):
        assert auc(rmia_scores(observed, shadows, member, population, offline=offline), truth) > 0.8


def test_means_of_probabilities_keep_their_precision_at_both_ends() -> None:
    logs = np.array([[-1e-20, -800.0, math.log(0.2)], [-3e-20, -802.0, math.log(0.6)], [-1.0, -1.0, -1.0]])
    mask = np.array([[True] * 3, [True] * 3, [False] * 3])
    known = [-2e-20, -800.0 + math.log((1 + math.exp(-2)) / 2), math.log(0.4)]
    assert log_mean_probability(logs, mask) == pytest.approx(known, rel=1e-12)


def test_impossible_inputs_are_refused() -> None:
    observed, theirs, member, _ = _world(n=10, shadows=4)
    with pytest.raises(ShadowsInvalid, match="finite"):
        family_scores(LIRA, np.full(10, np.nan), theirs, member)
    with pytest.raises(ShadowsInvalid, match="every shadow model"):
        family_scores(LIRA, observed, theirs, np.ones_like(member))
    with pytest.raises(ShadowsInvalid, match="offline"):
        family_scores(LIRA, observed, theirs, np.zeros_like(member))
    with pytest.raises(ShadowsInvalid, match="weights"):
        Family(name="", mean_weight=-1)
    with pytest.raises(ShadowsInvalid, match="probabilities"):
        Family(name="", centre="probability")
    with pytest.raises(ShadowsInvalid, match="population"):
        rmia_scores(observed, theirs, member, (np.zeros(0), np.zeros((4, 0))))
    with pytest.raises(ShadowsInvalid, match=r"offline=1.5 must lie in \[0, 1\]"):
        rmia_scores(observed, theirs, member, (observed, theirs), offline=1.5)
