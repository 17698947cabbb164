"""Retained or merely seen, on memories that choose by looking beside memories of coins: digits in two tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks import ALL_MODELS, Candidates, RetainedDifference, RetainedLoss, ShadowRetained, View, losses_of
from attacks.games.attack import run_attack
from attacks.membership.families import BAVARIA
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule, ShadowModels
from attacks.shadows.schedules import balanced_coins, epochs, fixed_batches, joined
from benchmarks.attacks.common import digits, pool
from benchmarks.forgetting.rules import RULES, MemoryRule, Seen
from evaluation import auc, mean_interval

MLP = BatchedMlp((64, 64, 10))
KEPT = 20
RECIPE = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=32, steps=280, memory=KEPT, replay=16)
Line = dict[str, Any]
Floats = NDArray[np.float64]


def memory_models(candidates: Candidates, rule: MemoryRule, *, models: int, seed: int) -> ShadowModels:
    """Models that went through tasks 0 and 1 on half of the candidates, with `KEPT` of task 0 replayed in task 1.

    Coins are balanced over the models, which all begin, see and keep by random numbers of their own.
    """
    coins = balanced_coins(models, len(candidates), seed)
    old, data = candidates.task == 0, (candidates.x, candidates.y)
    start = MLP.initial(np.arange(models) + 1000 * seed)
    first = epochs(coins & old, batch=RECIPE.batch, steps=RECIPE.steps, seed=seed + 1)
    middle = MLP.train(start, data, first, RECIPE.rule)
    kept = np.zeros_like(coins)
    for model in range(models):
        own = np.flatnonzero(coins[model] & old)
        kept[
            model, own[rule(seen_by(middle[model], candidates.take(own)), KEPT, np.random.default_rng([seed, model]))]
        ] = True
    second = joined(
        epochs(coins & ~old, batch=RECIPE.batch, steps=RECIPE.steps, seed=seed + 2),
        fixed_batches(kept, batch=RECIPE.replay, steps=RECIPE.steps, seed=seed + 3),
    )
    weights = np.stack([start, middle, MLP.train(middle, data, second, RECIPE.rule)], axis=1)
    return ShadowModels(MLP, candidates, weights, np.array([-1, 0, 1]), coins, kept)


def seen_by(weights: NDArray[np.float32], part: Candidates) -> Seen:
    """What one model makes of examples: hidden units, losses and entropies."""
    inputs, units, classes = MLP.sizes
    matrix = weights[: inputs * units].reshape(units, inputs)
    bias = weights[inputs * units : (inputs + 1) * units]
    table = np.stack([
        MLP.losses(weights[None], part.x, np.full(len(part), label, dtype=np.int64))[0] for label in range(classes)
    ])  # fmt: skip
    return Seen(
        features=np.maximum(part.x @ matrix.T + bias, 0.0), labels=part.y,
        losses=table[part.y, np.arange(len(part))], entropy=(np.exp(-table) * table).sum(axis=0),
    )  # fmt: skip


def blind_scores(shadows: ShadowModels, asked: NDArray[np.int64]) -> Floats:
    """How often shadow memories kept an example that they had seen, (n,): the rule is public, no model is looked at."""
    kept, seen = shadows.kept[:, asked].sum(axis=0), shadows.trained[:, asked].sum(axis=0)
    return np.asarray(kept / np.maximum(seen, 1))


def memory_line(name: str, *, shadows: int, targets: int, seed: int) -> Line:
    """Attack the memories of `targets` models, each with the same `shadows` models beside it."""
    candidates = pool(digits(), tasks=2)
    models = memory_models(candidates, RULES[name], models=shadows + targets, seed=seed)
    others, losses = models.take(np.arange(shadows)), losses_of(MLP.module())
    found: dict[str, list[float]] = {way: [] for way in ("blind", "loss", "difference", "shadows", "both", "right")}
    for target in range(shadows, len(models)):
        own = np.flatnonzero(models.trained[target] & (candidates.task == 0))
        view, part, truth = (
            View.of(ALL_MODELS, models.transcript(target)),
            candidates.take(own),
            models.kept[target][own],
        )
        blind = blind_scores(others, own)
        found["blind"].append(auc(blind, truth))
        for way, attack in (("loss", RetainedLoss(losses)), ("difference", RetainedDifference(losses))):
            found[way].append(auc(run_attack(attack, view, part), truth))
        ratio = run_attack(ShadowRetained(others, BAVARIA), view, part)
        found["shadows"].append(auc(ratio, truth))
        # What is known of the rule is prior odds; a count of none in many is half a count.
        prior = np.clip(blind, 0.5 / shadows, 1 - 0.5 / shadows)
        found["both"].append(auc(ratio + np.log(prior / (1 - prior)), truth))
        found["right"].append(_right(models, target))
    intervals = {way: mean_interval(values) for way, values in found.items()}
    return {
        "rule": name, "kept": KEPT, "shadow_models": shadows, "targets": targets, "seed": seed,
        **{way: [round(v, 5) for v in (score.value, score.low, score.high)] for way, score in intervals.items()},
    }  # fmt: skip


def _right(models: ShadowModels, target: int) -> float:
    """Share of task 0's examples outside that the last model gets right."""
    out = np.flatnonzero((models.pool.task == 0) & ~models.trained[target])
    part, weights = models.pool.take(out), models.weights[target, -1]
    table = np.stack([
        MLP.losses(weights[None], part.x, np.full(len(out), label, dtype=np.int64))[0] for label in range(10)
    ])  # fmt: skip
    return float((table.argmin(axis=0) == part.y).mean())


def memory_lines(shadows: int = 64, targets: int = 32, seed: int = 0) -> list[Line]:
    """Return a line for each rule."""
    return [memory_line(name, shadows=shadows, targets=targets, seed=seed) for name in RULES]
