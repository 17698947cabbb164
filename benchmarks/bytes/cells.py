"""What is run: three strategies on HAPT at epsilon 8, each in several sizes, with and without encryption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

#: As the strategies' table runs HAPT with shared noise.
COMMON = (
    "attacks.enabled=false", "transcript=latest", "workers=1", "replay_noise=true", "scenario.holdout=0",
    "data.name=hapt", "scenario.clients=30", "scenario.tasks=6", "training.trainer=stacked",
    "training.learning_rate=1.0",
    "training.q_current=0.25", "training.q_memory=0.05", "training.denominator=16", "memory.keep=0.2",
    "memory.capacity=200", "storage.budget_kib=8192",
)  # fmt: skip
EPSILON = 8.0
ROUNDS = 10
Protection = Literal["plain", "secagg", "bfv"]
PROTECTIONS: tuple[Protection, ...] = ("plain", "secagg", "bfv")

_TURNED = ("compression.rotation=true",)


def _random(share: float) -> tuple[str, ...]:
    return ("compression.kind=random_k", f"compression.fraction={share}", *_TURNED)


_LOW_RANK = ("compression.kind=low_rank", "compression.fraction=0.25", *_TURNED)
_LATER = ("compression.trained=last_later", *_TURNED)

#: Of the row that trains a network: a name, and settings.
TRAINED: dict[str, tuple[str, ...]] = {
    "all, 18 bits": (),
    "all, 8 bits": (*_TURNED, "compression.bits=8"),
    "all, 4 bits": (*_TURNED, "compression.bits=4"),
    "random 25 %, 8 bits": (*_random(0.25), "compression.bits=8"),
    "random 5 %, 8 bits": (*_random(0.05), "compression.bits=8"),
    "low rank 25 %, 8 bits": (*_LOW_RANK, "compression.bits=8"),
    "last layer later, 8 bits": (*_LATER, "compression.bits=8"),
    "last layer, 8 bits": ("compression.trained=last", *_TURNED, "compression.bits=8"),
}
#: Of rows of sums: integer steps of a unit-norm feature vector, as powers of two.
SUMMED = {"class_sums": (14, 9, 5), "calm": (14, 5)}
#: A BFV ciphertext holds 4,096 slots at least, so only the largest and the smallest are worth a run.
IN_BFV = ("2^14 steps", "all, 18 bits", "all, 8 bits", "random 5 %, 8 bits")


@dataclass(frozen=True)
class Cell:
    """One run: a strategy in one size under one protection with one seed."""

    row: str
    size: str
    own: tuple[str, ...]
    protection: Protection
    seed: int

    @property
    def key(self) -> str:
        """Name of the run."""
        return f"{self.row}, {self.size}, {self.protection}, seed {self.seed}"

    def settings(self) -> list[str]:
        """Return the `a.b=c` settings of the run."""
        return [
            *COMMON, f'rows=["{self.row}"]', f"protection={self.protection}", f"seed={self.seed}",
            f"{self.row}.epsilon={EPSILON:g}", f"{self.row}.noise=shared", *self.own,
        ]  # fmt: skip


def cells(seeds: tuple[int, ...]) -> Iterator[Cell]:
    """Yield all cells, every size of every strategy first without encryption."""
    for seed in seeds:
        for protection in PROTECTIONS:
            for cell in _sizes(protection, seed):
                if protection != "bfv" or cell.size in IN_BFV:
                    yield cell


def _sizes(protection: Protection, seed: int) -> Iterator[Cell]:
    for row, powers in SUMMED.items():
        for bits in powers:
            yield Cell(row, f"2^{bits} steps", (f"{row}.scale_bits={bits}",), protection, seed)
    for size, own in TRAINED.items():
        yield Cell("replay", size, (f"replay.rounds={ROUNDS}", *own), protection, seed)
