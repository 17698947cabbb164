"""The audit of a finished run: its transcript becomes views, its coins become truths, and the games are played."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from attacks.errors import AttackError, InversionInvalid
from attacks.report import audit_document
from evaluation.errors import EvaluationError
from evaluation.strict_json import to_json
from secure_fcl.auditing.canaries import play_canaries
from secure_fcl.auditing.channels import play_channels
from secure_fcl.auditing.described import described
from secure_fcl.auditing.gradient_canaries import judge_gradients
from secure_fcl.auditing.inversion import play_inversion
from secure_fcl.auditing.ledger_check import beyond_reach
from secure_fcl.auditing.membership import play_membership
from secure_fcl.auditing.memory import play_retained
from secure_fcl.auditing.memory_check import check_memory
from secure_fcl.auditing.positive_control import overfit_control
from secure_fcl.auditing.rounds import NAME as OVER_ROUNDS
from secure_fcl.auditing.rounds import play_rounds
from secure_fcl.auditing.run_canaries import laws_of
from secure_fcl.auditing.servers import probe_servers
from secure_fcl.auditing.shadows import shadow_models
from secure_fcl.auditing.staged import play_arrival, play_clear_updates, play_extraction
from secure_fcl.auditing.sums import SumsAudit, audit_sums
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Played, Say, attacked_plan, open_world, slots_of
from secure_fcl.config import Attacks, validate
from secure_fcl.rows.audited import sums_alone
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.fitting import ATTACKS, REPORT, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies import GradientStrategy
from secure_fcl.strategies.gradient.models import is_own

T = TypeVar("T")

_NO_SHADOWS = (
    "shadow models (LiRA, RMIA, BaVarIA): attacks.shadows = 0; that losses alone fail is no evidence of privacy"
)
_NOT_TESTED = (
    "servers that change the network's architecture (imprinting); attacks.sums.active_server.probe_imprint tests one "
    "for a perceptron",
    "persons: every guarantee, and every game on a network, is about windows or blocks of windows, not about people",
)
_OF_NO_ROW = ("colluding clients, and seizure of a device",)


def audit(
    prepared: Prepared,
    folder: RunFolder,
    say: Say = lambda text: None,
    shadows: int | None = None,
    over_rounds: int | None = None,
) -> dict[str, object]:
    """Play the games that fit the configured row, and those on sums against every row of sums, and write attacks.json.

    Without the configured row in the run, the first row of sums stands in its place.

    Args:
        prepared: of the run.
        folder: of the run.
        say: told of every step.
        shadows: number of shadow models; None takes the configuration's.
        over_rounds: number of examples that membership over rounds asks about; None takes the configuration's.

    Raises:
        RunFolderError: the run is not finished, the attacked row is not part of it, or files of the folder do not fit
            one another.
        ConfigInvalid: a number that attacks.shadows or attacks.over_rounds would not take.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    wanted = _wanted(prepared, shadows=shadows, over_rounds=over_rounds)
    require_fitting(folder, but=(REPORT, ATTACKS))
    plan = attacked_plan(prepared, folder)
    sums = []
    for one in (one for one, _ in prepared.rows if sums_alone(one)):
        say(f"sums of {one.name}")
        sums.append(audit_sums(one, folder, slots_of(one)))
    if isinstance(plan.strategy, GradientStrategy):
        document = _of_a_network(
            _with_shadows(open_world(prepared, folder), wanted.shadows, say), say, wanted.over_rounds
        )
    else:
        document = _of_sums(plan, next((found for found in sums if found.record["row"] == plan.name), None))
    canaries = [found.canaries for found in sums if found.canaries is not None]
    if prepared.scenario.canaries is not None:
        for one in (one for one, _ in prepared.rows if not sums_alone(one)):
            say(f"canaries of {one.name}")
            canaries.append(judge_gradients(one, folder))
    document |= {"sums": [found.record for found in sums], "shadows": wanted.shadows, "canaries": canaries}
    document["laws"] = [*document["laws"], *laws_of(canaries)]
    document["not_tested"] += [*_OF_NO_ROW, *(sentence for found in sums for sentence in found.record["missing"])]
    document["not_tested"] += [sentence for record in canaries for sentence in record["missing"]]
    document = described(prepared.config.seed) | document
    document |= {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}
    folder.publish(ATTACKS, to_json(document, indent=2) + "\n")
    return document


_NOTHING: dict[str, object] = {
    "leakage": None, "history": [], "attribution": [], "noise": None, "laws": [], "memory": None, "failed": [],
    "probes": [], "channels": [],
}  # fmt: skip


def _of_sums(plan: RowPlan, found: SumsAudit | None) -> dict[str, Any]:
    """Return the document of a run whose attacked row trains no network: its outcomes are those on its sums."""
    outcomes = () if found is None else found.outcomes
    missing = [] if found is not None else [f"row {plan.name}: its releases are no plain sums over examples"]
    if plan.config.attacks.own:
        missing.append(f"attacks of your own: they are asked of networks, and {plan.name} trains none")
    document = audit_document(
        seconds=0.0, row=plan.name, outcomes=outcomes, not_tested=missing, tasks=plan.scenario.task_names
    )
    return document | _NOTHING | {"inputs": plan.scenario.description}


def _of_a_network(world: AuditWorld, say: Say, over_rounds: int) -> dict[str, Any]:
    """Return the document of all games against a row that trains a network."""
    say("memory")
    memory = check_memory(world.plan, world.folder)
    played = [_played(say, name, world, play) for name, play in _GAMES]
    if over_rounds:
        played.append(_played(say, OVER_ROUNDS, world, lambda own: play_rounds(own, over_rounds)))
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
    missing += [*more, *silent, *untried, *([] if world.shadows is not None else [_NO_SHADOWS]), *_NOT_TESTED]
    document = audit_document(
        seconds=0.0,
        row=world.plan.name,
        outcomes=outcomes,
        reconstructions=[*rebuilt, *exemplars],
        not_tested=[*missing, *beyond_reach(outcomes)],
        tasks=world.plan.scenario.task_names,
    )
    document |= _NOTHING | {"memory": memory, "failed": [sentence for part in played for sentence in part.failed]}
    document |= {key: value for part in played for key, value in part.more}
    return document | {"probes": probes, "channels": channels, "inputs": world.plan.scenario.description}


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


def _wanted(prepared: Prepared, **given: int | None) -> Attacks:
    """Return the section of the configuration with the numbers that were given in place of its own."""
    said = {key: value for key, value in given.items() if value is not None}
    return prepared.config.attacks.model_copy(update=validate({"attacks": said}).attacks.model_dump(include=set(said)))


def _with_shadows(world: AuditWorld, count: int, say: Say) -> AuditWorld:
    if not count:
        return world
    pool = world.pool()
    made = shadow_models(world.plan, world.strategy, world.folder, pool, world.candidates(pool), count, say)
    return replace(world, shadows=made)
