"""Attacks on learned models and sums: what an adversary with a given view can still tell. Usable alone.

An adversary is a `View` (the part of a transcript its threat model may see); an attack turns a view and candidates into
scores; a game compares scores with the challenger's coins. Models come as plain weight vectors and callables.

- `audit`: your own checkpoints and coins in, one JSON document out; `audit_model`: the same from files, with verdicts
- views, attack, games, judging, blind: who sees what, and how guesses are judged
- membership, retained, shadow_attacks, families, shadows, history, leakage: models
- inversion, portfolio, labels, local_updates, extraction, fidelity, reconstruction, worlds: gradients
- arrival, active_server, federated, channels: sums, servers, clients, side channels
- auditing, one_run, canaries, simultaneous: bounds on epsilon
- testing, controls, planted: leaks that must be found, for anyone's attack or audit
"""

from __future__ import annotations

from attacks.errors import AttackError, LedgerContradicted
from attacks.games.attack import Attack, Candidates, Losses
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, RETAINED, Outcome, play
from attacks.games.simultaneous import contradictions, discoveries, require_consistent
from attacks.games.swaps import play_swaps
from attacks.games.views import (
    ACTIVE_SERVER,
    ALL_CLIENTS_CLEAR,
    ALL_MODELS,
    BLACK_BOX,
    COLLUDERS,
    FINAL_MODEL,
    MEMORY_AT_REST,
    ONE_CLIENT_CLEAR,
    REVEALS,
    SIDE_CHANNELS,
    SUMS_ONLY,
    Capability,
    ThreatModel,
    View,
)
from attacks.membership.history import forgetting_curve, loss_history
from attacks.membership.retained import RetainedDifference, RetainedLoss, RetainedSlope
from attacks.membership.scores import CheckpointDifference, CheckpointRatio, LossScore, SequenceBest, SequenceMean
from attacks.membership.shadow import ShadowMembership, ShadowRetained
from attacks.modules.functions import gradients_of, losses_of
from attacks.own.playing import audit_model
from attacks.own_audit import Subject, audit
from attacks.report import outcome_record
from attacks.shadows import continual_models

__all__ = [
    "ACTIVE_SERVER",
    "ALL_CLIENTS_CLEAR",
    "ALL_MODELS",
    "BLACK_BOX",
    "COLLUDERS",
    "FINAL_MODEL",
    "MEMBERSHIP",
    "MEMORY_AT_REST",
    "ONE_CLIENT_CLEAR",
    "RETAINED",
    "REVEALS",
    "SIDE_CHANNELS",
    "SUMS_ONLY",
    "Attack",
    "AttackError",
    "Candidates",
    "Capability",
    "CheckpointDifference",
    "CheckpointRatio",
    "Coin",
    "LedgerContradicted",
    "LossScore",
    "Losses",
    "Outcome",
    "RetainedDifference",
    "RetainedLoss",
    "RetainedSlope",
    "SequenceBest",
    "SequenceMean",
    "ShadowMembership",
    "ShadowRetained",
    "Subject",
    "Terms",
    "ThreatModel",
    "View",
    "audit",
    "audit_model",
    "continual_models",
    "contradictions",
    "discoveries",
    "forgetting_curve",
    "gradients_of",
    "loss_history",
    "losses_of",
    "outcome_record",
    "play",
    "play_swaps",
    "require_consistent",
]
