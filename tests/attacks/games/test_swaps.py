"""Which of two was retained: a memory of fixed size has fair coins in pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks import ALL_MODELS, Candidates, Capability, Terms, View, contradictions, play_swaps
from attacks.errors import GameInvalid
from attacks.games.swaps import disjoint_pairs, split_pairs

Make = Callable[..., Candidates]
VIEW = View.of(ALL_MODELS, {})


@dataclass(frozen=True, eq=False)
class Fixed:
    """Scores that were made beforehand."""

    values: np.ndarray
    name: str = "fixed"
    requires: frozenset[Capability] = frozenset()

    def score(self, view: View, candidates: Candidates) -> np.ndarray:
        return self.values


def memory(n: int, size: int, seed: int) -> np.ndarray:
    kept = np.zeros(n, dtype=bool)
    kept[np.random.default_rng(seed).permutation(n)[:size]] = True
    return kept


@given(st.integers(2, 40), st.integers(0, 1000))
def test_pairs_are_disjoint_and_of_one_kind(n: int, seed: int) -> None:
    kind = np.random.default_rng(seed).integers(0, 3, size=n)
    candidates = Candidates(np.zeros((n, 1), np.float32), kind, np.arange(n), np.zeros(n, np.int64))
    pairs = disjoint_pairs(candidates, seed)
    assert len(np.unique(pairs)) == pairs.size
    assert (kind[pairs[:, 0]] == kind[pairs[:, 1]]).all()
    assert len(pairs) == sum(int((kind == k).sum()) // 2 for k in range(3))


def test_only_split_pairs_are_asked_about() -> None:
    pairs = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    asked, first = split_pairs(pairs, np.array([1, 0, 0, 1, 1, 1, 0, 0], dtype=bool))
    assert asked.tolist() == [[0, 1], [2, 3]]
    assert first.tolist() == [True, False]


def test_the_first_of_a_pair_is_kept_as_often_as_the_second(make_candidates: Make) -> None:
    candidates = make_candidates(60)
    found = [split_pairs(disjoint_pairs(candidates, seed), memory(60, 20, seed + 1))[1] for seed in range(200)]
    coins = np.concatenate(found)
    # Five standard deviations of a fair coin.
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(coins))


def test_a_memory_that_shows_is_found_and_compared_with_the_swap_bound(make_candidates: Make) -> None:
    candidates, kept = make_candidates(800), memory(800, 400, 0)
    terms = Terms(target="memory of 400", seed=3, delta=1e-8, ledger_epsilon=1.0)
    (leak,) = play_swaps([Fixed(kept + np.random.default_rng(1).random(800) / 2)], VIEW, candidates, kept, terms)
    assert leak.game == "which of two was retained"
    assert leak.auc.value == 1.0
    assert leak.epsilon_lower is not None
    assert leak.epsilon_lower.value > 1.0
    assert len(contradictions([leak])) == 1
    assert contradictions([replace(leak, terms=replace(leak.terms, ledger_epsilon=20.0))]) == ()


def test_scores_without_the_memory_show_nothing(make_candidates: Make) -> None:
    candidates, kept = make_candidates(400), memory(400, 60, 0)
    (outcome,) = play_swaps(
        [Fixed(np.random.default_rng(1).random(400))], VIEW, candidates, kept, Terms(target="m", seed=2)
    )
    assert 0.5 in outcome.auc.interval
    assert not outcome.void


def test_clusters_and_too_few_pairs_are_refused(make_candidates: Make) -> None:
    shared = make_candidates(10, cluster=np.arange(10) // 2)
    with pytest.raises(GameInvalid, match="share clusters"):
        play_swaps([], VIEW, shared, memory(10, 5, 0), Terms(target="m"))
    with pytest.raises(GameInvalid, match="pairs hold one kept"):
        play_swaps([], VIEW, make_candidates(10), np.ones(10, dtype=bool), Terms(target="m"))
