"""What a device keeps: replay memories and the storage budget."""

from __future__ import annotations

from secure_fcl.memory.own import MemoryNumbers, OwnMemory, own_memory
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
    "MemoryNumbers",
    "MemoryPolicy",
    "OwnMemory",
    "StoragePlan",
    "StoredItem",
    "ThresholdMemory",
    "own_memory",
    "plan_storage",
    "threshold_memory",
]
