"""Outcomes and reconstructions as plain dictionaries for attacks.json; NaN and infinities become null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attacks.bounds.gaussian import gaussian_bound
from attacks.games.judging import GuessCounts, Terms
from attacks.games.play import Outcome
from attacks.games.simultaneous import LOUD, contradictions, could_contradict, discoveries, why_silent
from attacks.gradients.reconstruction import Reconstruction
from evaluation.evidence import LowerBound
from evaluation.power import examples_for_tpr
from evaluation.roc import TprAtFpr
from evaluation.tasks import task_name

TOLD_RATIO = 3.0
"""Multiple of the rate of false alarms that a share of members found must reach before it counts as a leak."""
_CONTROLS = ("positive", "negative")


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def stage_of(outcome: Outcome) -> str:
    """What was attacked: "run", the run itself; "rehearsal", today's code on examples or canaries; or a "control"."""
    if outcome.terms.control in _CONTROLS:
        return "control"
    return "run" if outcome.terms.about == "run" else "rehearsal"


def outcome_record(outcome: Outcome, tasks: Sequence[str] = ()) -> dict[str, Any]:
    """One entry of "outcomes"; `tasks`: public names of all tasks in order."""
    terms = outcome.terms
    return {
        "game": outcome.game,
        "attack": outcome.attack,
        "view": outcome.view,
        "target": terms.target,
        "about": terms.about,
        "stage": stage_of(outcome),
        "task": terms.task,
        "task_name": None if terms.task is None else task_name(terms.task, tasks),
        "n_members": outcome.n_members,
        "n_nonmembers": outcome.n_nonmembers,
        "member_units": outcome.member_units,
        "nonmember_units": outcome.nonmember_units,
        "auc": _number(outcome.auc.value),
        "auc_low": _number(outcome.auc.low),
        "auc_high": _number(outcome.auc.high),
        "confidence": outcome.auc.confidence,
        "blind_auc": _number(outcome.blind.value),
        "blind_low": _number(outcome.blind.low),
        "blind_high": _number(outcome.blind.high),
        "void": outcome.void,
        "p_either_way": _number(outcome.p_either_way),
        "tpr": [_rate_record(rate, outcome) for rate in outcome.tpr],
        "epsilon_lower": bound_record(outcome.epsilon_lower),
        "gaussian": None if outcome.guesses is None else _gaussian_record(outcome.guesses, terms),
        "ledger_epsilon": _number(terms.ledger_epsilon),
        "control": terms.control,
    }


def bound_record(bound: LowerBound | None) -> dict[str, Any] | None:
    """What a lower bound on epsilon stands as, under "epsilon_lower"; None for none."""
    if bound is None:
        return None
    return {
        "value": _number(bound.value),
        "ceiling": _number(bound.ceiling),
        "confidence": bound.confidence,
        "delta": bound.delta,
    }


def _rate_record(rate: TprAtFpr, outcome: Outcome) -> dict[str, Any]:
    told = round(min(1.0, TOLD_RATIO * rate.fpr), 9)
    needed = examples_for_tpr(told, rate.fpr, outcome.member_units, outcome.nonmember_units, confidence=rate.confidence)
    return {
        "fpr": rate.fpr,
        "measured_fpr": _number(rate.measured_fpr),
        "value": _number(rate.value),
        "low": _number(rate.low),
        "high": _number(rate.high),
        "reason": rate.reason,
        "told": told,
        "needed": None if needed is None else {"members": needed[0], "nonmembers": needed[1]},
    }


def _gaussian_record(counts: GuessCounts, terms: Terms) -> dict[str, Any] | None:
    if terms.delta == 0.0:
        return None
    found = gaussian_bound(counts, terms.delta, terms.confidence)
    return {"mu": found.mu, "ceiling": found.ceiling, "epsilon": _number(found.epsilon), "delta": found.delta}


def reconstruction_record(result: Reconstruction) -> dict[str, Any]:
    """One entry of "reconstructions"."""
    return {
        "world": result.world,
        "noise": result.noise,
        "clients": result.clients,
        "n": result.n,
        "correlation": _number(result.correlation.value),
        "low": _number(result.correlation.low),
        "high": _number(result.correlation.high),
        "blind": _number(result.blind.value),
        "blind_low": _number(result.blind.low),
        "blind_high": _number(result.blind.high),
    }


def audit_document(
    *,
    seconds: float,
    row: str,
    outcomes: Sequence[Outcome],
    reconstructions: Sequence[Reconstruction] = (),
    not_tested: Sequence[str] = (),
    confidence: float = LOUD,
    tasks: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole of attacks.json.

    Args:
        seconds: wall time of the audit.
        row: strategy row that was attacked.
        outcomes: of all games, controls included.
        reconstructions: of all gradient worlds.
        not_tested: what a reader might assume was tested and was not, one sentence each.
        confidence: simultaneous, of the contradictions.
        tasks: public names of the tasks in order, as far as there are any.

    Besides the games, "contradictions" lists bounds above the ledger after Holm over all games, "reach" counts the
    games that could have given one, and "discoveries" has the adjusted p-values of all AUCs.
    """
    able = could_contradict(outcomes, confidence)
    asked = [could for outcome, could in zip(outcomes, able, strict=True) if outcome.terms.control is None]
    return {
        "seconds": _number(seconds),
        "row": row,
        "outcomes": [
            outcome_record(one, tasks) | {"could_contradict": could, "why_not": None if could else why_silent(one)}
            for one, could in zip(outcomes, able, strict=True)
        ],
        "reconstructions": [reconstruction_record(result) for result in reconstructions],
        "not_tested": list(not_tested),
        "reach": {"games": len(asked), "could_contradict": sum(asked), "confidence": confidence},
        "contradictions": [asdict(found) for found in contradictions(outcomes, confidence)],
        "discoveries": [asdict(found) for found in discoveries(outcomes)],
    }
