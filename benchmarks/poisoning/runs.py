"""What is run, and one run of a cell."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.poisoning.attack import Attack, poisoned_run, thousandfold, within_the_check
from benchmarks.resumable import Line
from crypto.errors import CryptoError
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.errors import SecureFclError
from secure_fcl.running.prepare import prepare

COMMON = (
    "protection=mpc", "attacks.enabled=false", "transcript=latest", "replay_noise=true", "data.name=hapt",
    "scenario.clients=30", "scenario.tasks=6", "training.trainer=stacked", "storage.budget_kib=8192",
)  # fmt: skip
EPSILONS = (math.inf, 8.0, 1.0)
ATTACKS: dict[str, Attack | None] = {"none": None, "1000 times": thousandfold, "within": within_the_check}

#: Rows with their settings and the one bound that was tried for each.
ROWS: dict[str, tuple[tuple[str, ...], float]] = {
    "class_sums": (("class_sums.scale_bits=9",), 10.0),
    "replay": (("replay.rounds=6", "training.learning_rate=1.0", "training.scale_bits=9", "memory.capacity=200"), 10.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: a row at a budget, with or without the check, under one attack."""

    row: str
    epsilon: float
    checked: bool
    attack: str
    seed: int

    @property
    def key(self) -> str:
        """Name of the run."""
        check = "checked" if self.checked else "unchecked"
        return f"{self.row}, epsilon {self.epsilon:g}, {check}, attack {self.attack}, seed {self.seed}"

    def settings(self) -> list[str]:
        """Return the `a.b=c` settings of the run."""
        own, bound = ROWS[self.row]
        place = "none" if math.isinf(self.epsilon) else "shared"
        norm = [f"{self.row}.norm_bound={bound}"] if self.checked else []
        return [
            *COMMON, *own, *norm, f'rows=["{self.row}"]', f"seed={self.seed}", f"{self.row}.epsilon={self.epsilon:g}",
            f"{self.row}.noise={place}",
        ]  # fmt: skip


def cells(seeds: tuple[int, ...], rows: tuple[str, ...]) -> Iterator[Cell]:
    """Yield all cells; the attack that stays within the check only where there is one."""
    for seed in seeds:
        # A network takes minutes a run: one seed.
        for row in rows if seed == seeds[0] else [row for row in rows if row == "class_sums"]:
            for epsilon in EPSILONS:
                for checked in (False, True):
                    for attack in ATTACKS if checked else ("none", "1000 times"):
                        yield Cell(row=row, epsilon=epsilon, checked=checked, attack=attack, seed=seed)


def run(cell: Cell) -> Line:
    """Return the accuracy of a run, how often the corrupt client was left out, and what the plan enforced."""
    prepared = prepare(load_config(None, cell.settings()))
    head = {
        "row": cell.row, "epsilon": None if math.isinf(cell.epsilon) else cell.epsilon, "checked": cell.checked,
        "attack": cell.attack, "seed": cell.seed,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as runs:
        try:
            folder = poisoned_run(prepared, Path(runs), ATTACKS[cell.attack])
        except (CryptoError, SecureFclError) as error:
            return head | {"stopped": str(error)}
        final = read_jsonl(folder.path / "metrics.jsonl").records[-1]
        costs = read_jsonl(folder.path / "cost.jsonl").records
        certificate = json.loads((folder.path / "certificate.json").read_text())["rows"][cell.row]
    return head | {
        "micro": final["micro"], "task_mean": final["task_mean"], "certified": certificate["epsilon"],
        "sums": len(costs), "left_out": sorted({k for cost in costs for k in cost.get("blamed", ())}),
        "times_left_out": sum("blamed" in cost for cost in costs),
        "seconds_of_a_sum": round(sum(cost["seconds"]["aggregate"] for cost in costs) / len(costs), 3),
        "norms": certificate.get("norms", []),
    }  # fmt: skip


def told(line: Line) -> str:
    """Return what is printed of a finished cell."""
    return line.get("stopped") or format(line["micro"], ".3f")
