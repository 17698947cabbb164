"""What is run: four strategies on two data sets, planned for some dropouts, with some clients away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secure_fcl.streams.absences import absent_of

#: Logistic regression on the features that CALM sees, as the strategies' table trains it. Nothing was tuned here.
COMMON = (
    "protection=secagg+", "attacks.enabled=false", "transcript=latest", "replay_noise=true",
    "scenario.holdout=0", "training.trainer=stacked", "training.features=refined", "training.learning_rate=8",
    "training.upload_clip=8", "training.upload_bits=20", "training.sum_clip=32", "training.q_current=0.25",
    "training.q_memory=0.05", "training.denominator=16", "memory.keep=0.2", "memory.capacity=200",
    "storage.budget_kib=8192",
)  # fmt: skip
CLIENTS = {"hapt": 30, "digits": 20}
DATA = {
    "hapt": ("data.name=hapt", "scenario.tasks=6"),
    "digits": ("data.name=digits", "scenario.partition=iid", "scenario.tasks=5", "training.denominator=64"),
}
CLOSED, TRAINED = ("calm", "class_sums"), ("replay", "fedavg")
EPSILON = {"calm": 1.0, "class_sums": 1.0, "replay": 8.0, "fedavg": 8.0}
ROUNDS, SPARE = 6, 3

#: Share of the clients that are away from a round, and share that the noise and the sums are planned to do without.
AWAY = ((0.0, 0.0), (0.0, 0.2), (0.05, 0.05), (0.2, 0.2))
#: Share with which each client is silent by itself in each round; the plan does without just so many.
SILENT = (0.05, 0.2)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run. `silent`: whether clients fall silent each by itself, and not as many as are planned for."""

    data: str
    row: str
    seed: int
    away: float
    planned: float
    silent: bool = False

    @property
    def key(self) -> str:
        """Name of the run."""
        how = "silent" if self.silent else "away"
        return f"{self.data}, {self.row}, {how} {self.away:g}, planned {self.planned:g}, seed {self.seed}"

    @property
    def max_dropouts(self) -> int:
        """Clients that may be missing from a sum."""
        return absent_of(self.planned, CLIENTS[self.data])

    def settings(self) -> list[str]:
        """Return the `a.b=c` settings of the run."""
        own = (f"{self.row}.rounds={ROUNDS}",) if self.row in TRAINED else ()
        how = (f"privacy.spare_rounds={SPARE}",) if self.silent else (f"scenario.dropout={self.away:g}",)
        return [
            *COMMON, *DATA[self.data], f"scenario.clients={CLIENTS[self.data]}", f"seed={self.seed}",
            f'rows=["{self.row}"]', f"{self.row}.epsilon={EPSILON[self.row]:g}", f"{self.row}.noise=shared", *own,
            f"privacy.max_dropouts={self.max_dropouts}", *how,
        ]  # fmt: skip


def cells(data: tuple[str, ...], rows: tuple[str, ...], seeds: tuple[int, ...]) -> Iterator[Cell]:
    """Yield all cells, first seeds first."""
    for seed in seeds:
        for row in rows:
            for name in data:
                for away, planned in AWAY:
                    yield Cell(data=name, row=row, seed=seed, away=away, planned=planned)
                for share in SILENT:
                    yield Cell(data=name, row=row, seed=seed, away=share, planned=share, silent=True)
