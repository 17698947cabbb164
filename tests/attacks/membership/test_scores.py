from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attacks import (
    ALL_MODELS,
    Candidates,
    CheckpointDifference,
    CheckpointRatio,
    LossScore,
    SequenceBest,
    SequenceMean,
    View,
)
from attacks.games.attack import run_attack
from attacks.games.standard import groups_of, standardise
from attacks.membership.losses import closing_rows, log_odds, opening_rows
from attacks.membership.scores import Standardised
from evaluation.roc import auc

# "Models" are vectors of per-candidate losses: the loss function below reads them off, so answers are known.
TABLE = np.array([[2.0, 2.0, 2.0, 2.0], [0.5, 1.0, 2.0, 2.0], [0.6, 1.4, 0.3, 1.0]], dtype=np.float32)


def read_off(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return weights[x[:, 0].astype(int)]


@pytest.fixture
def table_view() -> View:
    return View.of(ALL_MODELS, {"final_model": TABLE[-1], "models": TABLE, "model_tasks": np.array([-1, 0, 1])})


@pytest.fixture
def four() -> Candidates:
    x = np.arange(4, dtype=np.float32)[:, None]
    return Candidates(x, np.zeros(4, dtype=int), np.arange(4), np.array([0, 0, 1, 1]))


def test_loss_score_is_the_negated_final_loss(table_view: View, four: Candidates) -> None:
    assert run_attack(LossScore(read_off), table_view, four) == pytest.approx(-TABLE[2])


def test_difference_spans_the_examples_own_task(table_view: View, four: Candidates) -> None:
    odds = log_odds(TABLE.astype(float))
    expected = [
        odds[1, 0] - odds[0, 0],
        odds[1, 1] - odds[0, 1],
        odds[2, 2] - odds[1, 2],
        odds[2, 3] - odds[1, 3],
    ]
    assert run_attack(CheckpointDifference(read_off), table_view, four) == pytest.approx(expected)


def test_sequence_scores_use_checkpoints_from_arrival_on(table_view: View, four: Candidates) -> None:
    groups = groups_of(four)
    fair = np.stack([standardise(row, groups) for row in log_odds(TABLE.astype(float))])
    mean = [fair[1:, 0].mean(), fair[1:, 1].mean(), fair[2, 2], fair[2, 3]]
    best = [fair[1:, 0].max(), fair[1:, 1].max(), fair[2, 2], fair[2, 3]]
    assert run_attack(SequenceMean(read_off), table_view, four) == pytest.approx(mean)
    assert run_attack(SequenceBest(read_off), table_view, four) == pytest.approx(best)


def test_the_ratio_is_the_factor_by_which_the_loss_fell(table_view: View, four: Candidates) -> None:
    before, after = opening_rows(table_view, four), closing_rows(table_view, four)
    each = np.arange(4)
    factor = np.log(TABLE[before, each] / TABLE[after, each])
    assert run_attack(CheckpointRatio(read_off), table_view, four) == pytest.approx(factor, abs=1e-5)


def test_task_identity_does_not_leak_through_standardised_scores(
    make_candidates: Callable[..., Candidates],
) -> None:
    random = np.random.default_rng(5)
    task = np.repeat([0, 1], 400)
    candidates = make_candidates(800, task=task)
    # Task 1 has low losses and mostly members: the raw score finds the task, and calls it membership.
    truth = random.random(800) < np.where(task == 1, 0.9, 0.1)
    final = (random.gamma(4.0, size=800) * np.where(task == 1, 0.1, 1.0)).astype(np.float32)
    view = View.of(ALL_MODELS, {"final_model": final})
    raw = LossScore(lambda w, x, y: w)
    assert auc(run_attack(raw, view, candidates), truth) > 0.8
    assert 0.4 < auc(run_attack(Standardised(raw), view, candidates), truth) < 0.6


@pytest.mark.parametrize("make", [LossScore, CheckpointDifference, CheckpointRatio, SequenceMean, SequenceBest])
def test_no_candidates_no_scores(make: Callable[..., LossScore], table_view: View, four: Candidates) -> None:
    none = four.take(np.zeros(4, dtype=bool))
    assert run_attack(make(read_off), table_view, none).shape == (0,)
    assert run_attack(Standardised(make(read_off)), table_view, none).shape == (0,)
