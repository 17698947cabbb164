"""Membership in the run's training data: over all tasks, task by task, with history, and as a matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import attacks
from attacks.membership.history import ForgettingCurve, curve_record, loss_history
from evaluation.errors import EvaluationError
from secure_fcl.auditing.charges import spent_by_item, spent_by_slot
from secure_fcl.auditing.leakage import FEWEST_BLOCKS, leakage
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Bools, Ints, Played

#: Bootstrap draws for each cell of the leakage matrix: there are many cells, and none is a headline.
_REPEATS_PER_CELL = 100
#: Examples nobody trained on that RMIA compares with.
_POPULATION = 1000


def play_membership(world: AuditWorld) -> Played:
    """Return membership by every attack that the audit has models for, the curves of forgetting, and the matrix.

    Raises:
        GameInvalid, EvaluationError: too few examples to judge.
    """
    share, pool = world.plan.config.scenario.holdout, world.pool()
    truth = ~world.plan.scenario.held_out[pool]
    if share == 0.0 or truth.all() or not truth.any():
        return Played(missing=("membership: scenario.holdout leaves no non-members by coin, so it cannot be played",))
    candidates = world.candidates(pool)
    terms = world.terms(f"training data of {world.plan.name}", 1.0 - share, spent_by_item(world))
    blind = attacks.blind_baseline(candidates, truth, terms)
    outcomes = [
        attacks.play(
            attacks.MEMBERSHIP, attack, attacks.View.of(threat, world.transcript), candidates, truth, terms, blind
        )
        for attack, threat in _attacks(world)
    ]
    by_task, missing = _by_task(world, candidates, truth, terms)
    more = (
        ("leakage", _matrix(world, pool, candidates, terms)),
        ("history", [curve_record(curve) for curve in _curves(world, candidates, truth)]),
    )
    return Played((*outcomes, *by_task), missing, more)


def _attacks(world: AuditWorld) -> list[tuple[attacks.Attack, attacks.ThreatModel]]:
    losses, shadows = world.losses(), world.shadows
    played: list[tuple[attacks.Attack, attacks.ThreatModel]] = [
        (attacks.Standardised(attacks.LossScore(losses)), attacks.FINAL_MODEL),
        (attacks.CheckpointDifference(losses), attacks.ALL_MODELS),
        (attacks.Standardised(attacks.CheckpointRatio(losses)), attacks.ALL_MODELS),
        (attacks.SequenceMean(losses), attacks.ALL_MODELS),
    ]
    if shadows is None:
        return played
    families = (attacks.BAVARIA, attacks.LIRA_FIXED, attacks.LIRA_FIXED.offline())
    played += [(attacks.ShadowMembership(shadows, family), attacks.FINAL_MODEL) for family in families]
    played.append((attacks.Rmia(shadows, _population(world)), attacks.FINAL_MODEL))
    played.append((attacks.ShadowMembership(shadows, history="all"), attacks.ALL_MODELS))
    return played


def _population(world: AuditWorld) -> attacks.Candidates:
    """Test windows: nobody trained on them, and no game asks about them."""
    test = np.flatnonzero(~world.plan.scenario.data.train)
    return world.candidates(test[:: max(1, len(test) // _POPULATION)])


def _by_task(
    world: AuditWorld, candidates: attacks.Candidates, truth: Bools, terms: attacks.Terms
) -> tuple[tuple[attacks.Outcome, ...], tuple[str, ...]]:
    """One run, one bound per task, each against its own cohorts' charge (G-DP1)."""
    few = _thin_tasks(candidates, truth)
    asked = np.flatnonzero(~np.isin(candidates.task, few))
    missing = [f"membership in task {task + 1}: fewer than {FEWEST_BLOCKS} held-out items" for task in few]
    attack: attacks.Attack = (
        attacks.ShadowMembership(world.shadows, history="all")
        if world.shadows is not None
        else attacks.CheckpointDifference(world.losses())
    )
    view = attacks.View.of(attacks.ALL_MODELS, world.transcript)
    if not len(asked):
        return (), tuple(missing)
    own = replace(terms, target=f"training data of {world.plan.name}")
    try:
        found = attacks.audit_tasks(attack, view, candidates.take(asked), truth[asked], own, spent_by_slot(world))
    except TOO_LITTLE as error:
        return (), (*missing, f"membership task by task: too few examples to judge ({error})")
    return found, tuple(missing)


def _thin_tasks(candidates: attacks.Candidates, truth: Bools) -> list[int]:
    """Tasks with too few held-out items for a bound of their own."""
    found = []
    for task in np.unique(candidates.task):
        outside = candidates.cluster[(candidates.task == task) & ~truth]
        if len(np.unique(outside)) < FEWEST_BLOCKS:
            found.append(int(task))
    return found


def _matrix(
    world: AuditWorld, pool: Ints, candidates: attacks.Candidates, terms: attacks.Terms
) -> dict[str, Any] | None:
    say_less = replace(terms, repeats=_REPEATS_PER_CELL)
    try:
        return leakage(world.plan, world.folder, world.losses(), world.transcript, pool, candidates, say_less)
    except EvaluationError:
        return None


def _curves(world: AuditWorld, candidates: attacks.Candidates, truth: Bools) -> list[ForgettingCurve]:
    """One curve per task that was followed by another and has enough held out."""
    few, last = _thin_tasks(candidates, truth), world.plan.scenario.slots - 1
    view = attacks.View.of(attacks.ALL_MODELS, world.transcript)
    curves = []
    for task in (int(task) for task in np.unique(candidates.task) if int(task) not in few and task < last):
        chosen = np.flatnonzero(candidates.task == task)
        part, coins = candidates.take(chosen), truth[chosen]
        scores = (
            attacks.history_scores(attacks.BAVARIA, world.shadows, view, part, coins)
            if world.shadows is not None
            else loss_history(world.losses(), view, part, coins)
        )
        try:
            curves.append(attacks.forgetting_curve(task, range(task, last + 1), [scores]))
        except EvaluationError:
            continue
    return curves
