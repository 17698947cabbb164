"""Retained or merely seen: what the run's models tell of its replay memory, over all tasks and task by task."""

from __future__ import annotations

import numpy as np

from attacks.bounds.one_run import audit_retained
from attacks.games.attack import Attack, Candidates
from attacks.games.play import RETAINED, blind_baseline, play
from attacks.games.views import ALL_MODELS, FINAL_MODEL, ThreatModel, View
from attacks.membership.retained import RetainedDifference, RetainedLoss, RetainedSlope
from attacks.membership.shadow import ShadowRetained
from secure_fcl.auditing.charges import spent_in_memory
from secure_fcl.auditing.leakage import held_after
from secure_fcl.auditing.membership import asked_once
from secure_fcl.auditing.own_attacks import play_own
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Bools, Ints, Played
from secure_fcl.streams import NO_ITEM


def play_retained(world: AuditWorld) -> Played:
    """Return the games about the memory; none if it has no independent coins, or no task followed another.

    Raises:
        TooFew, TooFewSamples: too few examples to judge.
        GameInvalid, EvaluationError, LossesInvalid: the game cannot be judged for another reason.
    """
    plan, scenario = world.plan, world.plan.scenario
    thresholds = getattr(plan.memory, "thresholds", None)
    if plan.memory is None or thresholds is None or scenario.slots < 2:
        return Played(missing=("retained or merely seen: no memory with independent coins, or only one slot",))
    last = scenario.slots - 2
    held, slot_of = held_after(plan, world.folder, last), world.slot_of
    rate, clients = common_threshold(scenario.closed(last) - 1, thresholds)
    same = np.append(clients, False)[scenario.owner]
    met = (slot_of >= 0) & (slot_of <= last)
    pool, twice = asked_once(
        world,
        np.flatnonzero(scenario.data.train & ~scenario.held_out & (scenario.units.item != NO_ITEM) & met & same),
    )
    truth = np.isin(pool, held)
    if truth.all() or not truth.any():
        return Played(
            missing=(
                f"retained or merely seen: the memory holds {int(truth.sum())} of {len(pool)} examples, all alike",
            )
        )
    candidates = world.candidates(pool)
    terms = world.terms(f"memory of {plan.name} in the last task", rate, spent_in_memory(world))
    played, missing = _attacks(world, candidates)
    missing = (*missing, *twice)
    blind = blind_baseline(candidates, truth, terms)
    outcomes = [
        play(RETAINED, attack, View.of(threat, world.transcript), candidates, truth, terms, blind)
        for attack, threat in played
    ]
    own, unplayed = play_own(RETAINED, world, candidates, truth, terms, blind)
    missing = (*missing, *unplayed)
    strongest, threat = played[-1]
    ledger = {slot: spent_in_memory(world, slot) for slot in range(last + 1)}
    view, everyone = View.of(threat, world.transcript), np.ones(len(pool), dtype=np.bool_)
    try:
        by_task = audit_retained(strongest, view, candidates, (everyone, truth), terms, ledger)
    except TOO_LITTLE as error:
        by_task, missing = (), (*missing, f"retained or merely seen, task by task: too few examples ({error})")
    # With a single earlier task the bound per task is the one above.
    return Played((*outcomes, *own, *(by_task if last > 0 else ())), missing)


def _attacks(world: AuditWorld, candidates: Candidates) -> tuple[list[tuple[Attack, ThreatModel]], tuple[str, ...]]:
    """Return the attacks, the one that is also asked task by task last, and what could not be played."""
    losses, shadows = world.losses(), world.shadows
    played: list[tuple[Attack, ThreatModel]] = [
        (RetainedLoss(losses), FINAL_MODEL),
        (RetainedSlope(losses), ALL_MODELS),
        (RetainedDifference(losses), ALL_MODELS),
    ]
    if shadows is None:
        return played, ()
    if not shadows.kept[:, shadows.locate(candidates)].any():
        return played, ("retained or merely seen, by shadow models: none of them kept a candidate; train more",)
    return [
        *played,
        (ShadowRetained(shadows), FINAL_MODEL),
        (ShadowRetained(shadows, since_closing=True), ALL_MODELS),
    ], ()


def common_threshold(latest: Ints, thresholds: tuple[float, ...]) -> tuple[float, Bools]:
    """Return the retention threshold that most clients stand at, and who they are, bool (clients,).

    `latest` is the number of the last task that each client closed, -1 for none. Under asynchronous arrival clients
    stand at different ones; one game has one rate.
    """
    rates = np.where(latest >= 0, np.array(thresholds)[latest], np.nan)
    values, counts = np.unique(rates[~np.isnan(rates)], return_counts=True)
    rate = float(values[counts.argmax()])
    return rate, rates == rate
