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
    "local_only", "fedavg", "fedprox", "scaffold", "fedewc", "fedcurv", "fedsi", "fedssi", "fedlwf", "flwf2t", "fedntd",
    "cfed", "fedweit_safe", "glfc_safe", "analytic",
)  # fmt: skip
CLOSED = ("class_sums", "slda", "analytic", "calm")
#: No sum leaves these devices, so no noise can be shared in one.
WITHOUT_SUMS = ("local_only", "fedweit_safe")
EPSILONS = (math.inf, 8.0, 2.0, 1.0)
#: Of the leading rows; the others have the first three.
SEEDS = (1, 2, 3, 4, 5)
SEEDS_OF_OTHERS = SEEDS[:3]
#: Of one row on one data set, without noise and where it is shared.
MORE_SEEDS = {("hapt", "calm"): tuple(range(1, 11))}
#: Lines of an earlier version of a strategy are not its lines, though their settings are the same.
VERSIONS = {"calm": 2}

#: The data set on which some persons never train, and the rows that are tried there, without noise and at 1, shared.
UNSEEN = "hapt-unseen"
ROWS_UNSEEN = ("joint", "replay", *CLOSED)

#: Of every gradient strategy: logistic regression on refined features, trained by the rule for training.
COMMON = (
    "protection=plain", "attacks.enabled=false", "transcript=latest", "workers=1", "scenario.holdout=0",
    "training.trainer=stacked", "training.features=refined", "training.schedule=planned",
    "memory.capacity=200", "storage.budget_kib=8192",
)  # fmt: skip

DATA = {
    "hapt": (
        "data.name=hapt", "scenario.clients=30", "scenario.tasks=6", "privacy.max_dropouts=3", "memory.keep=0.2",
    ),
    UNSEEN: (
        "data.name=hapt", "data.unseen_persons=5", "scenario.clients=25", "scenario.tasks=6", "privacy.max_dropouts=3",
        "memory.keep=0.2",
    ),
    "mnist": (
        "data.name=mnist", "scenario.partition=iid", "scenario.clients=10", "scenario.tasks=5",
        "privacy.max_dropouts=1", "memory.keep=0.1",
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
        """Name of the cell in results, without its strategies."""
        epsilon = "inf" if math.isinf(self.epsilon) else f"{self.epsilon:g}"
        return f"{self.data}-eps{epsilon}-{self.noise}-seed{self.seed}"

    @property
    def folder(self) -> str:
        """Name of the run's folder: cells of the same key and other strategies run side by side."""
        return f"{self.key}-{digest_of(self.settings())}"

    def digest(self, row: str) -> str:
        """Return a short digest of the settings of one of its rows: results of other settings are not its results."""
        settings: list[object] = [*replace(self, rows=(row,)).settings()]
        return digest_of([*settings, VERSIONS[row]] if row in VERSIONS else settings)

    def settings(self) -> list[str]:
        """Return the `a.b=c` settings of the run."""
        quoted = ", ".join(f'"{row}"' for row in self.rows)
        found = [*COMMON, *DATA[self.data], f"seed={self.seed}", f"rows=[{quoted}]"]
        budget = "inf" if math.isinf(self.epsilon) else str(self.epsilon)
        for row in self.rows:
            found += [f"{row}.epsilon={budget}", f"{row}.noise={self.noise}"]
        return found


def cells(data: tuple[str, ...], rows: tuple[str, ...], seeds: tuple[int, ...]) -> Iterator[Cell]:
    """Yield the cells of a table: what tells most first, so that an interrupted table is worth reading.

    Sums, joint training and the rest are runs of their own: the rule for training gives joint training without noise
    larger bounds on what a client sends, and one run has the same for all its rows.
    """
    order = [(1.0, "shared"), (math.inf, "none"), (1.0, "local"), (8.0, "shared"), (2.0, "shared"), (8.0, "local"),
             (2.0, "local")]  # fmt: skip
    kinds = (CLOSED, ("joint",), tuple(row for row in (*LEADING, *OTHERS) if row not in (*CLOSED, "joint")))
    for kind in kinds:
        for seed in seeds:
            for epsilon, noise in order:
                for name in data:
                    kept = tuple(r for r in rows if r in kind and _asked(name, r, epsilon, noise, seed))
                    if kept:
                        yield Cell(name, epsilon, noise, seed, kept)


def _asked(data: str, row: str, epsilon: float, noise: str, seed: int) -> bool:
    """Return whether a row has a line at a budget, a place of noise and a seed."""
    if noise == "shared" and row in WITHOUT_SUMS:
        return False
    if data == UNSEEN:
        return row in ROWS_UNSEEN and seed in SEEDS and (epsilon, noise) in ((math.inf, "none"), (1.0, "shared"))
    if noise != "local" and seed in MORE_SEEDS.get((data, row), ()):
        return True
    if row in LEADING:
        return seed in SEEDS
    return seed in SEEDS_OF_OTHERS and epsilon in (math.inf, 1.0)


def current() -> dict[tuple[str, str], str]:
    """Return the digest of settings that a line must have to be of today, by (cell, strategy)."""
    seeds = tuple(sorted({*SEEDS, *(seed for more in MORE_SEEDS.values() for seed in more)}))
    asked = cells(tuple(DATA), (*LEADING, *OTHERS), seeds)
    return {(cell.key, row): cell.digest(row) for cell in asked for row in cell.rows}
