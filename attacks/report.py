"""Outcomes and reconstructions as plain dictionaries for attacks.json; NaN and infinities become null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attacks.bounds.gaussian import gaussian_bound
from attacks.games.judging import GuessCounts, Terms
from attacks.games.play import Outcome
from attacks.games.simultaneous import LOUD, contradictions, discoveries
from attacks.gradients.reconstruction import Reconstruction


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """One entry of "outcomes"."""
    bound, terms = outcome.epsilon_lower, outcome.terms
    return {
        "game": outcome.game,
        "attack": outcome.attack,
        "view": outcome.view,
        "target": terms.target,
        "about": terms.about,
        "task": terms.task,
        "n_members": outcome.n_members,
        "n_nonmembers": outcome.n_nonmembers,
        "auc": _number(outcome.auc.value),
        "auc_low": _number(outcome.auc.low),
        "auc_high": _number(outcome.auc.high),
        "confidence": outcome.auc.confidence,
        "blind_auc": _number(outcome.blind.value),
        "blind_low": _number(outcome.blind.low),
        "blind_high": _number(outcome.blind.high),
        "void": outcome.void,
        "tpr": [
            {
                "fpr": t.fpr,
                "value": _number(t.value),
                "low": _number(t.low),
                "high": _number(t.high),
                "reason": t.reason,
            }
            for t in outcome.tpr
        ],
        "epsilon_lower": None
        if bound is None
        else {
            "value": _number(bound.value),
            "ceiling": _number(bound.ceiling),
            "confidence": bound.confidence,
            "delta": bound.delta,
        },
        "gaussian": None if outcome.guesses is None else _gaussian_record(outcome.guesses, terms),
        "ledger_epsilon": _number(terms.ledger_epsilon),
        "control": terms.control,
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
) -> dict[str, Any]:
    """The whole of attacks.json.

    Args:
        seconds: wall time of the audit.
        row: strategy row that was attacked.
        outcomes: of all games, controls included.
        reconstructions: of all gradient worlds.
        not_tested: what a reader might assume was tested and was not, one sentence each.
        confidence: simultaneous, of the contradictions.

    Besides the games, "contradictions" lists bounds above the ledger after Holm over all games, and "discoveries" the
    adjusted p-values of all AUCs.
    """
    return {
        "seconds": _number(seconds),
        "row": row,
        "outcomes": [outcome_record(outcome) for outcome in outcomes],
        "reconstructions": [reconstruction_record(result) for result in reconstructions],
        "not_tested": list(not_tested),
        "contradictions": [asdict(found) for found in contradictions(outcomes, confidence)],
        "discoveries": [asdict(found) for found in discoveries(outcomes)],
    }
