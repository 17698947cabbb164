"""Checks that any attack, and any audit, should pass: for the tests of third parties' code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from attacks.controls.memorised import ControlWorld, MakeAttack, membership_world, negative_control, positive_control
from attacks.controls.planted import Bug, PlantedSchedule, planted_outcome, planted_two_run
from attacks.errors import CapabilityMissing, ControlFailed
from attacks.games.attack import Attack, run_attack
from attacks.games.judging import Terms
from attacks.games.play import Outcome
from attacks.games.simultaneous import contradictions
from attacks.games.views import Capability, ThreatModel, View
from attacks.shadows.mlp import BatchedMlp
from attacks.shadows.models import ContinualRecipe, ShadowModels, continual_models
from attacks.shadows.rule import Rule

# A correct attack fails the negative control once in a million seeds.
_CONFIDENCE = 1 - 1e-6


def check_scores_again(make_attack: MakeAttack, world: ControlWorld) -> None:
    """The same view and candidates give the same scores, one finite number each."""
    attack = make_attack(world.losses)
    scores = run_attack(attack, world.view, world.candidates)
    if not np.array_equal(scores, run_attack(attack, world.view, world.candidates)):
        raise ControlFailed(f"attack {attack.name!r} scored the same candidates differently; seed its randomness")


def check_order(make_attack: MakeAttack, world: ControlWorld, seed: int = 0) -> None:
    """A candidate's score does not depend on its place among the candidates."""
    attack = make_attack(world.losses)
    # Predictions are aligned with the candidates, so their order cannot be changed alone.
    if Capability.PREDICTIONS in attack.requires:
        return
    scores = run_attack(attack, world.view, world.candidates)
    order = np.random.default_rng(seed).permutation(len(scores))
    again = run_attack(attack, world.view, world.candidates.take(order))
    if not np.allclose(again, scores[order], rtol=1e-3, atol=1e-3):
        raise ControlFailed(
            f"attack {attack.name!r} scores a candidate by its position; a score may depend on the candidate "
            "and on the others as a set"
        )


def check_refuses(make_attack: MakeAttack, world: ControlWorld) -> None:
    """A view without capabilities is refused, if the attack requires any."""
    _must_refuse(make_attack(world.losses), world)


def check_positive(make_attack: MakeAttack, world: ControlWorld, seed: int = 0) -> Outcome:
    """An unprotected network that knows its data by heart is found: AUC above .9."""
    positive = positive_control(make_attack, world, seed)
    if not positive.auc.value > 0.9:
        raise ControlFailed(
            f"attack {positive.attack!r} reaches AUC {positive.auc.value:.3f} on an unprotected network that "
            "knows its data by heart; above .9 is expected: is its score the wrong way round?"
        )
    return positive


def check_negative(make_attack: MakeAttack, world: ControlWorld, seed: int = 0) -> Outcome:
    """Coins that no run ever saw are not found: the interval covers .5 at confidence 1 - 1e-6."""
    attack = make_attack(world.losses)
    terms = replace(Terms(target="random coins", seed=seed), confidence=_CONFIDENCE)
    negative = negative_control(world.game, attack, world.view, world.candidates, terms)
    if 0.5 not in negative.auc.interval:
        raise ControlFailed(
            f"attack {attack.name!r} finds coins that no run ever saw (AUC {negative.auc.low:.3f} to "
            f"{negative.auc.high:.3f}); it must not reach the truth"
        )
    return negative


CHECKS: tuple[Callable[[MakeAttack, ControlWorld], object], ...] = (
    check_scores_again,
    check_order,
    check_refuses,
    check_positive,
    check_negative,
)


def check_attack(make_attack: MakeAttack, world: ControlWorld | None = None, seed: int = 0) -> tuple[Outcome, Outcome]:
    """Runs an attack through its controls and contract, `CHECKS`; returns the positive and the negative outcome.

    Args:
        make_attack: builds the attack from a loss function (`LossScore` itself is one).
        world: `membership_world()` (default) or `retained_world()`; both give views with PREDICTIONS,
            FINAL_MODEL and MODEL_SEQUENCE.
        seed: public seed of intervals and coins.

    Raises:
        ControlFailed: one of the checks failed.
        CapabilityMissing: the attack needs more than the control worlds offer.
    """
    played = world or membership_world()
    check_scores_again(make_attack, played)
    check_order(make_attack, played, seed)
    check_refuses(make_attack, played)
    return check_positive(make_attack, played, seed), check_negative(make_attack, played, seed)


def _must_refuse(attack: Attack, world: ControlWorld) -> None:
    if not attack.requires:
        return
    nothing = View.of(ThreatModel("nothing", frozenset()), {})
    try:
        run_attack(attack, nothing, world.candidates)
    except CapabilityMissing:
        return
    raise ControlFailed(f"attack {attack.name!r} ran on a view without capabilities; declare what it requires")


def control_shadows(world: ControlWorld, models: int = 16, seed: int = 1) -> ShadowModels:
    """Shadow models for `membership_world()`: the same network on random halves of the same candidates.

    Use it to put a shadow attack through `check_attack`:
    `check_attack(lambda losses: ShadowMembership(control_shadows(world)), world)`.

    Raises:
        ShadowsInvalid: the world has another network than `membership_world()`.
    """
    labels = int(world.candidates.y.max()) + 1
    trainer = BatchedMlp((world.candidates.x.shape[1], 96, labels))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.5, momentum=0.9), batch=40, steps=150)
    return continual_models(trainer, world.candidates, recipe, models=models, seed=seed)


EpsilonOf = Callable[[float, float, int, float], float]
"""(sampling rate, noise multiplier, steps, delta) -> epsilon of that many Poisson-sampled Gaussians, add or remove."""


def check_accountant(epsilon_of: EpsilonOf, delta: float = 1e-5, seed: int = 0) -> None:
    """Runs mechanisms with planted bugs against an accountant: every bug must show, and nothing without a bug.

    Noise left out, one client unmasked and a replay that is not charged are sought in one run each (2,000 canaries,
    simultaneous confidence .999), noise scaled by the batch that came in 2,000 runs at expected batch 1.

    Args:
        epsilon_of: the accountant under test.
        delta: at which it is asked.
        seed: public seed.

    Raises:
        ControlFailed: a bug went unnoticed (the accountant charges too much, or the audit is broken), or an honest
            mechanism was accused (the accountant charges too little).
    """
    plain = PlantedSchedule(noise_multiplier=4.0, clients=100, seed=seed)
    sampled = PlantedSchedule(noise_multiplier=2.0, rate=0.1, rounds=20, replay_rounds=80, seed=seed)
    for plan, bug in (
        (plain, Bug.NO_NOISE),
        (plain, Bug.ONE_CLIENT_UNMASKED),
        (sampled, Bug.NO_NOISE),
        (sampled, Bug.REPLAY_NOT_CHARGED),
    ):
        epsilon = epsilon_of(plan.rate, plan.noise_multiplier, plan.rounds, delta)
        for wanted in (bug, Bug.NONE):
            found = contradictions([planted_outcome(plan, wanted, epsilon, delta)])
            _verdict(wanted, bool(found), epsilon)
    loud = PlantedSchedule(noise_multiplier=1.0, seed=seed)
    epsilon = epsilon_of(1.0, 1.0, 1, delta)
    _verdict(Bug.NONE, bool(contradictions([planted_outcome(loud, Bug.NONE, epsilon, delta)])), epsilon)
    epsilon = epsilon_of(1.0, plain.noise_multiplier, 1, delta)
    for wanted in (Bug.NOISE_BY_REALISED_BATCH, Bug.NONE):
        shown = planted_two_run(plain, wanted, delta=delta).epsilon.value
        _verdict(wanted, shown > epsilon, epsilon)


def _verdict(bug: Bug, caught: bool, epsilon: float) -> None:
    if bug is Bug.NONE and caught:
        raise ControlFailed(f"an honest mechanism shows more than the {epsilon:.3f} charged: the charge is too small")
    if bug is not Bug.NONE and not caught:
        raise ControlFailed(f"the bug {bug.value!r} went unnoticed at a charge of {epsilon:.3f}: is it too large?")
