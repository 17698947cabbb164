"""Likelihood ratios of noisy sums: the known law, dense formulas, and adversaries who know less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from attacks.errors import GameInvalid
from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, judge
from attacks.games.simultaneous import discoveries
from attacks.sums.likelihood import joint_scores, population_scores, shift_scores
from attacks.sums.power import auc_of_mu, shift_game
from evaluation.evidence import Score
from evaluation.roc import auc

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("mu", [0.25, 1.0, 2.0])
def test_the_gaussian_mean_game_has_its_known_auc(mu: float) -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(20_000, 6))
    directions *= mu / np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.normal(size=directions.shape)
    game = shift_game(shift_scores(noise, directions), shift_scores(noise + directions, directions))
    assert game.auc.value == pytest.approx(auc_of_mu(mu), abs=0.012)
    assert game.mu == pytest.approx(mu, abs=0.05)
    assert game.trials == 20_000


@given(SEEDS, st.integers(1, 4), st.integers(1, 5), st.floats(0.1, 0.9))
def test_joint_scores_are_the_dense_ratio_of_normals(seed: int, n: int, d: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    directions, residual = rng.normal(size=(n, d)), rng.normal(size=d)
    expected = []
    for k in range(n):
        others = np.delete(directions, k, axis=0)
        covariance = np.eye(d) + rate * (1 - rate) * others.T @ others
        mean = rate * others.sum(axis=0)
        both = [multivariate_normal(mean + b * directions[k], covariance).logpdf(residual) for b in (0.0, 1.0)]
        expected.append(both[1] - both[0])
    assert np.allclose(joint_scores(residual, directions, rate), expected, atol=1e-7)


def test_without_noise_fewer_candidates_than_entries_are_all_told_apart() -> None:
    rng = np.random.default_rng(2)
    directions = 1e4 * rng.normal(size=(30, 60))
    truth = rng.random(30) < 0.5
    scores = joint_scores(directions[truth].sum(axis=0) + rng.normal(size=60), directions, 0.5)
    assert auc(scores, truth) == 1.0


def test_worlds_are_scored_one_by_one() -> None:
    rng = np.random.default_rng(3)
    directions, worlds = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))
    alone = [joint_scores(world, directions, 0.3) for world in worlds]
    assert np.allclose(joint_scores(worlds, directions, 0.3), alone)
    population = rng.normal(size=(8, 6)), np.repeat((0, 1), 4)
    labels = np.array([0, 1, 1, 0])
    one = population_scores(worlds[:1], directions, labels, population)
    assert np.allclose(one[0], population_scores(worlds[0], directions, labels, population))


def in_the_population(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 40 candidates in each of 30 sums of 12 draws, and who was in."""
    spread, mean = rng.normal(size=(20, 20)) / np.sqrt(20), 3.0 * rng.normal(size=20)
    draw = lambda n: (mean + rng.normal(size=(n, 20)) @ spread) / noise  # noqa: E731
    scores, truths = [], []
    for _ in range(30):
        candidates, others = draw(40), draw(200)
        truth = np.zeros(40, dtype=bool)
        truth[rng.permutation(40)[:12]] = True
        total = candidates[truth].sum(axis=0) + rng.normal(size=20)
        zeros = np.zeros(200, dtype=np.int64)
        scores.append(population_scores(total, candidates, zeros[:40], (others, zeros)))
        truths.append(truth)
    return np.concatenate(scores), np.concatenate(truths)


def test_who_knows_the_population_finds_members_and_noise_hides_them() -> None:
    clear, truth = in_the_population(np.random.default_rng(4), 0.01)
    noisy, same = in_the_population(np.random.default_rng(4), 100.0)
    assert auc(clear, truth) > 0.75
    assert abs(auc(noisy, same) - 0.5) < 0.07


@given(SEEDS, st.floats(-5.0, 5.0))
def test_another_typical_example_in_the_sum_is_no_evidence(seed: int, more: float) -> None:
    rng = np.random.default_rng(seed)
    others, candidates = rng.normal(size=(12, 5)) + 4.0, rng.normal(size=(3, 5)) + 4.0
    zeros = np.zeros(12, dtype=np.int64)
    # Few enough that the counts of the first step, and with them the weights, stay at their least.
    total = 0.01 * rng.normal(size=5)
    shifted = total + 1e-3 * more * others.mean(axis=0)
    scores = [population_scores(one, candidates, zeros[:3], (others, zeros)) for one in (total, shifted)]
    assert np.allclose(*scores, atol=1e-6)


def test_permuted_membership_is_never_found() -> None:
    rng = np.random.default_rng(5)
    directions = 3.0 * rng.normal(size=(200, 250))
    truth = rng.random(200) < 0.5
    scores = joint_scores(directions[truth].sum(axis=0) + rng.normal(size=250), directions, 0.5)
    nothing = np.zeros(200, dtype=np.int64)
    candidates = Candidates(np.zeros((200, 1), dtype=np.float32), nothing, np.arange(200), nothing)
    blind = Score(value=0.5, low=0.5, high=0.5, confidence=0.95, n=200)

    def played(coins: np.ndarray, target: str):  # type: ignore[no-untyped-def]
        return judge(
            MEMBERSHIP, ("ratio", "sums"), scores, candidates, coins, Terms(target=target, coin=Coin(0.5)), blind
        )

    permuted = [played(rng.permutation(truth), f"permuted {k}") for k in range(20)]
    assert abs(np.mean([one.auc.value for one in permuted]) - 0.5) < 0.04
    found = {one.target: one.adjusted for one in discoveries([played(truth, "as it was"), *permuted])}
    assert found.pop("as it was") < 0.001
    assert min(found.values()) > 0.05


def test_what_does_not_fit_is_refused() -> None:
    directions = np.ones((2, 3))
    with pytest.raises(GameInvalid, match=r"rate=1.0 must lie strictly between"):
        joint_scores(np.ones(3), directions, 1.0)
    with pytest.raises(GameInvalid, match=r"fewer than two of classes \[1\]"):
        population_scores(np.ones(3), directions, np.array([0, 1]), (np.ones((3, 3)), np.array([0, 0, 1])))
