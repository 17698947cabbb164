from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attacks import ALL_MODELS, Candidates, RetainedDifference, RetainedLoss, RetainedSlope, View
from attacks.errors import CandidatesInvalid
from attacks.games.attack import run_attack
from attacks.membership.losses import log_odds

P = np.array([[0.5, 0.5, 0.5], [0.9, 0.9, 0.9], [0.9, 0.6, 0.4], [0.9, 0.5, 0.2]])


def read_off(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return weights[x[:, 0].astype(int)]


@pytest.fixture
def forgetting() -> View:
    table = -np.log(P)
    tasks = np.array([-1, 0, 1, 2])
    return View.of(ALL_MODELS, {"final_model": table[-1], "models": table, "model_tasks": tasks})


def three(task: int) -> Candidates:
    return Candidates(np.arange(3, dtype=np.float32)[:, None], np.zeros(3, dtype=int), np.arange(3), np.full(3, task))


def z(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def test_scores_by_hand(forgetting: View) -> None:
    odds = log_odds(-np.log(P))
    assert run_attack(RetainedLoss(read_off), forgetting, three(0)) == pytest.approx(z(odds[3]), abs=1e-5)
    difference = run_attack(RetainedDifference(read_off), forgetting, three(0))
    assert difference == pytest.approx(z(odds[3] - odds[1]), abs=1e-5)
    slopes = np.polyfit([1, 2, 3], odds[1:], 1)[0]
    assert run_attack(RetainedSlope(read_off), forgetting, three(0)) == pytest.approx(z(slopes), abs=1e-5)


def test_a_trajectory_starts_when_the_task_closed(forgetting: View) -> None:
    odds = log_odds(-np.log(P))
    slopes = odds[3] - odds[2]
    assert run_attack(RetainedSlope(read_off), forgetting, three(1)) == pytest.approx(z(slopes), abs=1e-5)


@pytest.mark.parametrize("make", [RetainedDifference, RetainedSlope])
def test_candidates_of_the_last_task_are_refused(make: Callable[..., RetainedSlope], forgetting: View) -> None:
    with pytest.raises(CandidatesInvalid, match=r"task\(s\) \[2\]"):
        run_attack(make(read_off), forgetting, three(2))


@pytest.mark.parametrize("make", [RetainedLoss, RetainedDifference, RetainedSlope])
def test_no_candidates_no_scores(make: Callable[..., RetainedLoss], forgetting: View) -> None:
    none = three(0).take(np.zeros(3, dtype=bool))
    assert run_attack(make(read_off), forgetting, none).shape == (0,)
