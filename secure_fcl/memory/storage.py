"""The storage budget: everything a device keeps between rounds, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from secure_fcl.errors import StorageTooSmall

#: Bytes of channel and signature keys that a client holds (public key of the cohort aside, which is not secret).
KEY_BYTES = 1024


@dataclass(frozen=True)
class StoragePlan:
    """Where a device's bytes go; all numbers are public and fixed before the run.

    The unread stream costs nothing: a chunk arrives when its rounds begin and leaves when they end.
    """

    budget: int | None
    example_bytes: int
    pool_examples: int
    memory_examples: int
    model_bytes: int
    importance_bytes: int
    places_per_chunk: int
    chunks: int

    @property
    def used(self) -> int:
        """Bytes in use at the fullest moment."""
        return (
            (self.pool_examples + self.memory_examples) * self.example_bytes
            + self.model_bytes
            + self.importance_bytes
            + KEY_BYTES
        )

    def table(self) -> dict[str, int]:
        """Return bytes per purpose."""
        return {
            "unread stream": 0,
            "current pool": self.pool_examples * self.example_bytes,
            "memory": self.memory_examples * self.example_bytes,
            "old models": self.model_bytes,
            "importances": self.importance_bytes,
            "keys": KEY_BYTES,
        }


def plan_storage(
    *,
    budget: int | None,
    example_bytes: int,
    windows_per_place: int,
    largest_place: int,
    memory_examples: int,
    old_models: int = 0,
    importances: int = 0,
) -> StoragePlan:
    """Divide a device's budget (bytes; None: cross-silo, no bound) between memory and current pool.

    A task with more places than the pool holds is read in chunks; each chunk is a cohort of its own.

    Raises:
        StorageTooSmall: not even one place of the stream fits beside the memory.
    """
    place_bytes = windows_per_place * example_bytes
    if budget is None:
        places = largest_place
    else:
        free = budget - memory_examples * example_bytes - old_models - importances - KEY_BYTES
        places = min(free // place_bytes, largest_place)
        if places < 1:
            raise StorageTooSmall(
                f"storage.budget_kib = {budget // 1024} leaves {max(free, 0)} bytes beside a memory of "
                f"{memory_examples} examples; one piece of the stream needs {place_bytes}. "
                "Raise the budget or lower memory.capacity"
            )
    return StoragePlan(
        budget, example_bytes, places * windows_per_place, memory_examples, old_models, importances,
        places, -(-largest_place // places),
    )  # fmt: skip
