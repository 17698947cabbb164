from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from attacks import (
    ALL_MODELS,
    MEMBERSHIP,
    Candidates,
    Capability,
    CheckpointDifference,
    Coin,
    Losses,
    LossScore,
    RetainedDifference,
    RetainedLoss,
    RetainedSlope,
    SequenceBest,
    SequenceMean,
    Terms,
    View,
)
from attacks.controls.memorised import (
    ControlWorld,
    membership_world,
    negative_control,
    positive_control,
    retained_world,
)
from attacks.errors import ControlFailed
from attacks.testing import check_attack

MEMBER_ATTACKS = [LossScore, CheckpointDifference, SequenceMean, SequenceBest]
RETAINED_ATTACKS = [RetainedLoss, RetainedDifference, RetainedSlope]


@pytest.mark.parametrize("make", MEMBER_ATTACKS)
def test_members_of_an_overfit_network_are_found(
    make: Callable[[Losses], LossScore], member_world: ControlWorld
) -> None:
    positive, negative = check_attack(make, member_world)
    assert positive.auc.value > 0.9
    assert positive.terms.control == "positive"
    assert negative.terms.control == "negative"
    assert positive.epsilon_lower is not None
    assert positive.epsilon_lower.value > 1


@pytest.mark.parametrize("make", RETAINED_ATTACKS)
def test_what_an_unprotected_memory_keeps_is_found(
    make: Callable[[Losses], RetainedLoss], replay_world: ControlWorld
) -> None:
    positive, _ = check_attack(make, replay_world)
    assert positive.auc.value > 0.9


def test_discarded_examples_of_an_earlier_task_are_not_taken_for_retained(replay_world: ControlWorld) -> None:
    """Before the memory was used, nothing tells retained from seen: the game measures the memory alone."""
    early = View.of(
        replay_world.view.threat,
        {"final_model": replay_world.view.array("models")[2], "models": np.zeros((1, 1))},
    )
    attack = RetainedLoss(replay_world.losses)
    outcome = positive_control(
        lambda losses: attack,
        ControlWorld(replay_world.game, early, replay_world.candidates, replay_world.truth, replay_world.losses),
    )
    assert 0.5 in outcome.auc.interval


@dataclass(frozen=True)
class Broken:
    losses: Losses = field(repr=False)
    flaw: str = ""
    name: str = "broken"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> np.ndarray:
        if self.flaw == "undeclared":
            return np.zeros(len(candidates))
        base = LossScore(self.losses).score(view, candidates)
        if self.flaw == "upside down":
            return -base
        if self.flaw == "position":
            return base + np.arange(len(base))
        if self.flaw == "unseeded":
            return base + np.random.default_rng().normal(size=len(base))
        return np.zeros(len(base))


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("upside down", "AUC 0.0"),
        ("blind", "AUC 0.5"),
        ("position", "position"),
        ("unseeded", "differently"),
        ("undeclared", "without capabilities|AUC"),
    ],
)
def test_broken_attacks_fail(flaw: str, message: str, member_world: ControlWorld) -> None:
    with pytest.raises(ControlFailed, match=message):
        check_attack(lambda losses: Broken(losses, flaw), member_world)


def test_an_attack_that_requires_too_little_fails(member_world: ControlWorld) -> None:
    @dataclass(frozen=True)
    class Careless:
        """Works when the model is there, and still answers when it is not."""

        losses: Losses
        name: str = "careless"
        requires: frozenset[Capability] = frozenset()

        def score(self, view: View, candidates: Candidates) -> np.ndarray:
            if "final_model" not in view.fields:
                return np.zeros(len(candidates))
            return LossScore(self.losses).score(view, candidates)

    positive, _ = check_attack(Careless, member_world)
    assert positive.auc.value > 0.9  # requiring nothing is allowed; the runner then has nothing to refuse


def test_fresh_coins_cannot_be_found(member_world: ControlWorld) -> None:
    misses = 0
    for seed in range(40):
        terms = Terms(target="any", seed=seed)
        outcome = negative_control(
            member_world.game,
            LossScore(member_world.losses),
            member_world.view,
            member_world.candidates,
            terms,
        )
        misses += 0.5 not in outcome.auc.interval
    # Binomial(40, .06) exceeds 13 with probability below 1e-6.
    assert misses <= 13


def test_the_negative_controls_coins_follow_the_clusters(member_world: ControlWorld) -> None:
    candidates = member_world.candidates
    paired = Candidates(candidates.x, candidates.y, np.arange(len(candidates)) // 2, candidates.task)
    terms = Terms(target="any", coin=Coin(per_cluster=True))
    outcome = negative_control(member_world.game, LossScore(member_world.losses), member_world.view, paired, terms)
    assert outcome.n_members % 2 == 0
    assert outcome.terms.ledger_epsilon == 0.0


@dataclass(frozen=True)
class Knows:
    """Scores by coins that somebody flipped from the public seed."""

    coins: np.ndarray
    name: str = "knows"
    requires: frozenset[Capability] = frozenset()

    def score(self, view: View, candidates: Candidates) -> np.ndarray:
        return self.coins + 1e-3 * np.random.default_rng(1).normal(size=len(self.coins))


@pytest.mark.parametrize("seed", [0, 1, 2, 7, 2**31])
@pytest.mark.parametrize(
    "flip",
    [
        lambda seed, n: np.random.default_rng(seed).random(n) < 0.5,
        lambda seed, n: np.random.default_rng([seed, 0]).random(n) < 0.5,
        lambda seed, n: np.random.default_rng([seed, 0, 0]).random(n) < 0.5,
        lambda seed, n: np.random.default_rng([seed, 5]).random(n) < 0.5,
        lambda seed, n: np.random.default_rng(seed).integers(0, 2, n) == 1,
        lambda seed, n: np.random.RandomState(seed % 2**32).rand(n) < 0.5,
        lambda seed, n: np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).random(n) < 0.5,
    ],
)
def test_the_negative_controls_coins_are_never_the_callers(
    seed: int, flip: Callable[[int, int], np.ndarray], make_candidates: Callable[..., Candidates]
) -> None:
    """Whoever flips members by the seed that the audit gets too must not be told that random coins are found."""
    candidates = make_candidates(600)
    view = View.of(ALL_MODELS, {})
    outcome = negative_control(MEMBERSHIP, Knows(flip(seed, 600)), view, candidates, Terms(target="any", seed=seed))
    # The standard deviation of a null AUC of 300 and 300 is .0236.
    assert abs(outcome.auc.value - 0.5) < 5 * 0.0236


def test_worlds_follow_their_seed(member_world: ControlWorld) -> None:
    again = membership_world(3)
    assert np.array_equal(again.truth, member_world.truth)
    assert np.allclose(again.view.array("final_model"), member_world.view.array("final_model"))
    assert not np.array_equal(membership_world(4).truth, member_world.truth)


def test_worlds_leave_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    retained_world(1)
    assert torch.rand(1) == expected
