"""Accuracies, forgetting, attack statistics with intervals, plots and reports; usable alone.

This page is the table of contents. Plots, reports, terminal summaries and studies are modules of their own
(`evaluation.plots`, `.report`, `.summary`, `.study`): they load matplotlib, jinja2 or rich when called.
"""

from __future__ import annotations

from evaluation.accuracy import Tally
from evaluation.anytime import Continual, anytime_accuracy
from evaluation.errors import EvaluationError
from evaluation.evidence import Estimate, Interval, LowerBound, Score
from evaluation.files import JsonLines, atomic_write, read_json, read_jsonl, write_json
from evaluation.forgetting import (
    FORGETTING,
    class_client_change,
    forgetting_by_name,
    intransigence,
    relative_forgetting,
    spatial_forgetting,
    temporal_forgetting,
)
from evaluation.intervals import (
    clopper_pearson,
    cluster_bootstrap,
    delong_auc,
    delong_difference,
    holm,
    mean_interval,
)
from evaluation.matrix import AccuracyMatrix
from evaluation.roc import (
    TprAtFpr,
    auc,
    epsilon_lower_bound,
    epsilon_lower_bound_from_scores,
    epsilon_lower_bound_one_run,
    tpr_at_fpr,
)

__all__ = [
    "FORGETTING",
    "AccuracyMatrix",
    "Continual",
    "Estimate",
    "EvaluationError",
    "Interval",
    "JsonLines",
    "LowerBound",
    "Score",
    "Tally",
    "TprAtFpr",
    "anytime_accuracy",
    "atomic_write",
    "auc",
    "class_client_change",
    "clopper_pearson",
    "cluster_bootstrap",
    "delong_auc",
    "delong_difference",
    "epsilon_lower_bound",
    "epsilon_lower_bound_from_scores",
    "epsilon_lower_bound_one_run",
    "forgetting_by_name",
    "holm",
    "intransigence",
    "mean_interval",
    "read_json",
    "read_jsonl",
    "relative_forgetting",
    "spatial_forgetting",
    "temporal_forgetting",
    "tpr_at_fpr",
    "write_json",
]
