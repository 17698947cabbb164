"""Lower bounds on epsilon: how near they come to the truth, their ceilings, and planted bugs."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from attacks import contradictions
from attacks.bounds.gaussian import gaussian_bound, gaussian_epsilon, two_run_audit
from attacks.controls.planted import Bug, PlantedSchedule, planted_outcome, planted_two_run
from attacks.games.judging import GuessCounts
from benchmarks.attacks.common import cpu
from privacy import PldAccountant, SampledGaussian

DELTA = 1e-5


def _counts(mu: float, candidates: int, seed: int) -> GuessCounts:
    random = np.random.default_rng(seed)
    truth = random.random(candidates) < 0.5
    order = np.argsort(truth * mu + random.normal(size=candidates))
    made, right = [], []
    for share in (0.05, 0.2, 0.5, 1.0):
        each = int(share * candidates) // 2
        made.append(2 * each)
        right.append(int(truth[order[-each:]].sum() + (~truth[order[:each]]).sum()))
    return GuessCounts(candidates, tuple(made), tuple(right))


def tightness(console: Console) -> None:
    table = Table(
        "mu", "true epsilon", "one run, 1000 canaries", "the same, Gaussian", "ceilings", "500 + 500 runs",
        "the same, Gaussian", title="bounds on an ideal Gaussian mechanism, delta 1e-5, 95 %, mean of 20",
    )  # fmt: skip
    for mu in (0.5, 1.0, 2.0, 4.0):
        general, gaussian, many, many_gaussian = [], [], [], []
        for seed in range(20):
            counts = _counts(mu, 1000, seed)
            found, strict = counts.bound(DELTA, 0.95), gaussian_bound(counts, DELTA)
            general.append(found.value)
            gaussian.append(strict.epsilon)

            def run(present: bool, number: int, mu: float = mu, seed: int = seed) -> float:
                return float(mu * present + np.random.default_rng([seed, number]).normal())

            audit = two_run_audit(run, trials=500, delta=DELTA, seed=seed)
            many.append(audit.epsilon.value)
            many_gaussian.append(audit.gaussian.epsilon)
        ceiling = gaussian_epsilon(strict.ceiling, DELTA)
        table.add_row(
            f"{mu:g}", f"{gaussian_epsilon(mu, DELTA):.2f}", f"{np.mean(general):.2f}", f"{np.mean(gaussian):.2f}",
            f"{found.ceiling:.2f}, {ceiling:.2f}", f"{np.mean(many):.2f}", f"{np.mean(many_gaussian):.2f}",
        )  # fmt: skip
    console.print(table)


def planted(console: Console) -> None:
    table = Table(
        "bug", "ledger", "bound at .999", "caught", "the same without", "caught", "CPU-s",
        title="planted bugs, 2,000 canaries in one run (the batch's noise: 1,000 + 1,000 runs at expected batch 1)",
    )  # fmt: skip
    accountant = PldAccountant()
    plain = PlantedSchedule(noise_multiplier=4.0, clients=100)
    sampled = PlantedSchedule(noise_multiplier=2.0, rate=0.1, rounds=20, replay_rounds=80)
    for bug, plan in (
        (Bug.NO_NOISE, plain),
        (Bug.NO_NOISE, sampled),
        (Bug.ONE_CLIENT_UNMASKED, plain),
        (Bug.REPLAY_NOT_CHARGED, sampled),
        (Bug.NOISE_BY_REALISED_BATCH, plain),
    ):
        epsilon = accountant.epsilon(
            {SampledGaussian(q=plan.rate, noise_multiplier=plan.noise_multiplier): plan.rounds}, DELTA
        )
        cells = []
        with cpu() as used:
            for wanted in (bug, Bug.NONE):
                if bug is Bug.NOISE_BY_REALISED_BATCH:
                    shown = planted_two_run(plan, wanted, delta=DELTA).epsilon.value
                    caught = shown > epsilon
                else:
                    outcome = planted_outcome(plan, wanted, epsilon, DELTA)
                    shown = outcome.guesses.bound(DELTA, 0.999).value if outcome.guesses else 0.0
                    caught = bool(contradictions([outcome]))
                cells += [f"{shown:.2f}", "yes" if caught else "no"]
        table.add_row(bug.value, f"{epsilon:.2f}", *cells, f"{used.value:.2f}")
    console.print(table)


def main() -> None:
    console = Console(width=150)
    tightness(console)
    planted(console)
