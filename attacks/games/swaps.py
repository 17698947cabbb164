"""Retained or merely seen, for a memory of fixed size: which of two examples was kept?

A memory that keeps exactly r of n examples has no independent coins: that one was kept makes it likelier that another
was not, and no bound for independent coins applies. Pairs do have them. Fix disjoint pairs of one task's examples
before looking; in a pair of which one is kept and one is not, a uniformly drawn memory is as likely to hold either,
whatever became of all other examples. So the pairs' coins are fair and independent, and what they decide about is a
*swap*: one example of the memory replaced by another. The ledger's epsilon to compare with is that of a swap in the
memory steps: at most that of a group of two (remove one, add the other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attacks.errors import GameInvalid, TooFew
from attacks.games.attack import Attack, Candidates, FloatArray, IntArray, run_attack
from attacks.games.judging import BoolArray, Coin, Terms, purpose_seed
from attacks.games.play import Game, Outcome, judge
from attacks.games.views import View

SWAPPED = Game("which of two was retained", "which of these two examples does the replay memory hold?")
"""Which of two was retained (G-RET for a memory of fixed size).

The memory is a uniformly random subset of fixed size of its task's examples. The challenger fixes disjoint pairs by a
public seed and asks about those of which exactly one was kept; b = 1: the first of the two. The adversary's score for a
pair is its score for the first minus that for the second. The neighbouring relation is replace-one inside the memory,
so the epsilon to compare with is the swap bound: `memory_epsilon` of two examples in the steps that sampled from it."""


def disjoint_pairs(candidates: Candidates, seed: int) -> IntArray:
    """Random disjoint pairs of candidates with the same task and label, int64 (k, 2); nobody's fate plays a part.

    Nor do coins that the caller drew from the same public seed (`judging.purpose_seed`).

    Pairs share a label so that neither example is told from the other by its class.
    """
    random, found = np.random.default_rng(purpose_seed(seed, "attacks.swaps.pairs")), [np.empty((0, 2), dtype=np.int64)]
    kinds = np.stack([candidates.task, candidates.y], axis=1)
    for kind in np.unique(kinds, axis=0):
        own = random.permutation(np.flatnonzero((kinds == kind).all(axis=1)))
        found.append(own[: len(own) // 2 * 2].reshape(-1, 2))
    return np.concatenate(found)


def split_pairs(pairs: IntArray, kept: BoolArray) -> tuple[IntArray, BoolArray]:
    """The pairs of which exactly one was kept, (m, 2), and whether it was the first, bool (m,)."""
    first, second = kept[pairs[:, 0]], kept[pairs[:, 1]]
    return pairs[first != second], first[first != second]


def play_swaps(
    attacks: Sequence[Attack], view: View, candidates: Candidates, kept: BoolArray, terms: Terms
) -> tuple[Outcome, ...]:
    """Lets every attack say which of two examples a memory of fixed size holds.

    Args:
        attacks: as for `games.RETAINED`; higher scores mean rather retained.
        view: what they see.
        candidates: examples that were trained on, one per cluster at most.
        kept: bool (n,), what a memory drawn uniformly, with a size fixed beforehand, held.
        terms: its `ledger_epsilon` is that of a swap in the memory steps; the coin is set to the pairs' own.

    Raises:
        GameInvalid: candidates share clusters (their fates hang together).
        TooFew: too few pairs were split.
        CapabilityMissing, ScoresInvalid: see `run_attack`.
    """
    if len(np.unique(candidates.cluster)) != len(candidates):
        raise GameInvalid("candidates share clusters, whose fates hang together; give one candidate per cluster")
    asked, truth = split_pairs(disjoint_pairs(candidates, terms.seed), kept)
    if len(asked) < 2 or truth.all() or not truth.any():
        raise TooFew(f"{len(asked)} pairs hold one kept and one discarded example; give more candidates")
    both = _as_pairs(candidates, asked)
    fair = replace(terms, coin=Coin(0.5))
    outcomes = []
    for attack in attacks:
        scores = run_attack(attack, view, candidates)
        names = (attack.name, view.threat.name)
        outcomes.append(judge(SWAPPED, names, _difference(scores, asked), both, truth, fair))
    return tuple(outcomes)


def _difference(scores: FloatArray, pairs: IntArray) -> FloatArray:
    return scores[pairs[:, 0]] - scores[pairs[:, 1]]


def _as_pairs(candidates: Candidates, pairs: IntArray) -> Candidates:
    """What a blind adversary has to guess from: the first example minus the second."""
    x = candidates.x[pairs[:, 0]] - candidates.x[pairs[:, 1]]
    return Candidates(x, candidates.y[pairs[:, 0]], np.arange(len(pairs)), candidates.task[pairs[:, 0]])
