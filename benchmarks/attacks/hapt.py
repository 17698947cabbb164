"""The retained and history games on HAPT: a convolutional network, six tasks, coins per block of four windows."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from attacks import (
    ALL_MODELS,
    Candidates,
    RetainedLoss,
    ShadowRetained,
    View,
    continual_models,
    forgetting_curve,
    losses_of,
)
from attacks.games.attack import run_attack
from attacks.membership.families import BAVARIA
from attacks.membership.history import history_scores
from attacks.shadows import ContinualRecipe, Rule, trainer_for
from benchmarks.attacks.common import cpu
from evaluation import auc, mean_interval
from secure_fcl.data import load
from secure_fcl.strategies.gradient.models import build_model
from secure_fcl.streams.units import NO_ITEM, make_units

SHADOWS, TARGETS = 24, 8


def main() -> None:
    data = load("hapt")
    units = make_units(data)
    own = np.flatnonzero(data.train & (units.item != NO_ITEM))
    pool = Candidates(data.x[own], data.y[own], units.item[own], data.y[own] // 2)
    module = build_model("cnn", data.shape, len(data.classes), 1)
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.05, momentum=0.9), batch=32, steps=120, memory=8, replay=16)
    with cpu() as used:
        models = continual_models(trainer_for(module), pool, recipe, models=SHADOWS + TARGETS, seed=0, per_cluster=True)
        shadows = models.take(np.arange(SHADOWS))
        targets = range(SHADOWS, len(models))
        asked = np.flatnonzero(pool.task == 0)
        kept: dict[str, list[float]] = {}
        scores = []
        for target in targets:
            view = View.of(ALL_MODELS, models.transcript(target))
            seen = np.flatnonzero(models.trained[target] & (pool.task == 0))
            for name, attack in (("loss", RetainedLoss(losses_of(module))), ("BaVarIA-n", ShadowRetained(shadows))):
                found = run_attack(attack, view, pool.take(seen))
                kept.setdefault(name, []).append(auc(found, models.kept[target][seen]))
            scores.append(history_scores(BAVARIA, shadows, view, pool.take(asked), models.trained[target][asked]))
        curve = forgetting_curve(0, range(6), scores)
    console = Console(width=130)
    table = Table(
        "after task", "last model", "all models", "premium, 95 %",
        title=f"HAPT, {len(pool)} windows: membership of task 0, AUC over {TARGETS} targets, {SHADOWS} shadows",
    )  # fmt: skip
    for row, task in enumerate(curve.checkpoints):
        premium = curve.premium[row]
        table.add_row(
            str(task), f"{curve.last[row].value:.3f}", f"{curve.sequence[row].value:.3f}",
            f"{premium.value:.3f} [{premium.low:.3f}, {premium.high:.3f}]",
        )  # fmt: skip
    console.print(table)
    for name, values in kept.items():
        score = mean_interval(values)
        console.print(f"retained or merely seen, {name}: AUC {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]")
    console.print(f"forgetting half-life {curve.half_life}; whole audit {used.value:.0f} CPU-s")
