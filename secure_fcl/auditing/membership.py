"""Membership in the run's training data: over all tasks, task by task, with history, and as a matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attacks.bounds.one_run import audit_tasks
from attacks.games.attack import Attack, Candidates, repeated
from attacks.games.judging import Terms
from attacks.games.play import MEMBERSHIP, Outcome, blind_baseline, play
from attacks.games.views import ALL_MODELS, FINAL_MODEL, ThreatModel, View
from attacks.membership.families import BAVARIA, LIRA_FIXED
from attacks.membership.history import ForgettingCurve, curve_record, forgetting_curve, history_scores, loss_history
from attacks.membership.quantile import QuantileMembership, fewest, strangers_of
from attacks.membership.scores import CheckpointDifference, CheckpointRatio, OddsScore, SequenceMean, Standardised
from attacks.membership.shadow import OFFLINE_RMIA, Rmia, ShadowMembership
from evaluation.tasks import task_name
from secure_fcl.auditing.charges import spent_by_item, spent_by_slot
from secure_fcl.auditing.leakage import FEWEST_BLOCKS, leakage
from secure_fcl.auditing.own_attacks import play_own
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Bools, Ints, Played

#: Examples nobody trained on that RMIA compares with, and that quantile regression learns from.
_POPULATION = 1000
_QUANTILE, _ALPHA = "quantile regression", 0.05


def play_membership(world: AuditWorld) -> Played:
    """Return membership by every attack that the audit has models for, the curves of forgetting, and the matrix.

    Raises:
        TooFew, TooFewSamples: too few examples to judge.
        GameInvalid, EvaluationError, LossesInvalid: the game cannot be judged for another reason.
    """
    share, pool, twice = world.plan.config.scenario.holdout, *asked_once(world, world.pool())
    truth = ~world.plan.scenario.held_out[pool]
    if share == 0.0 or truth.all() or not truth.any():
        return Played(missing=("membership: scenario.holdout leaves no non-members by coin, so it cannot be played",))
    candidates = world.candidates(pool)
    terms = world.terms(f"training data of {world.plan.name}", 1.0 - share, spent_by_item(world))
    blind = blind_baseline(candidates, truth, terms)
    population = strangers_of(_population(world), candidates)
    outcomes = [
        play(MEMBERSHIP, attack, View.of(threat, world.transcript), candidates, truth, terms, blind)
        for attack, threat in _attacks(world, population)
    ]
    own, unplayed = play_own(MEMBERSHIP, world, candidates, truth, terms, blind)
    by_task, missing = _by_task(world, candidates, truth, terms)
    more = (
        ("leakage", _matrix(world, pool, candidates, terms)),
        ("history", [curve_record(curve) for curve in _curves(world, candidates, truth)]),
    )
    few = () if _enough(population) else (f"{_QUANTILE}: fewer than {fewest(_ALPHA)} test examples to learn it from",)
    return Played((*outcomes, *own, *by_task), (*missing, *twice, *unplayed, *few), more)


def asked_once(world: AuditWorld, pool: Ints) -> tuple[Ints, tuple[str, ...]]:
    """Return the examples of a pool that occur once in it, and a sentence about those that were left out."""
    copies = repeated(world.candidates(pool))
    if not copies.any():
        return pool, ()
    left = (
        f"{int(copies.sum())} of {len(pool)} examples: they occur more than once, and no coin alone decided about them"
    )
    return pool[~copies], (left,)


def _attacks(world: AuditWorld, population: Candidates) -> list[tuple[Attack, ThreatModel]]:
    losses, shadows = world.losses(), world.shadows
    played: list[tuple[Attack, ThreatModel]] = [
        (Standardised(OddsScore(losses)), FINAL_MODEL),
        (CheckpointDifference(losses), ALL_MODELS),
        (Standardised(CheckpointRatio(losses)), ALL_MODELS),
        (SequenceMean(losses), ALL_MODELS),
    ]
    if _enough(population):
        played.append((QuantileMembership(losses, population, alpha=_ALPHA), FINAL_MODEL))
    if shadows is None:
        return played
    families = (BAVARIA, LIRA_FIXED, LIRA_FIXED.offline())
    played += [(ShadowMembership(shadows, family), FINAL_MODEL) for family in families]
    played.append((Rmia(shadows, population), FINAL_MODEL))
    played.append((Rmia(shadows, population, offline=OFFLINE_RMIA), FINAL_MODEL))
    played.append((ShadowMembership(shadows, history="all"), ALL_MODELS))
    return played


def _population(world: AuditWorld) -> Candidates:
    """Test windows: nobody trained on them, and no game asks about them. Clusters are units, straddlers included."""
    test = np.flatnonzero(~world.plan.scenario.data.train)
    chosen = test[:: max(1, len(test) // _POPULATION)]
    return replace(world.candidates(chosen), cluster=world.plan.scenario.units.unit[chosen])


def _enough(population: Candidates) -> bool:
    """Return whether quantile regression can learn from a population that holds no candidate."""
    return len(population) >= fewest(_ALPHA) and len(np.unique(population.cluster)) >= FEWEST_BLOCKS


def _by_task(
    world: AuditWorld, candidates: Candidates, truth: Bools, terms: Terms
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """One run, one bound per task, each against its own cohorts' charge (G-DP1)."""
    few = _thin_tasks(candidates, truth)
    asked = np.flatnonzero(~np.isin(candidates.task, few))
    missing = [f"membership in {task_name(task)}: fewer than {FEWEST_BLOCKS} held-out items" for task in few]
    attack: Attack = (
        ShadowMembership(world.shadows, history="all")
        if world.shadows is not None
        else CheckpointDifference(world.losses())
    )
    view = View.of(ALL_MODELS, world.transcript)
    if not len(asked):
        return (), tuple(missing)
    own = replace(terms, target=f"training data of {world.plan.name}")
    try:
        found = audit_tasks(attack, view, candidates.take(asked), truth[asked], own, spent_by_slot(world))
    except TOO_LITTLE as error:
        return (), (*missing, f"membership task by task: too few examples to judge ({error})")
    return found, tuple(missing)


def _thin_tasks(candidates: Candidates, truth: Bools) -> list[int]:
    """Tasks with too few held-out items for a bound of their own."""
    found = []
    for task in np.unique(candidates.task):
        outside = candidates.cluster[(candidates.task == task) & ~truth]
        if len(np.unique(outside)) < FEWEST_BLOCKS:
            found.append(int(task))
    return found


def _matrix(world: AuditWorld, pool: Ints, candidates: Candidates, terms: Terms) -> dict[str, Any] | None:
    try:
        return leakage(world.plan, world.folder, world.losses(), world.transcript, pool, candidates, terms)
    except TOO_LITTLE:
        return None


def _curves(world: AuditWorld, candidates: Candidates, truth: Bools) -> list[ForgettingCurve]:
    """One curve per task that was followed by another and has enough held out."""
    few, last = _thin_tasks(candidates, truth), world.plan.scenario.slots - 1
    view = View.of(ALL_MODELS, world.transcript)
    curves = []
    for task in (int(task) for task in np.unique(candidates.task) if int(task) not in few and task < last):
        chosen = np.flatnonzero(candidates.task == task)
        part, coins = candidates.take(chosen), truth[chosen]
        scores = (
            history_scores(BAVARIA, world.shadows, view, part, coins)
            if world.shadows is not None
            else loss_history(world.losses(), view, part, coins)
        )
        try:
            curves.append(forgetting_curve(task, range(task, last + 1), [scores]))
        except TOO_LITTLE:
            continue
    return curves
