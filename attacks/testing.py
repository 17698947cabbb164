"""Checks that any attack should pass, for the tests of third parties' attacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attacks.attack import Attack, run_attack
from attacks.controls import ControlWorld, MakeAttack, membership_world, negative_control, positive_control
from attacks.errors import CapabilityMissing, ControlFailed
from attacks.games import Outcome
from attacks.judging import Terms
from attacks.views import Capability, ThreatModel, View

# A correct attack fails the negative control once in a million seeds.
_CONFIDENCE = 1 - 1e-6


def check_attack(make_attack: MakeAttack, world: ControlWorld | None = None, seed: int = 0) -> tuple[Outcome, Outcome]:
    """Runs an attack through its controls and contract; returns the positive and the negative outcome.

    Checked: an unprotected overfit network is found (AUC above .9); random coins are not (interval covers
    .5 at confidence 1 - 1e-6); the same input gives the same scores; a candidate's score does not depend on
    the order of candidates; a view without capabilities is refused, if the attack requires any.

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
    attack = make_attack(played.losses)
    scores = run_attack(attack, played.view, played.candidates)
    if not np.array_equal(scores, run_attack(attack, played.view, played.candidates)):
        raise ControlFailed(f"attack {attack.name!r} scored the same candidates differently; seed its randomness")
    order = np.random.default_rng(seed).permutation(len(scores))
    # Predictions are aligned with the candidates, so their order cannot be changed alone.
    ordered = Capability.PREDICTIONS not in attack.requires
    if ordered and not np.allclose(
        run_attack(attack, played.view, played.candidates.take(order)), scores[order], rtol=1e-3, atol=1e-3
    ):
        raise ControlFailed(
            f"attack {attack.name!r} scores a candidate by its position; a score may depend on the candidate "
            "and on the others as a set"
        )
    _must_refuse(attack, played)
    positive = positive_control(make_attack, played, seed)
    if not positive.auc.value > 0.9:
        raise ControlFailed(
            f"attack {attack.name!r} reaches AUC {positive.auc.value:.3f} on an unprotected network that "
            "knows its data by heart; above .9 is expected: is its score the wrong way round?"
        )
    terms = replace(Terms("random coins", seed=seed), confidence=_CONFIDENCE)
    negative = negative_control(played.game, attack, played.view, played.candidates, terms)
    if 0.5 not in negative.auc.interval:
        raise ControlFailed(
            f"attack {attack.name!r} finds coins that no run ever saw (AUC {negative.auc.low:.3f} to "
            f"{negative.auc.high:.3f}); it must not reach the truth"
        )
    return positive, negative


def _must_refuse(attack: Attack, world: ControlWorld) -> None:
    if not attack.requires:
        return
    nothing = View.of(ThreatModel("nothing", frozenset()), {})
    try:
        run_attack(attack, nothing, world.candidates)
    except CapabilityMissing:
        return
    raise ControlFailed(f"attack {attack.name!r} ran on a view without capabilities; declare what it requires")
