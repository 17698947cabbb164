"""What a device keeps: replay memories and the storage budget."""

from __future__ import annotations

from secure_fcl.memory.policy import (
    OVERFLOW_PROBABILITY,
    EverythingMemory,
    Held,
    HerdingMemory,
    MemoryPolicy,
    ThresholdMemory,
    threshold_memory,
)
from secure_fcl.memory.storage import StoragePlan, StoredItem, plan_storage

__all__ = [
    "OVERFLOW_PROBABILITY",
    "EverythingMemory",
    "Held",
    "HerdingMemory",
    "MemoryPolicy",
    "StoragePlan",
    "StoredItem",
    "ThresholdMemory",
    "plan_storage",
    "threshold_memory",
]
