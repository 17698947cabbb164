"""The record of an audit of one's own model, made up, with everything that one can hold: for tests of its page."""

from __future__ import annotations

from typing import Any

_RATE = {"fpr": 0.1, "value": 0.3, "low": 0.2, "high": 0.4, "p_value": 1e-4, "reason": None, "verdict": "found",
         "smallest": 0.2, "more": [0, 0]}  # fmt: skip


def outcome(**changed: Any) -> dict[str, Any]:
    return {
        "game": "membership", "attack": "loss, per class", "view": "final model", "target": "model", "n_members": 300,
        "n_nonmembers": 310, "auc": 0.71, "auc_low": 0.66, "auc_high": 0.75, "confidence": 0.95, "blind_auc": 0.5,
        "blind_low": 0.45, "blind_high": 0.55, "void": False, "epsilon_lower": None, "control": None,
        "tpr": [{**_RATE, "fpr": fpr} for fpr in (0.1, 0.01, 0.001)], **changed,
    }  # fmt: skip


def audit_record(verdict: str = "found", **changed: Any) -> dict[str, Any]:
    """A record in which the first question has this verdict."""
    missing = {**_RATE, "value": None, "low": None, "high": None, "verdict": "could not have been found"}
    rates = [
        {**_RATE, "verdict": verdict},
        {**missing, "fpr": 0.01, "reason": "310 non-members; a rate of 0.01 needs at least 1000", "more": [2500, 2600]},
        {**missing, "fpr": 0.001, "reason": "310 non-members; a rate of 0.001 needs at least 10000", "more": None},
    ]
    figures = {"auc": 0.71, "auc_low": 0.66, "auc_high": 0.75, "smallest_auc": 0.58, "members": 300, "nonmembers": 310}
    answers = [
        {"question": "does the last model tell who was trained on?", "verdict": verdict, "said": "what the figures say",
         "attack": "loss, per class", "figures": figures, "rates": rates, "attack_at_rates": "RMIA"},
        {"question": "do saved updates tell the labels behind them?", "verdict": "not found", "said": "labels: 0.1",
         "attack": "last layer's gradient", "figures": {"value": 0.1}, "rates": []},
    ]  # fmt: skip
    bound = {"value": 1.239, "ceiling": 4.0, "confidence": 0.95, "delta": 1e-5}
    outcomes = [
        outcome(epsilon_lower=bound), outcome(attack="RMIA"), outcome(game="canaries", target="model, canaries"),
        outcome(control="positive", target="a network that knows"), outcome(control="negative", target="random coins"),
    ]  # fmt: skip
    curve = [[0.0, 0.0], [0.0, 0.02], [0.01, 0.1], [0.1, 0.3], [1.0, 1.0]]
    return {
        "kind": "audit of a model", "format": 1, "seconds": 12.3, "row": "model", "answers": answers,
        "outcomes": outcomes, "discoveries": [{"game": "membership", "attack": "RMIA", "target": "model",
                                               "adjusted": 0.004}],
        "roc": [{"game": o["game"], "attack": o["attack"], "view": o["view"], "target": o["target"], "points": curve}
                for o in outcomes if o["control"] is None],
        "controls": [{"control": "positive", "what": "a network that knows", "attack": "loss", "held": True,
                      "auc": 0.98, "auc_low": 0.95, "auc_high": 0.99}],
        "contradictions": [], "not_tested": ["updates: none were saved"], "commit": "0123456789abcdef with changes",
        "digests": {"folder/model.safetensors": "ab" * 32, "folder/members.npz": "cd" * 32},
        "versions": {"python": "3.11.7", "torch": "2.13.0"}, "seeds": {"seed": 7},
        "code": [{"reference": "nets:make", "path": "nets.py", "digest": "ef" * 32}],
        "settings": {"model": "nets:make", "checkpoints": ["folder/model.safetensors"], "coins": {"rate": 0.5}},
        **changed,
    }  # fmt: skip
