"""Accuracies, forgetting, attack statistics with intervals, plots and reports; usable alone.

This page is the table of contents. Plots, reports, terminal summaries and studies are modules of their own
(`evaluation.plots`, `.report`, `.summary`, `.study`): they load matplotlib, jinja2 or rich when called.
"""

from evaluation.accuracy import Tally
from evaluation.errors import EvaluationError
from evaluation.evidence import Estimate, Interval, LowerBound, Score
from evaluation.files import JsonLines, atomic_write, read_json, read_jsonl, write_json
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
    "AccuracyMatrix",
    "Estimate",
    "EvaluationError",
    "Interval",
    "JsonLines",
    "LowerBound",
    "Score",
    "Tally",
    "TprAtFpr",
    "atomic_write",
    "auc",
    "clopper_pearson",
    "cluster_bootstrap",
    "delong_auc",
    "delong_difference",
    "epsilon_lower_bound",
    "epsilon_lower_bound_from_scores",
    "epsilon_lower_bound_one_run",
    "holm",
    "mean_interval",
    "read_json",
    "read_jsonl",
    "tpr_at_fpr",
    "write_json",
]
