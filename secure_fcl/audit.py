"""The audit of a finished run: its transcript becomes views, its coins become truths, and the games are played."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import attacks
from evaluation.files import write_json
from secure_fcl.engines.simulation import SIMULATION
from secure_fcl.errors import RunFolderError
from secure_fcl.folder import RunFolder
from secure_fcl.inversion_games import play_inversion
from secure_fcl.job import Prepared
from secure_fcl.positive_control import overfit_control
from secure_fcl.randomness import public_seed
from secure_fcl.rows import RowPlan
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import NO_ITEM

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Say = Callable[[str], None]

#: Checkpoints per slot that the adversary of "all models" uses; more cost time and tell little more.
CHECKPOINTS_PER_SLOT = 2

_NOT_TESTED = (
    "shadow models (LiRA, RMIA): not part of this audit; a failed loss attack is not evidence of privacy",
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
    epsilon: float | None

    @property
    def slot_of(self) -> Ints:
        """Slot in which each example's owner meets its task, -1 if never; int64 (n,)."""
        scenario = self.plan.scenario
        first = np.full((scenario.clients + 1, scenario.tasks + 1), -1, dtype=np.int64)
        for client, calendar in enumerate(scenario.calendar.tolist()):
            for slot, task in enumerate(calendar):
                if task >= 0:
                    first[client, task] = slot
        return first[scenario.owner, scenario.task]


def audit(prepared: Prepared, folder: RunFolder, say: Say = lambda text: None) -> dict[str, object]:
    """Play all games against the configured row, write attacks.json and return it.

    Raises:
        RunFolderError: the run is not finished, or the attacked row is not part of it.
    """
    begun = time.perf_counter()
    world = _world(prepared, folder)
    say("membership")
    outcomes, skipped = _membership(world)
    say("replay memory")
    retained, more = _retained(world)
    say("positive control")
    outcomes += [*retained, *overfit_control(world.plan, world.strategy)]
    say("gradient inversion")
    rebuilt = play_inversion(world.plan, world.strategy, folder.path)
    document = attacks.audit_document(
        seconds=time.perf_counter() - begun,
        row=world.plan.name,
        outcomes=outcomes,
        reconstructions=rebuilt,
        not_tested=[*skipped, *more, *_NOT_TESTED],
    )
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
    from evaluation.files import read_json

    certificate = read_json(folder.path / "certificate.json")["rows"][wanted]
    return AuditWorld(plan, plan.strategy, _transcript(plan, folder), folder, certificate["epsilon"])


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
        "sum_clients": np.full(len(sums), plan.scenario.clients, dtype=np.int64),
    }


def _candidates(world: AuditWorld, index: Ints) -> attacks.Candidates:
    scenario = world.plan.scenario
    return attacks.Candidates(
        scenario.x[index], scenario.data.y[index], scenario.units.item[index], world.slot_of[index]
    )


def _terms(world: AuditWorld, target: str, rate: float, epsilon: float | None) -> attacks.Terms:
    blocks = world.plan.scenario.units.largest_item > 1
    config = world.plan.config
    # Where one coin decides about a block of windows, the ledger's epsilon, which is about one, bounds nothing.
    return attacks.Terms(
        target + (" (coins per block)" if blocks else ""),
        seed=public_seed(config.seed, "judge", target),
        coin=attacks.Coin(rate, per_cluster=blocks),
        delta=config.privacy.delta,
        ledger_epsilon=None if blocks else epsilon,
    )


def _membership(world: AuditWorld) -> tuple[list[attacks.Outcome], list[str]]:
    scenario = world.plan.scenario
    share = world.plan.config.scenario.holdout
    pool = np.flatnonzero(scenario.data.train & (scenario.units.item != NO_ITEM) & (world.slot_of >= 0))
    truth = ~scenario.held_out[pool]
    if share == 0.0 or truth.all() or not truth.any():
        return [], ["membership: scenario.holdout leaves no non-members by coin, so the game cannot be played"]
    candidates = _candidates(world, pool)
    terms = _terms(world, f"training data of {world.plan.name}", 1.0 - share, world.epsilon)
    losses = attacks.losses_of(world.strategy.network(world.strategy.initial()))
    blind = attacks.blind_baseline(candidates, truth, terms)
    played: list[tuple[attacks.Attack, attacks.ThreatModel]] = [
        (attacks.Standardised(attacks.LossScore(losses)), attacks.FINAL_MODEL),
        (attacks.CheckpointDifference(losses), attacks.ALL_MODELS),
        (attacks.SequenceMean(losses), attacks.ALL_MODELS),
    ]
    return [
        attacks.play(
            attacks.MEMBERSHIP, attack, attacks.View.of(threat, world.transcript), candidates, truth, terms, blind
        )
        for attack, threat in played
    ], []


def _retained(world: AuditWorld) -> tuple[list[attacks.Outcome], list[str]]:
    plan, scenario = world.plan, world.plan.scenario
    thresholds = getattr(plan.memory, "thresholds", None)
    if plan.memory is None or thresholds is None or scenario.slots < 2:
        return [], ["retained or merely seen: this row has no memory with independent coins, or only one slot"]
    last = scenario.slots - 2
    with np.load(world.folder.path / SIMULATION / f"memory-{plan.name}-{last:03d}.npz", allow_pickle=False) as file:
        held = np.concatenate([file[name] for name in file.files])
    met = (world.slot_of >= 0) & (world.slot_of <= last)
    pool = np.flatnonzero(scenario.data.train & ~scenario.held_out & (scenario.units.item != NO_ITEM) & met)
    truth = np.isin(pool, held)
    if truth.all() or not truth.any():
        return [], [f"retained or merely seen: the memory holds {int(truth.sum())} of {len(pool)} examples, all alike"]
    candidates = _candidates(world, pool)
    rate = thresholds[min(last, len(thresholds) - 1)]
    terms = _terms(world, f"memory of {plan.name} in the last task", rate, None)
    losses = attacks.losses_of(world.strategy.network(world.strategy.initial()))
    blind = attacks.blind_baseline(candidates, truth, terms)
    played: list[tuple[attacks.Attack, attacks.ThreatModel]] = [
        (attacks.RetainedLoss(losses), attacks.FINAL_MODEL),
        (attacks.RetainedDifference(losses), attacks.ALL_MODELS),
        (attacks.RetainedSlope(losses), attacks.ALL_MODELS),
    ]
    return [
        attacks.play(
            attacks.RETAINED, attack, attacks.View.of(threat, world.transcript), candidates, truth, terms, blind
        )
        for attack, threat in played
    ], []
