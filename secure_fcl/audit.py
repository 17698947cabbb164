"""The audit of a finished run: its transcript becomes views, its coins become truths, and the games are played."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import attacks
from evaluation.errors import EvaluationError
from evaluation.files import write_json
from privacy import Ledger
from privacy.cohorts import undominated
from privacy.groups import group_epsilon
from secure_fcl.config import validate
from secure_fcl.errors import RunFolderError
from secure_fcl.folder import RunFolder
from secure_fcl.inversion_games import play_inversion
from secure_fcl.job import Prepared
from secure_fcl.leakage import held_after, leakage
from secure_fcl.ledger_check import beyond_reach
from secure_fcl.positive_control import overfit_control
from secure_fcl.randomness import public_seed
from secure_fcl.rows import RowPlan
from secure_fcl.shadow_audit import shadow_models
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import NO_ITEM

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Say = Callable[[str], None]

#: Checkpoints per slot that the adversary of "all models" uses; more cost time and tell little more.
CHECKPOINTS_PER_SLOT = 2
#: Delta at which the ledger and the attacks are compared, unless the run's own is smaller. At 1e-5 the p-values of a
#: bound from one run end above what the verdict over all games asks for, and no ledger could ever be contradicted.
AUDIT_DELTA = 1e-8
#: Bootstrap draws for each cell of the leakage matrix: there are many cells, and none is a headline.
_REPEATS_PER_CELL = 100
#: What a game raises that has too few examples for its statistics; the other games are still played.
_TOO_LITTLE = (EvaluationError, attacks.GameInvalid, attacks.LossesInvalid)

_NO_SHADOWS = "shadow models (LiRA, BaVarIA): attacks.shadows = 0; a failed loss attack is not evidence of privacy"
_NOT_TESTED = (
    "an active server, colluding clients, side channels, and seizure of a device",
    "persons: every guarantee and every game is about windows or blocks of windows, not about people",
)


@dataclass(frozen=True, eq=False)
class AuditWorld:
    """What the challenger holds: the plan, the strategy under attack, and the recorded checkpoints."""

    plan: RowPlan
    strategy: GradientStrategy
    transcript: dict[str, NDArray[np.generic]]
    folder: RunFolder
    shadows: attacks.ShadowModels | None = None

    @property
    def slot_of(self) -> Ints:
        """Slot in which each example's owner releases its task, -1 if never; int64 (n,)."""
        scenario = self.plan.scenario
        # Row and column -1 are nobody and no task.
        first = np.pad(scenario.release, ((0, 1), (0, 1)), constant_values=-1)
        return first[scenario.owner, scenario.task]


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
        RunFolderError: the run is not finished, or the attacked row is not part of it.
        ConfigInvalid: a number of shadow models that attacks.shadows would not take.
    """
    begun = time.perf_counter()
    count = (
        prepared.config.attacks.shadows
        if shadows is None
        else validate({"attacks": {"shadows": shadows}}).attacks.shadows
    )
    world = _world(prepared, folder)
    skipped = list(_NOT_TESTED) if count else [_NO_SHADOWS, *_NOT_TESTED]
    if count:
        pool = _pool(world)
        made = shadow_models(world.plan, world.strategy, folder, pool, _candidates(world, pool), count, say)
        world = replace(world, shadows=made)
    say("membership")
    try:
        outcomes, missing, per_task = _membership(world)
    except _TOO_LITTLE as error:
        outcomes, missing, per_task = [], [f"membership: too few examples to judge ({error})"], None
    say("replay memory")
    try:
        retained, more = _retained(world)
    except _TOO_LITTLE as error:
        retained, more = [], [f"retained or merely seen: too few examples to judge ({error})"]
    say("positive control")
    outcomes += [*retained, *overfit_control(world.plan, world.strategy)]
    say("gradient inversion")
    rebuilt = play_inversion(world.plan, world.strategy, folder.path)
    if not rebuilt:
        more.append(
            "gradient inversion: fewer than two clients own the first task's first class, so no blind guess exists"
        )
    document = attacks.audit_document(
        seconds=time.perf_counter() - begun,
        row=world.plan.name,
        outcomes=outcomes,
        reconstructions=rebuilt,
        not_tested=[*missing, *more, *skipped, *beyond_reach(outcomes)],
    )
    document |= {"leakage": per_task, "shadows": count}
    write_json(folder.path / "attacks.json", document)
    return document


def _world(prepared: Prepared, folder: RunFolder) -> AuditWorld:
    if not folder.progress().finished:
        raise RunFolderError(f"run {folder.path} is not finished; continue it with --resume first")
    wanted = prepared.config.attacks.row
    plans = {plan.name: plan for plan, _ in prepared.rows}
    if wanted not in plans:
        raise RunFolderError(f"attacks.row = {wanted!r} is not among the run's rows {sorted(plans)}; choose one")
    plan = plans[wanted]
    if not isinstance(plan.strategy, GradientStrategy):
        raise RunFolderError(f"attacks.row = {wanted!r} trains no network; set it to replay or finetune")
    return AuditWorld(plan, plan.strategy, _transcript(plan, folder), folder)


def _transcript(plan: RowPlan, folder: RunFolder) -> dict[str, NDArray[np.generic]]:
    """Return models of the recorded rounds that the audit uses, with the slot each was taken in (-1: before any)."""
    rounds = plan.rounds_per_slot
    parts = range(1, CHECKPOINTS_PER_SLOT + 1)
    chosen = sorted({rounds * part // CHECKPOINTS_PER_SLOT - 1 for part in parts} - {-1})
    models, slots, sums = [plan.strategy.initial()["weights"]], [-1], []
    for slot in range(plan.scenario.slots):
        for round in chosen:
            saved = folder.load_round(plan.name, slot * rounds + round)
            models.append(saved["weights"])
            slots.append(slot)
            sums.append(saved["total"])
    return {
        "models": np.stack(models),
        "model_tasks": np.array(slots, dtype=np.int64),
        "final_model": models[-1],
        "sums": np.stack(sums),
        "sum_clients": np.array([len(plan.clients_in(slot)) for slot in slots[1:]], dtype=np.int64),
    }


def _pool(world: AuditWorld) -> Ints:
    """Return the numbers of all examples that a hold-out coin decided about and that someone meets."""
    scenario = world.plan.scenario
    return np.flatnonzero(scenario.data.train & (scenario.units.item != NO_ITEM) & (world.slot_of >= 0))


def _candidates(world: AuditWorld, index: Ints) -> attacks.Candidates:
    scenario = world.plan.scenario
    return attacks.Candidates(
        scenario.x[index], scenario.data.y[index], scenario.units.item[index], world.slot_of[index]
    )


def _terms(world: AuditWorld, target: str, rate: float, epsilon: float | None) -> attacks.Terms:
    blocks = world.plan.scenario.units.largest_item > 1
    config = world.plan.config
    return attacks.Terms(
        target + (" (one coin per block of windows)" if blocks else ""),
        seed=public_seed(config.seed, "judge", target),
        coin=attacks.Coin(rate, per_cluster=blocks),
        delta=_audit_delta(world.plan),
        ledger_epsilon=epsilon if epsilon is not None and math.isfinite(epsilon) else None,
    )


def _audit_delta(plan: RowPlan) -> float:
    return min(plan.config.privacy.delta, AUDIT_DELTA)


def _accounted(plan: RowPlan) -> float:
    """Return what the accountants get of the audit's delta: all but what overflow of the memory takes."""
    return plan.accounting_delta - (plan.config.privacy.delta - _audit_delta(plan))


def _spent_by_item(world: AuditWorld) -> float | None:
    """Return what the ledger charged everything that one hold-out coin decides about: an item and its straddlers."""
    units = world.plan.scenario.units
    straddlers = 2 if (units.item == NO_ITEM).any() else 0
    with Ledger(world.folder.ledger_path(world.plan.name)) as ledger:
        histories = undominated(ledger.spent().values())
    size, delta = units.largest_item + straddlers, _accounted(world.plan)
    return max((group_epsilon(history, size, delta) for history in histories), default=None)


def _spent_in_memory(world: AuditWorld) -> float:
    """Return what the memory steps alone cost an item of the first task: the most that being kept can show."""
    plan = world.plan
    rounds = plan.training_rounds * (plan.scenario.slots - 1)
    history = {event: count * rounds for event, count in plan.events("memory").items()}
    return group_epsilon(history, plan.scenario.units.largest_item, _accounted(plan))


def _membership(world: AuditWorld) -> tuple[list[attacks.Outcome], list[str], dict[str, Any] | None]:
    share, pool = world.plan.config.scenario.holdout, _pool(world)
    truth = ~world.plan.scenario.held_out[pool]
    if share == 0.0 or truth.all() or not truth.any():
        return [], ["membership: scenario.holdout leaves no non-members by coin, so the game cannot be played"], None
    candidates = _candidates(world, pool)
    terms = _terms(world, f"training data of {world.plan.name}", 1.0 - share, _spent_by_item(world))
    losses = attacks.losses_of(world.strategy.network(world.strategy.initial()))
    blind = attacks.blind_baseline(candidates, truth, terms)
    played: list[tuple[attacks.Attack, attacks.ThreatModel]] = [
        (attacks.Standardised(attacks.LossScore(losses)), attacks.FINAL_MODEL),
        (attacks.CheckpointDifference(losses), attacks.ALL_MODELS),
        (attacks.SequenceMean(losses), attacks.ALL_MODELS),
    ]
    if world.shadows is not None:
        played += [
            (attacks.ShadowMembership(world.shadows), attacks.FINAL_MODEL),
            (attacks.ShadowMembership(world.shadows, history="all"), attacks.ALL_MODELS),
        ]
    say_less = replace(terms, repeats=_REPEATS_PER_CELL)
    try:
        per_task = leakage(world.plan, world.folder, losses, world.transcript, pool, candidates, say_less)
    except EvaluationError:
        per_task = None
    outcomes = [
        attacks.play(
            attacks.MEMBERSHIP, attack, attacks.View.of(threat, world.transcript), candidates, truth, terms, blind
        )
        for attack, threat in played
    ]
    return outcomes, [], per_task


def _retained(world: AuditWorld) -> tuple[list[attacks.Outcome], list[str]]:
    plan, scenario = world.plan, world.plan.scenario
    thresholds = getattr(plan.memory, "thresholds", None)
    if plan.memory is None or thresholds is None or scenario.slots < 2:
        return [], ["retained or merely seen: this row has no memory with independent coins, or only one slot"]
    last = scenario.slots - 2
    held = held_after(plan, world.folder, last)
    met = (world.slot_of >= 0) & (world.slot_of <= last)
    rate, clients = _common_threshold(scenario.closed(last) - 1, thresholds)
    same = np.append(clients, False)[scenario.owner]
    pool = np.flatnonzero(scenario.data.train & ~scenario.held_out & (scenario.units.item != NO_ITEM) & met & same)
    truth = np.isin(pool, held)
    if truth.all() or not truth.any():
        return [], [f"retained or merely seen: the memory holds {int(truth.sum())} of {len(pool)} examples, all alike"]
    candidates = _candidates(world, pool)
    terms = _terms(world, f"memory of {plan.name} in the last task", rate, _spent_in_memory(world))
    losses = attacks.losses_of(world.strategy.network(world.strategy.initial()))
    blind = attacks.blind_baseline(candidates, truth, terms)
    played: list[tuple[attacks.Attack, attacks.ThreatModel]] = [
        (attacks.RetainedLoss(losses), attacks.FINAL_MODEL),
        (attacks.RetainedDifference(losses), attacks.ALL_MODELS),
        (attacks.RetainedSlope(losses), attacks.ALL_MODELS),
    ]
    missing = []
    if world.shadows is not None and world.shadows.kept[:, world.shadows.locate(candidates)].any():
        played += [
            (attacks.ShadowRetained(world.shadows), attacks.FINAL_MODEL),
            (attacks.ShadowRetained(world.shadows, since_closing=True), attacks.ALL_MODELS),
        ]
    elif world.shadows is not None:
        missing.append("retained or merely seen, by shadow models: none of them kept a candidate; train more")
    return [
        attacks.play(
            attacks.RETAINED, attack, attacks.View.of(threat, world.transcript), candidates, truth, terms, blind
        )
        for attack, threat in played
    ], missing


def _common_threshold(latest: Ints, thresholds: tuple[float, ...]) -> tuple[float, Bools]:
    """Return the retention threshold that most clients stand at, and who they are, bool (clients,).

    `latest` is the number of the last task that each client closed, -1 for none. Under asynchronous arrival clients
    stand at different ones; one game has one rate.
    """
    rates = np.where(latest >= 0, np.array(thresholds)[latest], np.nan)
    values, counts = np.unique(rates[~np.isnan(rates)], return_counts=True)
    rate = float(values[counts.argmax()])
    return rate, rates == rate
