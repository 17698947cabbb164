"""The audit of a finished run: its transcript becomes views, its coins become truths, and the games are played."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from attacks.errors import AttackError, InversionInvalid
from attacks.report import audit_document
from evaluation.errors import EvaluationError
from evaluation.strict_json import to_json
from secure_fcl.auditing.canaries import play_canaries
from secure_fcl.auditing.channels import play_channels
from secure_fcl.auditing.inversion import play_inversion
from secure_fcl.auditing.ledger_check import beyond_reach
from secure_fcl.auditing.membership import play_membership
from secure_fcl.auditing.memory import play_retained
from secure_fcl.auditing.memory_check import check_memory
from secure_fcl.auditing.positive_control import overfit_control
from secure_fcl.auditing.servers import probe_servers
from secure_fcl.auditing.shadows import shadow_models
from secure_fcl.auditing.staged import play_arrival, play_clear_updates, play_extraction
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Played, Say, open_world
from secure_fcl.config import validate
from secure_fcl.running.fitting import ATTACKS, REPORT, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies.gradient.models import is_own

T = TypeVar("T")

_NO_SHADOWS = (
    "shadow models (LiRA, RMIA, BaVarIA): attacks.shadows = 0; that losses alone fail is no evidence of privacy"
)
_NOT_TESTED = (
    "colluding clients, and seizure of a device",
    "servers that change the network's architecture (imprinting); attacks.sums.active_server.probe_imprint tests one "
    "for a perceptron",
    "persons: every guarantee and every game is about windows or blocks of windows, not about people",
)


def audit(
    prepared: Prepared, folder: RunFolder, say: Say = lambda text: None, shadows: int | None = None
) -> dict[str, object]:
    """Play all games against the configured row, write attacks.json and return it.

    Args:
        prepared: of the run.
        folder: of the run.
        say: told of every step.
        shadows: number of shadow models; None takes the configuration's.

    Raises:
        RunFolderError: the run is not finished, the attacked row is not part of it, or files of the folder do not fit
            one another.
        ConfigInvalid: a number of shadow models that attacks.shadows would not take.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    count = _count(prepared, shadows)
    require_fitting(folder, but=(REPORT, ATTACKS))
    world = _with_shadows(open_world(prepared, folder), count, say)
    say("memory")
    memory = check_memory(world.plan, folder)
    played = [_played(say, name, world, play) for name, play in _GAMES]
    say("positive control")
    outcomes = [one for part in played for one in part.outcomes] + overfit_control(world.plan, world.strategy)
    say("gradient inversion")
    rebuilt, untaken = _tried("gradient inversion", world, lambda own: (play_inversion(own), ()))
    missing = [sentence for part in played for sentence in part.missing] + [*untaken]
    if not rebuilt and not untaken:
        missing.append(
            "gradient inversion: fewer than two clients own the first task's first class, so no blind guess exists"
        )
    exemplars, more = _tried("exemplar extraction", world, play_extraction)
    say("servers and side channels")
    channels, silent = play_channels(world)
    probes, untried = _tried("servers that depart from the protocol", world, probe_servers)
    missing += [*more, *silent, *untried, *([] if count else [_NO_SHADOWS]), *_NOT_TESTED]
    document = audit_document(
        seconds=time.perf_counter() - begun,
        row=world.plan.name,
        outcomes=outcomes,
        reconstructions=[*rebuilt, *exemplars],
        not_tested=[*missing, *beyond_reach(outcomes)],
    )
    document |= {"leakage": None, "history": [], "attribution": [], "noise": None, "laws": [], "memory": memory}
    document |= {"failed": [sentence for part in played for sentence in part.failed]}
    document |= {key: value for part in played for key, value in part.more}
    document |= {"probes": probes, "channels": channels, "shadows": count, "inputs": world.plan.scenario.description}
    document["cpu_seconds"] = time.process_time() - cpu
    folder.publish(ATTACKS, to_json(document, indent=2) + "\n")
    return document


_GAMES: tuple[tuple[str, Callable[[AuditWorld], Played]], ...] = (
    ("membership", play_membership),
    ("retained or merely seen", play_retained),
    ("class arrival from the sum", play_arrival),
    ("membership in one client's update", play_clear_updates),
    ("canaries", play_canaries),
)


def _played(say: Say, name: str, world: AuditWorld, play: Callable[[AuditWorld], Played]) -> Played:
    say(name)
    try:
        return play(world)
    except TOO_LITTLE as error:
        return Played(missing=(f"{name}: too few examples to judge ({error})",))
    except InversionInvalid as error:
        return Played(missing=(f"{name}: {error}",))
    except (AttackError, EvaluationError) as error:
        # Coins that were not those declared, losses that are no numbers: a finding, which no lack of data explains.
        return Played(failed=(f"{name}: {error}",))
    except Exception as error:
        return Played(missing=(_impossible(name, world, error),))


def _tried(
    name: str, world: AuditWorld, play: Callable[[AuditWorld], tuple[list[T], tuple[str, ...]]]
) -> tuple[list[T], tuple[str, ...]]:
    """Return what a part found, and what could not be tried: attacks may not know the layers of a user's network."""
    try:
        return play(world)
    except InversionInvalid as error:
        return [], (f"{name}: {error}",)
    except Exception as error:
        return [], (_impossible(name, world, error),)


def _impossible(name: str, world: AuditWorld, error: Exception) -> str:
    """Return that attacks do not know the layers of a user's network; an error on a network of ours is one."""
    if not is_own(world.plan.config.training.model):
        raise error
    why = next(iter(str(error).splitlines()), "")
    return f"{name}: not possible on this network ({type(error).__name__}: {why})"


def _count(prepared: Prepared, shadows: int | None) -> int:
    if shadows is None:
        return prepared.config.attacks.shadows
    return validate({"attacks": {"shadows": shadows}}).attacks.shadows


def _with_shadows(world: AuditWorld, count: int, say: Say) -> AuditWorld:
    if not count:
        return world
    pool = world.pool()
    made = shadow_models(world.plan, world.strategy, world.folder, pool, world.candidates(pool), count, say)
    return replace(world, shadows=made)
