"""Attacks on learned models and sums: what an adversary with a given view can still tell. Usable alone.

An adversary is a `View` (the part of a transcript its threat model may see); an attack turns a view and
candidates into scores; a game compares scores with the challenger's coins. Models come as plain weight
vectors and callables.

Control games for third parties' attacks are in `attacks.testing` and `attacks.controls`.
"""

from attacks.attack import Attack, Candidates, run_attack
from attacks.checkpoints import Losses, standardise
from attacks.errors import (
    AttackError,
    CandidatesInvalid,
    CapabilityMissing,
    ControlFailed,
    FieldNotRevealed,
    GameInvalid,
    InversionInvalid,
    LossesInvalid,
    ScoresInvalid,
    TranscriptInvalid,
)
from attacks.games import MEMBERSHIP, RETAINED, Game, Outcome, blind_baseline, play
from attacks.inversion import Inversion, InversionSettings, analytic_linear, invert
from attacks.judging import Coin, Terms
from attacks.membership import CheckpointDifference, LossScore, SequenceBest, SequenceMean, Standardised
from attacks.modules import GradientOf, gradients_of, losses_of
from attacks.reconstruction import Reconstruction, blind_guesses, centred_correlation, reconstruct
from attacks.report import audit_document, outcome_record, reconstruction_record
from attacks.retained import RetainedDifference, RetainedLoss, RetainedSlope
from attacks.views import (
    ACTIVE_SERVER,
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
from attacks.worlds import GradientWorld, build_gradient_worlds, clip_rows

__all__ = [
    "ACTIVE_SERVER",
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
    "CandidatesInvalid",
    "Capability",
    "CapabilityMissing",
    "CheckpointDifference",
    "Coin",
    "ControlFailed",
    "FieldNotRevealed",
    "Game",
    "GameInvalid",
    "GradientOf",
    "GradientWorld",
    "Inversion",
    "InversionInvalid",
    "InversionSettings",
    "LossScore",
    "Losses",
    "LossesInvalid",
    "Outcome",
    "Reconstruction",
    "RetainedDifference",
    "RetainedLoss",
    "RetainedSlope",
    "ScoresInvalid",
    "SequenceBest",
    "SequenceMean",
    "Standardised",
    "Terms",
    "ThreatModel",
    "TranscriptInvalid",
    "View",
    "analytic_linear",
    "audit_document",
    "blind_baseline",
    "blind_guesses",
    "build_gradient_worlds",
    "centred_correlation",
    "clip_rows",
    "gradients_of",
    "invert",
    "losses_of",
    "outcome_record",
    "play",
    "reconstruct",
    "reconstruction_record",
    "run_attack",
    "standardise",
]
