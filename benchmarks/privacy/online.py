"""Independent noise against a tree's on HAPT as an online stream seen once: whole runs at three budgets."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console

from benchmarks.poisoning.attack import poisoned_run
from benchmarks.privacy.page import Section, save_section
from benchmarks.resumable import Line, run_missing
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.running.prepare import prepare

EPSILONS, RATES, SEEDS, MECHANISMS = (1.0, 2.0, 8.0), (0.5, 2.0, 8.0), (1,), ("independent", "tree")
SETTINGS = (
    "data.name=hapt", "scenario.kind=online", "scenario.holdout=0", 'rows=["finetune"]', "finetune.noise=shared",
    "training.features=refined", "training.trainer=stacked", "training.q_current=1", "training.rounds=10",
    "training.denominator=2", "training.sum_clip=16", "protection=plain", "attacks.enabled=false", "transcript=latest",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run."""

    mechanism: str
    epsilon: float
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """Name of the run."""
        return f"{self.mechanism}, epsilon {self.epsilon:g}, step {self.rate:g}, seed {self.seed}"


def run(cell: Cell) -> Line:
    """Return accuracies, rounds and noise multiplier of a run."""
    own = (f"privacy.mechanism={cell.mechanism}", f"finetune.epsilon={cell.epsilon}", f"seed={cell.seed}")
    prepared = prepare(load_config(None, [*SETTINGS, *own, f"training.learning_rate={cell.rate}"]))
    with tempfile.TemporaryDirectory() as folder:
        made = poisoned_run(prepared, Path(folder), None)
        found = read_jsonl(made.path / "metrics.jsonl").records[-1]
    names = ("micro", "anytime_accuracy")
    return {
        "rounds": prepared.rounds,
        "multiplier": prepared.rows[0][1],
        **{name: found[name] for name in names},
    }


def main() -> None:
    """Run what is missing (minutes in all), print the table and write it to the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("build/online.jsonl"), help="lines to go on with")
    results = parser.parse_args().results
    results.parent.mkdir(parents=True, exist_ok=True)
    lines = [(rate, mechanism) for rate in RATES for mechanism in MECHANISMS]
    wanted = {
        (mechanism, rate, epsilon): [Cell(mechanism=mechanism, epsilon=epsilon, rate=rate, seed=seed) for seed in SEEDS]
        for epsilon in EPSILONS for rate, mechanism in lines
    }  # fmt: skip
    found = {at: run_missing(cells, results, run, lambda line: f"{line['micro']:.3f}") for at, cells in wanted.items()}
    rows = [
        [mechanism, f"{rate:g}", *(text for epsilon in EPSILONS for text in _shown(found[mechanism, rate, epsilon]))]
        for rate, mechanism in lines
    ]
    head = ["noise", "step size"]
    for epsilon in EPSILONS:
        head += [f"epsilon {epsilon:g}: multiplier", "last", "anytime"]
    made = Section("online", [("", head, rows)])
    save_section(made)
    Console(width=200).print(made.text())


def _shown(runs: Sequence[Line]) -> list[str]:
    shares = ([100 * run[name] for run in runs] for name in ("micro", "anytime_accuracy"))
    return [f"{runs[0]['multiplier']:.3g}", *(" / ".join(f"{share:.1f}" for share in found) for found in shares)]


if __name__ == "__main__":
    main()
