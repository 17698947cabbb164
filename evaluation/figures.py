"""Five figures of a row, and a verdict in words for each: quality, forgetting, privacy, leakage, cost.

The verdicts follow fixed rules (`RULES`), which the page prints; they rank no row above another. What was not measured
says so, and is never a blank or a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "fair", "poor", "unknown"]

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Figure:
    """One figure: `value` (empty if there is none), a `verdict` in a few words, its `level`, and a few words `more`."""

    value: str
    verdict: str
    level: Level
    more: str = ""


UNKNOWN = Figure("", NOT_MEASURED, "unknown")


@dataclass(frozen=True)
class Subject:
    """What has five figures: a row of a run, or an audited model; `about` says more in a few words."""

    name: str
    figures: tuple[Figure, ...]
    about: str = ""
