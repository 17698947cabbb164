"""What the table runs: data sets, strategies, budgets, seeds, and the settings that all of them share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

#: Shown at every budget; the others at infinity and 1.
LEADING = ("joint", "finetune", "replay", "derpp", "fedagem", "class_sums", "slda", "calm")
OTHERS = (
    "local_only", "fedavg", "fedprox", "fedewc", "fedcurv", "fedsi", "fedssi", "fedlwf", "flwf2t", "glfc_safe",
    "analytic",
)  # fmt: skip
CLOSED = ("class_sums", "slda", "analytic", "calm")
#: No sum leaves these devices, so no noise can be shared in one.
WITHOUT_SUMS = ("local_only",)
EPSILONS = (math.inf, 8.0, 2.0, 1.0)
SEEDS = (1, 2, 3)

#: Of every gradient strategy: logistic regression on the public features that CALM sees. Learning rates and rounds were
#: tried on scikit-learn's digits, not on the table's data. With shared noise a round is one step: as many as the others
#: have where there is little noise, half as many where there is more.
COMMON = (
    "protection=plain", "attacks.enabled=false", "transcript=latest", "workers=1", "scenario.holdout=0",
    "training.trainer=stacked", "training.features=refined", "training.rounds=10", "training.steps=4",
    "training.upload_clip=8", "training.upload_bits=20", "training.sum_clip=32",
    "memory.capacity=200", "storage.budget_kib=8192",
)  # fmt: skip
SHARED_ROUNDS = {8.0: 40, 2.0: 20, 1.0: 20}
RATES = {"none": 8.0, "local": 4.0}
SHARED_RATES = {8.0: 8.0, 2.0: 4.0, 1.0: 4.0}
#: Joint training without noise is a bound: it gets more steps than the rows that it bounds.
BOUND = ("joint.rounds=40", "joint.learning_rate=32")

DATA = {
    "hapt": (
        "data.name=hapt", "scenario.clients=30", "scenario.tasks=6", "privacy.max_dropouts=3",
        "training.q_current=0.25", "training.q_memory=0.05", "training.denominator=16", "memory.keep=0.2",
    ),
    "mnist": (
        "data.name=mnist", "scenario.partition=iid", "scenario.clients=10", "scenario.tasks=5",
        "privacy.max_dropouts=1", "training.q_current=0.05", "training.q_memory=0.1", "training.denominator=64",
        "memory.keep=0.1",
    ),
}  # fmt: skip


def digest_of(settings: object) -> str:
    """Return a short digest of settings that JSON can tell."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """One run: some strategies at one budget and place of noise, on one data set, with one seed."""

    data: str
    epsilon: float
    noise: str
    seed: int
    rows: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of the run's folder, without its strategies."""
        epsilon = "inf" if math.isinf(self.epsilon) else f"{self.epsilon:g}"
        return f"{self.data}-eps{epsilon}-{self.noise}-seed{self.seed}"

    def digest(self, row: str) -> str:
        """Return a short digest of the settings of one of its rows: results of other settings are not its results."""
        return digest_of(replace(self, rows=(row,)).settings())

    def settings(self) -> list[str]:
        """Return the `a.b=c` settings of the run."""
        quoted = ", ".join(f'"{row}"' for row in self.rows)
        found = [*COMMON, *DATA[self.data], f"seed={self.seed}", f"rows=[{quoted}]"]
        budget = "inf" if math.isinf(self.epsilon) else str(self.epsilon)
        for row in self.rows:
            found += [f"{row}.epsilon={budget}", f"{row}.noise={self.noise}"]
            if self.noise == "shared" and row not in CLOSED:
                found.append(f"{row}.rounds={SHARED_ROUNDS[self.epsilon]}")
        bound = BOUND if self.noise == "none" and "joint" in self.rows else ()
        rate = SHARED_RATES[self.epsilon] if self.noise == "shared" else RATES[self.noise]
        return [*found, *bound, f"training.learning_rate={rate}"]


def cells(data: tuple[str, ...], rows: tuple[str, ...], seeds: tuple[int, ...]) -> Iterator[Cell]:
    """Yield the cells of a table: what tells most first, so that an interrupted table is worth reading."""
    order = [(1.0, "shared"), (math.inf, "none"), (1.0, "local"), (8.0, "shared"), (2.0, "shared"), (8.0, "local"),
             (2.0, "local")]  # fmt: skip
    for seed in seeds:
        for epsilon, noise in order:
            for name in data:
                wanted = [row for row in rows if row in LEADING or epsilon in (math.inf, 1.0)]
                kept = tuple(r for r in wanted if noise != "shared" or r not in WITHOUT_SUMS)
                if kept:
                    yield Cell(name, epsilon, noise, seed, kept)
