"""Accuracies, forgetting, attack statistics with intervals, plots and reports; usable alone.

This page is the table of contents. Plots, reports, terminal summaries and studies are modules of their own
(`evaluation.plots`, `.report`, `.summary`, `.study`): they load matplotlib, jinja2 or rich when called.
"""

from __future__ import annotations

from evaluation.accuracy import Tally
from evaluation.anytime import Continual, anytime_accuracy
from evaluation.errors import EvaluationError
from evaluation.evidence import Estimate, Interval, LowerBound, Score
from evaluation.forgetting import FORGETTING, forgetting_by_name
from evaluation.intervals import clopper_pearson, delong_auc, mean_interval
from evaluation.matrix import AccuracyMatrix
from evaluation.roc import TprAtFpr, auc, epsilon_lower_bound_one_run, tpr_at_fpr

__all__ = [
    "FORGETTING",
    "AccuracyMatrix",
    "Continual",
    "Estimate",
    "EvaluationError",
    "Interval",
    "LowerBound",
    "Score",
    "Tally",
    "TprAtFpr",
    "anytime_accuracy",
    "auc",
    "clopper_pearson",
    "delong_auc",
    "epsilon_lower_bound_one_run",
    "forgetting_by_name",
    "mean_interval",
    "tpr_at_fpr",
]
