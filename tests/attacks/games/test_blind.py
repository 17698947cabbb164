from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from attacks import Candidates
from attacks.games.blind import blind_auc, cross_fitted_scores, simple_features


def digits(n: int, per_block: int = 1) -> Candidates:
    data = load_digits()
    return Candidates(data.images[:n], data.target[:n].astype(int), np.arange(n) // per_block, data.target[:n] // 5)


def test_a_planted_difference_is_found() -> None:
    candidates = digits(800)
    truth = np.random.default_rng(0).random(800) < 0.5
    x = candidates.x.copy()
    x[truth, 0, 0] += 3.0
    found = blind_auc(Candidates(x, candidates.y, candidates.cluster, candidates.task), truth, seed=0)
    assert found.low > 0.6


def test_a_difference_between_labels_only_is_not_held_against_the_game() -> None:
    candidates = digits(800)
    truth = np.random.default_rng(0).random(800) < np.where(candidates.y < 5, 0.9, 0.1)
    assert 0.5 in blind_auc(candidates, truth, seed=0).interval


def test_herding_is_found() -> None:
    """A memory that keeps the examples nearest to their class mean tells its content to anyone who has x."""
    candidates = digits(800)
    flat = candidates.x.reshape(800, -1)
    truth = np.zeros(800, dtype=bool)
    for label in range(10):
        own = np.flatnonzero(candidates.y == label)
        distance = np.linalg.norm(flat[own] - flat[own].mean(axis=0), axis=1)
        truth[own[np.argsort(distance)[: len(own) // 4]]] = True
    assert blind_auc(candidates, truth, seed=0).low > 0.8


@pytest.mark.parametrize(("n", "per_block", "whole"), [(300, 1, False), (300, 6, False), (600, 6, True)])
def test_honest_coins_are_called_void_about_one_time_in_twenty(n: int, per_block: int, whole: bool) -> None:
    candidates, outside = digits(n, per_block), 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = (random.random(n) < 0.5)[candidates.cluster] if whole else random.random(n) < 0.3
        outside += 0.5 not in blind_auc(candidates, truth, seed=seed).interval
    # Binomial(60, .05) exceeds 15 with probability below 1e-6.
    assert outside <= 15


def test_no_example_is_scored_by_a_fit_that_saw_its_truth() -> None:
    random = np.random.default_rng(0)
    features, fold = random.normal(size=(60, 5)), np.arange(60) % 5
    truths = (random.random((60, 1)) < 0.5).astype(float)
    flipped = truths.copy()
    flipped[fold == 2] = 1 - flipped[fold == 2]
    before, after = (cross_fitted_scores(features, fold, t)[fold == 2] for t in (truths, flipped))
    assert np.array_equal(before, after)
    assert not np.array_equal(
        cross_fitted_scores(features, fold, truths)[fold == 1],
        cross_fitted_scores(features, fold, flipped)[fold == 1],
    )


def test_features_of_few_examples_in_many_dimensions() -> None:
    random = np.random.default_rng(0)
    few = Candidates(random.normal(size=(20, 6, 64)), np.zeros(20, int), np.arange(20), np.zeros(20, int))
    features = simple_features(few)
    assert features.shape == (20, 12 + 12 + 1)
    assert np.isfinite(features).all()
