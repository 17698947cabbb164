"""Shadow training by three ways and LiRA's relatives on the digits MLP."""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from attacks import FINAL_MODEL, LossScore, ShadowMembership, View, continual_models, losses_of
from attacks.games.attack import run_attack
from attacks.membership.families import BAVARIA, BAVARIA_T, LIRA, LIRA_FIXED, RATIO
from attacks.membership.quantile import QuantileMembership
from attacks.shadows import BatchedMlp, ContinualRecipe, ModuleTrainer, Rule
from attacks.shadows.schedules import balanced_coins, epochs
from benchmarks.attacks.common import cpu, digits, pool
from evaluation import auc, mean_interval

MLP = BatchedMlp((64, 64, 10))
STEPS, TARGETS = 560, 32


def _by_hand(weights: np.ndarray, schedule: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> None:
    module = MLP.module()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), module.parameters())
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for rows in torch.from_numpy(schedule):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimiser.step()


def throughput() -> None:
    data = digits()
    coins = balanced_coins(64, len(data[0]), 0)
    schedule = epochs(coins, batch=64, steps=STEPS, seed=1)
    weights, tensors = MLP.initial(np.arange(64)), (torch.from_numpy(data[0]), torch.from_numpy(data[1]))
    table = Table("way", "models", "models per CPU-second", "times a plain loop", title=f"{MLP.label}, {STEPS} steps")
    _by_hand(weights[0], schedule[0], *tensors)  # the first call of a process pays for everything torch sets up
    with cpu() as plain:
        for model in range(6):
            _by_hand(weights[model], schedule[model], *tensors)
    base = 6 / plain.value
    table.add_row("plain torch loop", "6", f"{base:.1f}", "1.0")
    ways = (
        ("vmap", ModuleTrainer(MLP.module(), chunk=16), 32, Rule(learning_rate=0.1, momentum=0.9)),
        ("batched products", MLP, 64, Rule(learning_rate=0.1, momentum=0.9)),
        ("batched products, clipped per example", MLP, 64, Rule(learning_rate=0.1, momentum=0.9, clip_norm=1.0)),
    )
    for name, trainer, models, rule in ways:
        with cpu() as used:
            trainer.train(weights[:models], data, schedule[:models], rule)
        table.add_row(name, str(models), f"{models / used.value:.1f}", f"{models / used.value / base:.1f}")
    Console(width=130).print(table)


def membership() -> None:
    everyone = pool(digits())
    with cpu() as used:
        recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=64, steps=STEPS)
        models = continual_models(MLP, everyone, recipe, models=128 + TARGETS, seed=0)
    table = Table(
        "attack", "16 shadows", "64", "128",
        title=f"membership on digits, mean AUC over {TARGETS} targets, 95 %; training {used.value:.1f} CPU-s",
    )  # fmt: skip
    views = [View.of(FINAL_MODEL, models.transcript(128 + t)) for t in range(TARGETS)]
    truths = models.trained[128:]

    def cell(attack: object) -> str:
        values = [auc(run_attack(attack, v, everyone), t) for v, t in zip(views, truths, strict=True)]  # type: ignore[arg-type]
        score = mean_interval(values)
        return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"

    table.add_row("loss (no shadows)", cell(LossScore(losses_of(MLP.module()))), "", "")
    families = (LIRA, LIRA_FIXED, LIRA_FIXED.offline(), RATIO, BAVARIA, BAVARIA_T, BAVARIA.offline())
    for family in families:
        cells = [cell(ShadowMembership(models.take(np.arange(s)), family)) for s in (16, 64, 128)]
        table.add_row(family.name, *cells)
    Console(width=130).print(table)


def one_regressor() -> None:
    """Half of the digits in question, the other half the adversary's population, which nobody trained on."""
    x, y = digits()
    order = np.random.default_rng(0).permutation(len(x))
    asked, population = (pool((x[rows], y[rows])) for rows in (order[:900], order[900:]))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=64, steps=STEPS)
    with cpu() as used:
        models = continual_models(MLP, asked, recipe, models=64 + TARGETS, seed=3)
    shadows, losses = models.take(np.arange(64)), losses_of(MLP.module())
    table = Table(
        "attack", "AUC", "false alarms at a promised 5 %", "CPU-seconds a model attacked",
        title=f"900 digits asked about, 897 as population, {TARGETS} models attacked; training {used.value:.1f} CPU-s",
    )  # fmt: skip
    attacks = (
        LossScore(losses), QuantileMembership(losses, population),
        ShadowMembership(shadows, LIRA_FIXED.offline()), ShadowMembership(shadows, LIRA_FIXED),
    )  # fmt: skip
    for attack in attacks:
        values, alarms = [], []
        with cpu() as scoring:
            for target in range(64, 64 + TARGETS):
                scores = run_attack(attack, View.of(FINAL_MODEL, models.transcript(target)), asked)
                values.append(auc(scores, models.trained[target]))
                alarms.append(float((scores[~models.trained[target]] > 0.0).mean()))
        score, rate = mean_interval(values), mean_interval(alarms)
        promised = isinstance(attack, QuantileMembership)
        table.add_row(
            attack.name, f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]",
            f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]" if promised else "-",
            f"{scoring.value / TARGETS:.2f}",
        )  # fmt: skip
    Console(width=130).print(table)


def main() -> None:
    throughput()
    membership()
    one_regressor()
