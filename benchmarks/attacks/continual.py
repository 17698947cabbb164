"""Retained or merely seen, membership with history, and the leakage matrix, on digits in two tasks."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from attacks import (
    ALL_MODELS,
    Candidates,
    RetainedDifference,
    RetainedLoss,
    ShadowRetained,
    Terms,
    View,
    continual_models,
    forgetting_curve,
    losses_of,
)
from attacks.games.attack import run_attack
from attacks.membership.families import BAVARIA, LIRA_FIXED
from attacks.membership.history import history_scores
from attacks.membership.leakage import leakage_matrix
from attacks.membership.shadow import checkpoint_scores
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule, ShadowModels
from benchmarks.attacks.common import cpu, digits, pool
from evaluation import auc, mean_interval

MLP = BatchedMlp((64, 64, 10))
SHADOWS, TARGETS = 128, 32
PLAIN, CLIPPED = Rule(learning_rate=0.1, momentum=0.9), Rule(learning_rate=0.25, clip_norm=1.0)
NOISED = Rule(learning_rate=0.25, clip_norm=1.0, noise_multiplier=1.0)
SETTINGS = (
    ("20 kept, 16 per step", PLAIN, 20, 16),
    ("20 kept, 4 per step", PLAIN, 20, 4),
    ("50 kept, 16 per step", PLAIN, 50, 16),
    ("no replay", PLAIN, 0, 0),
    ("20 kept, clip 1, no noise", CLIPPED, 20, 16),
    ("20 kept, clip 1, noise 1", NOISED, 20, 16),
)


def _retained(models: ShadowModels, attack: object) -> str:
    values = []
    for target in range(SHADOWS, len(models)):
        own = np.flatnonzero(models.trained[target] & (models.pool.task == 0))
        view = View.of(ALL_MODELS, models.transcript(target))
        scores = run_attack(attack, view, models.pool.take(own))  # type: ignore[arg-type]
        values.append(auc(scores, models.kept[target][own]))
    score = mean_interval(values)
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _history(models: ShadowModels) -> list[str]:
    shadows, asked = models.take(np.arange(SHADOWS)), np.flatnonzero(models.pool.task == 0)
    scores = [
        history_scores(
            BAVARIA,
            shadows,
            View.of(ALL_MODELS, models.transcript(t)),
            models.pool.take(asked),
            models.trained[t][asked],
        )
        for t in range(SHADOWS, len(models))
    ]
    curve = forgetting_curve(0, (0, 1), scores)
    premium = curve.premium[1]
    return [
        f"{curve.last[0].value:.3f}", f"{curve.last[1].value:.3f}", f"{curve.sequence[1].value:.3f}",
        f"{premium.value:.3f} [{premium.low:.3f}, {premium.high:.3f}]", str(curve.half_life),
    ]  # fmt: skip


def main() -> None:
    candidates, losses = pool(digits(), tasks=2), losses_of(MLP.module())
    kept = Table(
        "setting", "loss", "difference", "LiRA, common variance", "BaVarIA-n", "CPU-s",
        title=f"retained or merely seen: AUC over {TARGETS} targets, {SHADOWS} shadows, 95 %",
    )  # fmt: skip
    seen = Table(
        "setting", "after task 0", "after task 1", "both checkpoints", "history premium", "half-life",
        title="membership of task 0 with history (BaVarIA-n): AUC",
    )  # fmt: skip
    first = None
    for name, rule, memory, replay in SETTINGS:
        with cpu() as used:
            recipe = ContinualRecipe(rule=rule, batch=32, steps=280, memory=memory, replay=replay)
            models = continual_models(MLP, candidates, recipe, models=SHADOWS + TARGETS, seed=0)
            shadows = models.take(np.arange(SHADOWS))
            cells = []
            if memory:
                ways = (RetainedLoss(losses), RetainedDifference(losses), ShadowRetained(shadows, LIRA_FIXED),
                        ShadowRetained(shadows, BAVARIA))  # fmt: skip
                cells = [_retained(models, way) for way in ways]
            history = _history(models)
        seen.add_row(name, *history)
        if cells:
            kept.add_row(name, *cells, f"{used.value:.1f}")
        first = first or models
    console = Console(width=150)
    console.print(kept)
    console.print(seen)
    if first is not None:
        _leakage(console, first)


def _leakage(console: Console, models: ShadowModels) -> None:
    shadows, target = models.take(np.arange(SHADOWS)), SHADOWS
    view = View.of(ALL_MODELS, models.transcript(target))

    def after(task: int, part: Candidates) -> np.ndarray:
        return checkpoint_scores(BAVARIA.offline(), shadows, view, part, [shadows.row_of(task)])

    matrix = leakage_matrix(after, models.pool, models.trained[target], models.kept[target], Terms(target="digits"))
    accuracy = np.full((2, 2), np.nan)
    for i in range(2):
        weights = models.weights[target, 1 + i]
        for j in range(2):
            out = np.flatnonzero((models.pool.task == j) & ~models.trained[target])
            part = models.pool.take(out)
            # A label is predicted right where its own loss is the smallest of all labels'.
            table = np.stack([
                MLP.losses(weights[None], part.x, np.full(len(out), label, dtype=np.int64))[0] for label in range(10)
            ])  # fmt: skip
            accuracy[i, j] = (table.argmin(axis=0) == part.y).mean()
    console.print("leakage matrix of one target, advantage 2 AUC - 1 (BaVarIA-n, offline), beside its accuracy:")
    console.print(matrix.table(accuracy.tolist()), highlight=False)
