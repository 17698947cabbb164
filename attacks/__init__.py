"""Attacks on learned models and sums: what an adversary with a given view can still tell. Usable alone.

An adversary is a `View` (the part of a transcript its threat model may see); an attack turns a view and candidates into
scores; a game compares scores with the challenger's coins. Models come as plain weight vectors and callables.

- `audit`: your own checkpoints and coins in, one JSON document out
- views, attack, games, judging, blind: who sees what, and how guesses are judged
- membership, retained, shadow_attacks, families, shadows, history, leakage: models
- inversion, portfolio, labels, local_updates, extraction, fidelity, reconstruction, worlds: gradients
- arrival, active_server, federated, channels: sums, servers, clients, side channels
- auditing, one_run, canaries, simultaneous: bounds on epsilon
- testing, controls, planted: leaks that must be found, for anyone's attack or audit
"""

from __future__ import annotations

from attacks.bounds.canaries import (
    Canaries,
    DirectionScore,
    direction_canaries,
    memory_coins,
    mislabelled_canaries,
    one_shot_estimate,
)
from attacks.bounds.gaussian import (
    GaussianBound,
    TwoRunAudit,
    gaussian_bound,
    gaussian_epsilon,
    gaussian_mu,
    two_run_audit,
)
from attacks.bounds.one_run import audit_retained, audit_tasks
from attacks.errors import (
    AttackError,
    AuditInvalid,
    CandidatesInvalid,
    CapabilityMissing,
    ControlFailed,
    FieldNotRevealed,
    GameInvalid,
    InversionInvalid,
    LedgerContradicted,
    LossesInvalid,
    ScoresInvalid,
    ShadowsInvalid,
    TranscriptInvalid,
)
from attacks.games.attack import Attack, Candidates, Losses, run_attack
from attacks.games.judging import Coin, GuessCounts, Terms
from attacks.games.play import MEMBERSHIP, RETAINED, Game, Outcome, blind_baseline, judge, play
from attacks.games.simultaneous import Contradiction, Discovery, contradictions, discoveries, require_consistent
from attacks.games.standard import standardise
from attacks.games.swaps import SWAPPED, play_swaps
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
from attacks.gradients.extraction import EXTRACTION, extract_exemplars, judge_extraction, stage_extraction
from attacks.gradients.fidelity import Fidelity, fidelity, matched, psnr
from attacks.gradients.inversion import Inversion, InversionSettings, analytic_linear, invert
from attacks.gradients.labels import label_counts, label_of
from attacks.gradients.portfolio import Portfolio, match_gradients, reconstruct_best
from attacks.gradients.reconstruction import Reconstruction, blind_guesses, centred_correlation, reconstruct
from attacks.gradients.worlds import GradientWorld, build_gradient_worlds, clip_rows
from attacks.membership.families import BAVARIA, BAVARIA_T, LIRA, LIRA_FIXED, RATIO, Family, family_scores, rmia_scores
from attacks.membership.history import HISTORY, ForgettingCurve, forgetting_curve, history_scores, loss_history
from attacks.membership.leakage import LeakageMatrix, leakage_matrix
from attacks.membership.retained import RetainedDifference, RetainedLoss, RetainedSlope
from attacks.membership.scores import (
    CheckpointDifference,
    CheckpointRatio,
    LossScore,
    SequenceBest,
    SequenceMean,
    Standardised,
)
from attacks.membership.shadow import Rmia, ShadowMembership, ShadowRetained
from attacks.modules.functions import GradientOf, gradients_of, losses_of
from attacks.modules.layout import LinearPart, first_linear, last_linear
from attacks.modules.local_updates import batch_gradients_of, clipped_batch_gradients_of, local_updates_of
from attacks.own_audit import Subject, audit, weights_of
from attacks.report import audit_document, outcome_record, reconstruction_record
from attacks.shadows import (
    BatchedMlp,
    ContinualRecipe,
    ModuleTrainer,
    Rule,
    ShadowModels,
    Trainer,
    continual_models,
    trainer_for,
)
from attacks.sums.active_server import Imprint, Probe, probe_imprint, probe_inconsistency, probe_suppression
from attacks.sums.arrival import ARRIVAL, ArrivalScores, Isolation, class_arrival, difference_sums, isolated_clients
from attacks.sums.channels import (
    SIDE_CHANNEL,
    ChannelFinding,
    channel_finding,
    expose_prototype_gradients,
    message_features,
    prototype_exposure,
)
from attacks.sums.federated import FedMia, GradientCosine
from attacks.sums.staged import Attribution, StagedRule, stage_arrival, stage_clear_updates

__all__ = [
    "ACTIVE_SERVER",
    "ALL_CLIENTS_CLEAR",
    "ALL_MODELS",
    "ARRIVAL",
    "BAVARIA",
    "BAVARIA_T",
    "BLACK_BOX",
    "COLLUDERS",
    "EXTRACTION",
    "FINAL_MODEL",
    "HISTORY",
    "LIRA",
    "LIRA_FIXED",
    "MEMBERSHIP",
    "MEMORY_AT_REST",
    "ONE_CLIENT_CLEAR",
    "RATIO",
    "RETAINED",
    "REVEALS",
    "SIDE_CHANNEL",
    "SIDE_CHANNELS",
    "SUMS_ONLY",
    "SWAPPED",
    "ArrivalScores",
    "Attack",
    "AttackError",
    "Attribution",
    "AuditInvalid",
    "BatchedMlp",
    "Canaries",
    "Candidates",
    "CandidatesInvalid",
    "Capability",
    "CapabilityMissing",
    "ChannelFinding",
    "CheckpointDifference",
    "CheckpointRatio",
    "Coin",
    "ContinualRecipe",
    "Contradiction",
    "ControlFailed",
    "DirectionScore",
    "Discovery",
    "Family",
    "FedMia",
    "Fidelity",
    "FieldNotRevealed",
    "ForgettingCurve",
    "Game",
    "GameInvalid",
    "GaussianBound",
    "GradientCosine",
    "GradientOf",
    "GradientWorld",
    "GuessCounts",
    "Imprint",
    "Inversion",
    "InversionInvalid",
    "InversionSettings",
    "Isolation",
    "LeakageMatrix",
    "LedgerContradicted",
    "LinearPart",
    "LossScore",
    "Losses",
    "LossesInvalid",
    "ModuleTrainer",
    "Outcome",
    "Portfolio",
    "Probe",
    "Reconstruction",
    "RetainedDifference",
    "RetainedLoss",
    "RetainedSlope",
    "Rmia",
    "Rule",
    "ScoresInvalid",
    "SequenceBest",
    "SequenceMean",
    "ShadowMembership",
    "ShadowModels",
    "ShadowRetained",
    "ShadowsInvalid",
    "StagedRule",
    "Standardised",
    "Subject",
    "Terms",
    "ThreatModel",
    "Trainer",
    "TranscriptInvalid",
    "TwoRunAudit",
    "View",
    "analytic_linear",
    "audit",
    "audit_document",
    "audit_retained",
    "audit_tasks",
    "batch_gradients_of",
    "blind_baseline",
    "blind_guesses",
    "build_gradient_worlds",
    "centred_correlation",
    "channel_finding",
    "class_arrival",
    "clip_rows",
    "clipped_batch_gradients_of",
    "continual_models",
    "contradictions",
    "difference_sums",
    "direction_canaries",
    "discoveries",
    "expose_prototype_gradients",
    "extract_exemplars",
    "family_scores",
    "fidelity",
    "first_linear",
    "forgetting_curve",
    "gaussian_bound",
    "gaussian_epsilon",
    "gaussian_mu",
    "gradients_of",
    "history_scores",
    "invert",
    "isolated_clients",
    "judge",
    "judge_extraction",
    "label_counts",
    "label_of",
    "last_linear",
    "leakage_matrix",
    "local_updates_of",
    "loss_history",
    "losses_of",
    "match_gradients",
    "matched",
    "memory_coins",
    "message_features",
    "mislabelled_canaries",
    "one_shot_estimate",
    "outcome_record",
    "play",
    "play_swaps",
    "probe_imprint",
    "probe_inconsistency",
    "probe_suppression",
    "prototype_exposure",
    "psnr",
    "reconstruct",
    "reconstruct_best",
    "reconstruction_record",
    "require_consistent",
    "rmia_scores",
    "run_attack",
    "stage_arrival",
    "stage_clear_updates",
    "stage_extraction",
    "standardise",
    "trainer_for",
    "two_run_audit",
    "weights_of",
]
