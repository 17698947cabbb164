"""Against sums and servers: class arrival, differencing, imprint, one model per client; and updates in the clear."""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from attacks import ALL_CLIENTS_CLEAR, SUMS_ONLY, Candidates, View, gradients_of
from attacks.games.attack import run_attack
from attacks.modules.layout import last_linear
from attacks.shadows import BatchedMlp
from attacks.sums.active_server import Imprint, probe_imprint, probe_inconsistency
from attacks.sums.arrival import class_arrival, isolated_clients
from attacks.sums.federated import FedMia, GradientCosine
from benchmarks.attacks.common import Data, cpu, digits
from evaluation import auc, mean_interval

MLP = BatchedMlp((64, 32, 10))


def _sum(mlp: BatchedMlp, weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gradient_of, total = gradients_of(mlp.module(), weights), np.zeros(len(weights))
    for start in range(0, len(x), 64):
        part = slice(start, start + 64)
        total += gradient_of(torch.from_numpy(x[part].copy()), torch.from_numpy(y[part].copy())).numpy().sum(axis=0)
    return total


def arrival(data: Data, console: Console) -> None:
    """120 rounds; in half of them 8 of one client's 32 examples are of a class nobody had; noise at client level."""
    (x, y), bias = data, last_linear(MLP.module()).bias
    table = Table("clients", "noise multiplier", "AUC", title="class arrival from the sum, 120 rounds")
    for clients in (1, 8, 32, 128):
        for noise in (0.0, 1.0):
            random, weights = np.random.default_rng(clients), MLP.initial(np.array([clients]))[0]
            old, new = np.flatnonzero(y < 9), np.flatnonzero(y == 9)
            arrives, sums = random.random(120) < 0.5, []
            for b in arrives:
                rows = random.choice(old, size=(clients, 32))
                rows[0, :8] = random.choice(new, size=8) if b else rows[0, :8]
                own = -_sum(MLP, weights, x[rows[0]], y[rows[0]])
                bound = np.linalg.norm(own)
                total = own - (_sum(MLP, weights, x[rows[1:].ravel()], y[rows[1:].ravel()]) if clients > 1 else 0.0)
                sums.append(total + noise * bound * random.normal(size=total.shape))
            view = View.of(SUMS_ONLY, {"sums": np.stack(sums), "sum_clients": np.full(120, clients)})
            table.add_row(str(clients), f"{noise:g}", f"{auc(class_arrival(view, bias, 9).rounds, arrives):.3f}")
    console.print(table)
    hits = 0
    for seed in range(20):
        random, weights = np.random.default_rng(seed), MLP.initial(np.array([seed]))[0]
        taking = random.random((30, 10)) < 0.7
        sums = []
        for part in taking:
            rows = random.choice(np.flatnonzero(y < 9), size=(int(part.sum()), 16)).ravel()
            if part[4]:
                rows[:4] = random.choice(np.flatnonzero(y == 9), size=4)
            sums.append(-_sum(MLP, weights, x[rows], y[rows]))
        fields = {"sums": np.stack(sums), "sum_clients": taking.sum(axis=1), "participation": taking.astype(int)}
        hits += class_arrival(View.of(SUMS_ONLY, fields), bias, 9).top_client() == 4
    console.print(f"which of 10 clients, 30 rounds, 70 % taking part: right in {hits} of 20 worlds (chance 2)")


def cohorts(console: Console) -> None:
    table = Table("rounds", "clients", "cohort", "plans with an isolated client", title="random cohorts at one model")
    for rounds, clients, size in ((2, 30, 29), (5, 30, 20), (20, 30, 20), (30, 30, 20), (40, 30, 20)):
        hits = 0
        for seed in range(50):
            random = np.random.default_rng(seed)
            plan = np.zeros((rounds, clients), dtype=np.int64)
            for row in plan:
                row[random.permutation(clients)[:size]] = 1
            hits += bool(isolated_clients(plan))
        table.add_row(str(rounds), str(clients), str(size), f"{hits} of 50")
    console.print(table)


def active(data: Data, console: Console) -> None:
    (x, y), imprint = data, Imprint(inputs=64, bins=1024, classes=10)
    mlp = BatchedMlp((64, 1024, 10))
    table = Table(
        "clients x examples", "noise", "recovered above 40 dB", "CPU-s", title="imprint on the sum, 1024 bins"
    )
    for clients, each, noise in (
        (1, 16, 0.0),
        (8, 16, 0.0),
        (16, 16, 0.0),
        (32, 32, 0.0),
        (8, 16, 1e-3),
        (8, 16, 1e-1),
    ):
        chosen = np.random.default_rng(clients).permutation(1300)[: clients * each]
        draw = np.random.default_rng(1)

        def system(weights: np.ndarray, chosen: np.ndarray = chosen, noise: float = noise) -> np.ndarray:
            total = _sum(mlp, weights, x[chosen], y[chosen])
            return total + noise * np.abs(total).max() * draw.normal(size=total.shape)  # noqa: B023 - called at once

        with cpu() as used:
            probe = probe_imprint(system, imprint, x[1300:], x[chosen])
        table.add_row(f"{clients} x {each}", f"{noise:g}", f"{probe.recovered:.3f}", f"{used.value:.2f}")
    console.print(table)
    weights = MLP.initial(np.array([3]))[0]

    def naive(models: np.ndarray) -> np.ndarray:
        return np.sum([_sum(MLP, row, x[j : j + 1], y[j : j + 1]) for j, row in enumerate(models)], axis=0)

    probe = probe_inconsistency(naive, weights, (32, 64), (2, x[2]), 20)
    console.print(f"one model per client, 20 clients, sum in the clear: {probe.median_psnr:.0f} dB")


def federated(data: Data, console: Console) -> None:
    x, y = data
    values: dict[str, list[float]] = {"gradient cosine": [], "FedMIA": []}
    for seed in range(10):
        random, weights = np.random.default_rng(seed), MLP.initial(np.array([seed]))[0]
        order = random.permutation(len(x))
        clients, models, updates = [order[:30], *order[60:510].reshape(15, 30)], [], []
        for _ in range(8):
            sent = [-_sum(MLP, weights, x[rows], y[rows]) / 30 for rows in clients]
            models.append(weights)
            updates.append(sent)
            weights = (weights + 0.5 * np.mean(sent, axis=0)).astype(np.float32)
        table, zeros = np.array(updates), np.zeros(60, dtype=np.int64)
        fields = {
            "final_model": weights, "models": np.stack(models), "model_tasks": np.zeros(8, dtype=np.int64),
            "sums": table.sum(axis=1), "sum_clients": np.full(8, 16), "client_updates": table[:, 0],
            "other_updates": table[:, 1:],
        }  # fmt: skip
        view = View.of(ALL_CLIENTS_CLEAR, fields)
        asked = Candidates(x[order[:60]], y[order[:60]], np.arange(60), zeros)
        for attack in (GradientCosine(MLP.module()), FedMia(MLP.module())):
            values[attack.name].append(auc(run_attack(attack, view, asked), np.arange(60) < 30))
    for name, own in values.items():
        score = mean_interval(own)
        console.print(
            f"16 clients of 30 digits in the clear, 8 rounds, {name}: AUC {score.value:.3f} "
            f"[{score.low:.3f}, {score.high:.3f}] over 10 worlds"
        )


def main() -> None:
    data, console = digits(), Console(width=130)
    arrival(data, console)
    cohorts(console)
    active(data, console)
    federated(data, console)
