"""What per-example clipping and noise cost: a DP-SGD visit through Opacus against plain SGD on the same batches."""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import best
from privacy import DpSgdPlan, DpSgdTrainer, Stratum, system_bytes
from secure_fcl.strategies.gradient.models import build_model, to_vector

STEPS = 20


def main() -> None:
    """Print milliseconds per step for several batch sizes."""
    torch.set_num_threads(1)
    model = build_model("cnn", (6, 64), 12, 1)
    weights = torch.from_numpy(to_vector(model))
    trainer = DpSgdTrainer(build_model("cnn", (6, 64), 12, 1))
    table = Table("batch", "plain SGD ms", "Opacus ms", "ratio", title=f"HAPT CNN, {len(weights)} parameters, one step")
    rng = np.random.default_rng(0)
    for size in (8, 16, 64):
        x = torch.from_numpy(rng.normal(size=(size, 6, 64)).astype(np.float32))
        y = torch.from_numpy(rng.integers(0, 12, size=size))
        visit = DpSgdPlan(steps=STEPS, denominator=size, clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.1)
        private = best(
            lambda x=x, y=y, visit=visit: trainer.visit(weights, [Stratum(x=x, y=y, q=1.0)], visit, system_bytes)
        )
        plain = best(lambda x=x, y=y: _sgd(model, x, y))
        per_step = [1e3 * t / STEPS for t in (plain, private)]
        table.add_row(str(size), *(f"{t:.2f}" for t in per_step), f"{private / plain:.1f}")
    Console().print(table)


def _sgd(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
