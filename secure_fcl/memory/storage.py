"""The storage budget: everything a device keeps between rounds, in bytes and in examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from secure_fcl.errors import StorageTooSmall

#: Bytes of channel and signature keys that a client holds (public key of the cohort aside, which is not secret).
KEY_BYTES = 1024


@dataclass(frozen=True)
class StoredItem:
    """An array that a strategy keeps on the device between rounds, beside pool and memory.

    Attributes:
        name: what it is ("old model", "importances", "stored logits"); one name per strategy.
        size: bytes; of the whole array, or of one memory example's part.
        per_memory_example: whether `size` counts once for each example that the memory may hold.
    """

    name: str
    size: int
    per_memory_example: bool = False

    def total(self, memory_examples: int) -> int:
        """Return the bytes beside a memory of that capacity."""
        return self.size * memory_examples if self.per_memory_example else self.size


@dataclass(frozen=True, kw_only=True)
class StoragePlan:
    """Where a device's bytes go; all numbers are public and fixed before the run.

    The unread stream costs nothing: a chunk arrives when its rounds begin and leaves when they end, or is held back
    until its cohort is complete. `held_examples` bounds what waits at the fullest moment; `kept` are a strategy's
    arrays as (name, bytes).
    """

    budget: int | None
    example_bytes: int
    pool_examples: int
    memory_examples: int
    held_examples: int
    kept: tuple[tuple[str, int], ...]
    places_per_chunk: int
    chunks: int

    @property
    def examples(self) -> int:
        """Examples kept at the fullest moment."""
        return self.pool_examples + self.memory_examples + self.held_examples

    @property
    def used(self) -> int:
        """Bytes in use at the fullest moment."""
        return sum(self.table().values())

    def table(self) -> dict[str, int]:
        """Return bytes per purpose."""
        return {
            "unread stream": 0,
            "current pool": self.pool_examples * self.example_bytes,
            "memory": self.memory_examples * self.example_bytes,
            "held back": self.held_examples * self.example_bytes,
            **dict(self.kept),
            "keys": KEY_BYTES,
        }

    def check(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Compare what a strategy really keeps on a device with what it declared.

        Raises:
            StorageTooSmall: an array that was not declared, or one larger than declared.
        """
        declared = dict(self.kept)
        for name, array in arrays.items():
            if array.nbytes > declared.get(name, 0):
                raise StorageTooSmall(
                    f"the device keeps {array.nbytes} bytes of {name!r}, declared {declared.get(name, 0)}; "
                    "declare it in the strategy's `kept`"
                )


def plan_storage(
    *,
    budget: int | None,
    example_bytes: int,
    windows_per_place: int,
    largest_place: int,
    memory_examples: int,
    held_places: int = 0,
    kept: Sequence[StoredItem] = (),
    examples: int | None = None,
    most_places: int | None = None,
) -> StoragePlan:
    """Divide a device's budget (bytes; None: cross-silo, no bound) between memory, what waits, and the current pool.

    A task with more places than the pool holds is read in chunks; each chunk is a cohort of its own.

    Args:
        budget: bytes, or None.
        example_bytes: of one example with its label and keys.
        windows_per_place: public bound on the examples of one place of the stream.
        largest_place: public bound on the places of one task.
        memory_examples: capacity of the memory.
        held_places: most places that wait for their cohort at one time.
        kept: a strategy's own arrays.
        examples: bound on the examples of pool, memory and held-back ones together, or None.
        most_places: largest chunk that is wanted, or None.

    Raises:
        StorageTooSmall: not even one place of the stream fits beside the rest; names bytes and remedy.
    """
    arrays = tuple((array.name, array.total(memory_examples)) for array in kept)
    held = held_places * windows_per_place
    places = largest_place if most_places is None else min(largest_place, most_places)
    if budget is not None:
        fixed = {
            f"a memory of {memory_examples} examples": memory_examples * example_bytes,
            f"{held} held-back examples": held * example_bytes,
            **dict(arrays),
            "keys": KEY_BYTES,
        }
        free = budget - sum(fixed.values())
        places = min(places, free // (windows_per_place * example_bytes))
        if places < 1:
            raise StorageTooSmall(
                f"storage.budget_kib = {budget // 1024} leaves {max(free, 0)} bytes beside "
                f"{', '.join(f'{name} ({size})' for name, size in fixed.items() if size)}; one piece of the stream "
                f"needs {windows_per_place * example_bytes}. {_remedy(held)}"
            )
    if examples is not None and budget is not None:
        free = examples - memory_examples - held
        places = min(places, free // windows_per_place)
        if places < 1:
            raise StorageTooSmall(
                f"storage.budget_examples = {examples} leaves {max(free, 0)} beside a memory of {memory_examples} and "
                f"{held} held-back examples; one piece of the stream has up to {windows_per_place}. {_remedy(held)}"
            )
    return StoragePlan(
        budget=budget, example_bytes=example_bytes, memory_examples=memory_examples, held_examples=held, kept=arrays,
        pool_examples=places * windows_per_place, places_per_chunk=places, chunks=-(-largest_place // places),
    )  # fmt: skip


def _remedy(held: int) -> str:
    waiting = " or scenario.min_cohort" if held else ""
    return f"Raise the budget or lower memory.capacity{waiting}"
