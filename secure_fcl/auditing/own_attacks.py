"""Attacks of the user's own in the games of an audit, beside ours."""

from __future__ import annotations

from attacks.errors import AttackError
from attacks.games.attack import Attack, Candidates
from attacks.games.judging import Terms
from attacks.games.play import Game, Outcome, play
from attacks.games.views import ALL_MODELS, FINAL_MODEL, SUMS_ONLY, View
from evaluation.evidence import Score
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Bools
from secure_fcl.config.attacks import own_attacks


def play_own(
    game: Game, world: AuditWorld, candidates: Candidates, truth: Bools, terms: Terms, blind: Score
) -> tuple[list[Outcome], tuple[str, ...]]:
    """Return the outcomes of `attacks.own` in a game, and a sentence for each that could not be played in it.

    Each gets the weakest view of the transcript that has what it requires.

    Args:
        game: membership, or retained or merely seen.
        world: of the audit.
        candidates, truth, terms, blind: as `attacks.games.play.play`.
    """
    found, missing = [], []
    for own in own_attacks(world.plan.config.attacks.own):
        if game.name not in own.games:
            missing.append(f"{game.name}, by {own.reference}: it does not pass the controls of this game")
            continue
        try:
            attack = own.make(world.losses())
            found.append(play(game, attack, _view(attack, world), candidates, truth, terms, blind))
        except TOO_LITTLE:
            raise
        except AttackError as error:
            missing.append(f"{game.name}, by {own.reference}: {error}")
        # The attack's own code may raise anything, and the other games are still played.
        except Exception as error:
            missing.append(f"{game.name}, by {own.reference}: it fails with {type(error).__name__}: {error}")
    return found, tuple(missing)


def _view(attack: Attack, world: AuditWorld) -> View:
    views = [View.of(threat, world.transcript) for threat in (FINAL_MODEL, ALL_MODELS, SUMS_ONLY)]
    return next((view for view in views if attack.requires <= view.capabilities), views[-1])
