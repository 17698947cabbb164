"""Errors of the evaluation toolkit: one base class, one subclass per situation."""

from __future__ import annotations

from pathlib import Path


class EvaluationError(Exception):
    """Base of every error this package raises on purpose."""


class MatrixError(EvaluationError):
    """An accuracy matrix has the wrong shape or values outside [0, 1]."""


class SampleError(EvaluationError):
    """Scores, truths, labels or counts that no statistic can be computed from."""


class TooFewSamples(SampleError):
    """Fewer scores, groups or clusters than a statistic needs; more of them would do."""


class LevelError(EvaluationError):
    """A confidence level, delta or false positive rate outside its range."""


class SerialisationError(EvaluationError):
    """A value that strict JSON cannot hold, or text that is not strict JSON."""


class StorageError(EvaluationError):
    """Reading or writing a file failed; the message names the path and the remedy."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path


class CorruptRecordError(EvaluationError):
    """A line inside a record file, before its last one, is not a JSON object."""


class StudyError(EvaluationError):
    """A study table lacks a column or holds a value that is no number."""


class ComparisonError(EvaluationError):
    """There is nothing to compare."""
