"""Three kinds of number an audit produces, as three types, so that one cannot be printed as another.

`Score` says how well something did on a sample, with an interval. `LowerBound` is a statement about epsilon
that holds at a confidence. `Estimate` is a guess of epsilon under an assumption; it proves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.errors import LevelError


def checked_confidence(confidence: float) -> float:
    """`confidence` itself if it lies strictly between 0 and 1.

    Raises:
        LevelError: it does not (NaN included).
    """
    if not 0.0 < confidence < 1.0:
        raise LevelError(f"confidence={confidence} must lie strictly between 0 and 1, such as 0.95")
    return confidence


def checked_delta(delta: float) -> float:
    """`delta` itself if it lies in [0, 1).

    Raises:
        LevelError: it does not (NaN included).
    """
    if not 0.0 <= delta < 1.0:
        raise LevelError(f"delta={delta} must lie in [0, 1), such as 1e-5")
    return delta


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided confidence interval [low, high]; both NaN when the data do not determine one."""

    low: float
    high: float
    confidence: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def determined(self) -> bool:
        """Whether the data determine the interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True, kw_only=True)
class Score:
    """A statistic measured on a sample of `n` units, with its interval; it claims nothing about privacy."""

    value: float
    low: float
    high: float
    confidence: float
    n: int

    @property
    def interval(self) -> Interval:
        """The interval alone."""
        return Interval(low=self.low, high=self.high, confidence=self.confidence)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of epsilon at `delta`, right only under `assumption`; not a bound in either direction."""

    value: float
    delta: float
    assumption: str


@dataclass(frozen=True, kw_only=True)
class LowerBound:
    """At `confidence`, the audited mechanism is not (epsilon, delta)-DP for any epsilon below `value`.

    `ceiling` is the largest value that this sample size could have shown, reached by an attack without any
    error. A value of 0 shows nothing; it is not evidence of privacy.
    """

    value: float
    ceiling: float
    confidence: float
    delta: float
    method: str
