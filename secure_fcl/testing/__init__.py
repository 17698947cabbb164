"""Laws of strategies, streams and memories, for any implementation of them.

- strategies: `check_strategy`: uploads, bounds, sensitivity, and a secure sum equal to the plain one
- rounds: many rounds: terms that act (`check_alive`) or do not (`check_silent`), storage, resuming, memories
- memories: `check_policy`: the laws of a replay memory, from the smallest course up
- streams: Hypothesis strategies for data sets, scenarios and calendars; needs `hypothesis`, so it is not here
"""

from __future__ import annotations

from secure_fcl.testing.memories import MemoryCourse, check_policy, courses, smallest
from secure_fcl.testing.rounds import (
    LawBroken,
    check_alive,
    check_memory,
    check_resume,
    check_silent,
    check_storage,
    distance,
)
from secure_fcl.testing.strategies import CHECKS, StrategyBroken, check_strategy

__all__ = [
    "CHECKS",
    "LawBroken",
    "MemoryCourse",
    "StrategyBroken",
    "check_alive",
    "check_memory",
    "check_policy",
    "check_resume",
    "check_silent",
    "check_storage",
    "check_strategy",
    "courses",
    "distance",
    "smallest",
]
