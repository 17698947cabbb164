"""Many clients on one thread: plain SGD one by one, Opacus one by one, and stacked DP-SGD on the same batches."""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from benchmarks.timing import best
from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan, DpSgdTrainer, Stratum, system_bytes
from privacy.stacked import FastNoise, OpacusNoise, SecureNoise, StackedTrainer
from secure_fcl.strategies.gradient.models import build_model, to_vector

CLIENTS, STEPS = 32, 5


def main() -> None:
    """Print client-steps per second for two models, with and without noise."""
    torch.set_num_threads(1)
    head = ["batch", "plain", "Opacus", "stacked, torch generator", "secure", "fast", "no noise", "fast / Opacus"]
    tables = []
    for name, build, shape, classes in _models():
        tables.append((f"{name}:", head, [[str(batch), *_row(build, shape, classes, batch)] for batch in (8, 16, 64)]))
    made = Section("stacked", tables)
    save_section(made)
    Console().print(made.text())


def _models() -> list[tuple]:
    def mlp() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10))

    return [
        (f"MLP 784-128-10, {CLIENTS} clients", mlp, (784,), 10),
        (f"HAPT CNN, {CLIENTS} clients", lambda: build_model("cnn", (6, 64), 12, 1), (6, 64), 12),
    ]


def _row(build, shape: tuple[int, ...], classes: int, batch: int) -> list[str]:
    rng = np.random.default_rng(0)
    x = [torch.from_numpy(rng.normal(size=(batch, *shape)).astype(np.float32)) for _ in range(CLIENTS)]
    y = [torch.from_numpy(rng.integers(0, classes, size=batch)) for _ in range(CLIENTS)]
    strata = [[Stratum(x=a, y=b, q=1.0)] for a, b in zip(x, y, strict=True)]
    weights = torch.from_numpy(to_vector(build()))
    noisy, quiet = (
        DpSgdPlan(steps=STEPS, denominator=batch, clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.1),
        DpSgdPlan(steps=STEPS, denominator=batch, clipping_norm=1.0, noise_multiplier=0.0, learning_rate=0.1),
    )
    opacus, model = DpSgdTrainer(build()), build()
    sources = [KeyedStream(bytes([k]) * 32) for k in range(CLIENTS)]
    runs = [
        lambda: [_plain(model, weights, a, b) for a, b in zip(x, y, strict=True)],
        lambda: [opacus.visit(weights, s, noisy, system_bytes) for s in strata],
        lambda: StackedTrainer(build(), OpacusNoise()).visit(weights, strata, noisy, sources),
        lambda: StackedTrainer(build(), SecureNoise()).visit(weights, strata, noisy, sources),
        lambda: StackedTrainer(build(), FastNoise()).visit(weights, strata, noisy, sources),
        lambda: StackedTrainer(build()).visit(weights, strata, quiet, sources),
    ]
    rates = [CLIENTS * STEPS / best(run, 3) for run in runs]
    return [*(f"{rate:.0f} ({rates[0] / rate:.1f}x)" for rate in rates), f"{rates[4] / rates[1]:.1f}"]


def _plain(model: torch.nn.Module, weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    torch.nn.utils.vector_to_parameters(weights.clone(), model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


if __name__ == "__main__":
    main()
