from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pytest

from attacks import ALL_MODELS, FINAL_MODEL, Candidates, Capability, View
from attacks.errors import CandidatesInvalid, CapabilityMissing, ScoresInvalid
from attacks.games.attack import run_attack


@dataclass(frozen=True)
class Fixed:
    scores: np.ndarray
    requires: frozenset[Capability] = frozenset({Capability.MODEL_SEQUENCE})
    name: str = "fixed"

    def score(self, view: View, candidates: Candidates) -> np.ndarray:
        return self.scores


def sequence() -> dict[str, np.ndarray]:
    return {"final_model": np.zeros(2), "models": np.zeros((2, 2)), "model_tasks": np.array([-1, 0])}


def test_an_attack_without_its_capability_is_refused(make_candidates: Callable[..., Candidates]) -> None:
    attack, candidates = Fixed(np.zeros(3)), make_candidates(3)
    with pytest.raises(CapabilityMissing, match="MODEL_SEQUENCE"):
        run_attack(attack, View.of(FINAL_MODEL, sequence()), candidates)
    with pytest.raises(CapabilityMissing, match="MODEL_SEQUENCE"):
        run_attack(attack, View.of(ALL_MODELS, {"final_model": np.zeros(2)}), candidates)
    assert run_attack(attack, View.of(ALL_MODELS, sequence()), candidates).shape == (3,)


@pytest.mark.parametrize("scores", [np.zeros(2), np.zeros((3, 1)), np.array([0, np.nan, 1]), np.array([0, np.inf, 1])])
def test_scores_must_be_one_finite_number_each(scores: np.ndarray, make_candidates: Callable[..., Candidates]) -> None:
    with pytest.raises(ScoresInvalid, match="fixed"):
        run_attack(Fixed(scores), View.of(ALL_MODELS, sequence()), make_candidates(3))


def test_candidates_hold_no_truth_and_cannot_be_changed(make_candidates: Callable[..., Candidates]) -> None:
    candidates = make_candidates(4)
    assert {field.name for field in fields(Candidates)} == {"x", "y", "cluster", "task"}
    assert candidates.x.dtype == np.float32
    for field in fields(Candidates):
        with pytest.raises(ValueError, match="read-only"):
            getattr(candidates, field.name)[0] = 1


def test_take_keeps_rows_together(make_candidates: Callable[..., Candidates]) -> None:
    candidates = make_candidates(5, y=[0, 1, 2, 3, 4], task=[4, 3, 2, 1, 0])
    part = candidates.take(np.array([3, 0]))
    assert part.y.tolist() == [3, 0]
    assert part.task.tolist() == [1, 4]
    assert np.array_equal(part.x, candidates.x[[3, 0]])
    assert len(candidates.take(np.zeros(5, dtype=bool))) == 0


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros(3), np.zeros(3, dtype=int)),
        (np.array([[0.0], [np.nan], [1.0]]), np.zeros(3, dtype=int)),
        (np.zeros((3, 1)), np.zeros(2, dtype=int)),
        (np.zeros((3, 1)), np.zeros(3)),
    ],
)
def test_malformed_candidates_are_refused(x: np.ndarray, y: np.ndarray) -> None:
    with pytest.raises(CandidatesInvalid):
        Candidates(x, y, np.zeros(3, dtype=int), np.zeros(3, dtype=int))
