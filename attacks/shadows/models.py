"""Sets of shadow models: their checkpoints and what each of them saw and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import CandidatesInvalid, ShadowsInvalid
from attacks.games.attack import Candidates, IntArray, contents
from attacks.games.judging import purpose_seed
from attacks.shadows.cache import cache_key, cached
from attacks.shadows.rule import Rule, ShadowTrainer
from attacks.shadows.schedules import Bools, balanced_coins, epochs, fixed_batches, joined, kept_exactly


@dataclass(frozen=True, eq=False)
class ShadowModels:
    """Models that went through the same tasks as the attacked one, on coins that are known.

    Attributes:
        trainer: made them, and evaluates them.
        pool: the examples that the coins are about.
        weights: float32 (S, K, d), checkpoints of every model.
        tasks: int64 (K,), task in training when a checkpoint was taken; -1 before any.
        trained: bool (S, n), whether a model trained on an example in the example's task.
        kept: bool (S, n), whether a model's memory kept it when its task closed; all false without a memory.
    """

    trainer: ShadowTrainer = field(repr=False)
    pool: Candidates = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    tasks: IntArray
    trained: Bools = field(repr=False)
    kept: Bools = field(repr=False)

    def __post_init__(self) -> None:
        coins = (len(self.weights), len(self.pool))
        if self.weights.ndim != 3 or self.tasks.shape != self.weights.shape[1:2] or self.trained.shape != coins:
            raise ShadowsInvalid(
                f"weights {self.weights.shape}, tasks {self.tasks.shape}, coins {self.trained.shape}: needed are "
                f"(S, K, d), (K,) and (S, {len(self.pool)})"
            )
        if self.kept.shape != coins or bool((self.kept & ~self.trained).any()):
            raise ShadowsInvalid(f"kept has shape {self.kept.shape}; it must be {coins} and hold trained examples only")

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, models: NDArray[Any]) -> ShadowModels:
        """The models at `models` (integers, a mask or a slice's range)."""
        return ShadowModels(
            self.trainer, self.pool, self.weights[models], self.tasks, self.trained[models], self.kept[models]
        )

    def row_of(self, task: int) -> int:
        """The last checkpoint taken in a task.

        Raises:
            ShadowsInvalid: there is none.
        """
        rows = np.flatnonzero(self.tasks == task)
        if not len(rows):
            raise ShadowsInvalid(
                f"the shadow models have no checkpoint of task {task} (they have {self.tasks.tolist()})"
            )
        return int(rows[-1])

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Cross-entropies of every model's checkpoints on the pool, (S, K, n); computed once."""
        columns = [
            self.trainer.losses(self.weights[:, row], self.pool.x, self.pool.y) for row in range(len(self.tasks))
        ]
        return np.stack(columns, axis=1)

    @cached_property
    def _row_of_content(self) -> dict[bytes, int]:
        return {key: row for row, key in enumerate(contents(self.pool))}

    @cached_property
    def _ambiguous(self) -> frozenset[bytes]:
        """Contents that lie in the pool more than once, with coins that are not the same in every model."""
        last, found = self._row_of_content, set[bytes]()
        for row, key in enumerate(contents(self.pool)):
            both = [row, last[key]]
            if not (self.trained[:, both] == self.trained[:, both[:1]]).all() or (
                not (self.kept[:, both] == self.kept[:, both[:1]]).all()
            ):
                found.add(key)
        return frozenset(found)

    def holds(self, candidates: Candidates) -> Bools:
        """Which candidates are in the pool, by content, bool (n,)."""
        return np.array([key in self._row_of_content for key in contents(candidates)], dtype=np.bool_)

    def transcript(self, model: int) -> dict[str, NDArray[Any]]:
        """One model as if it were attacked: the fields of FINAL_MODEL and MODEL_SEQUENCE."""
        models = self.weights[model]
        return {"final_model": models[-1], "models": models, "model_tasks": self.tasks}

    def locate(self, candidates: Candidates) -> IntArray:
        """Rows of the candidates in the pool, found by content (example and label).

        Raises:
            CandidatesInvalid: a candidate is not in the pool, or more than once with coins of its own each time, so
                that nobody knows which models trained on it.
        """
        keys = contents(candidates)
        rows = [self._row_of_content.get(key, -1) for key in keys]
        if -1 in rows:
            raise CandidatesInvalid(
                f"{rows.count(-1)} of {len(rows)} candidates are not in the shadow models' pool; train shadow models "
                "on a pool that holds the candidates"
            )
        twice = sum(key in self._ambiguous for key in keys)
        if twice:
            raise CandidatesInvalid(
                f"{twice} of {len(rows)} candidates lie in the shadow models' pool more than once, each time with "
                "coins of their own; leave repeated examples out of the pool (games.attack.repeated), or give them one "
                "cluster and one coin"
            )
        return np.array(rows, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class ContinualRecipe:
    """How one model is trained task after task; the same for the attacked model and its shadows.

    Attributes:
        rule: of every task.
        batch: examples of the current task per step.
        steps: per task.
        memory: examples kept of each closed task, drawn uniformly; 0 replays nothing.
        replay: slots for replayed examples per step; they are filled from all that the memory holds.
    """

    rule: Rule
    batch: int = 32
    steps: int = 280
    memory: int = 0
    replay: int = 0

    def __post_init__(self) -> None:
        if min(self.batch, self.steps) < 1 or min(self.memory, self.replay) < 0:
            raise ShadowsInvalid(f"{self}: batch and steps must be positive, memory and replay at least 0")


def continual_models(
    trainer: ShadowTrainer,
    pool: Candidates,
    recipe: ContinualRecipe,
    *,
    models: int,
    seed: int,
    per_cluster: bool = False,
    folder: Path | None = None,
) -> ShadowModels:
    """Trains `models` models through the pool's tasks (in the order of their numbers), each on half of the pool.

    Coins are balanced over the models (`balanced_coins`). A checkpoint is kept before the first task (-1) and after
    every task. Any of the models can play the attacked one, the others its shadows.

    Args:
        trainer: of the architecture.
        pool: examples with their tasks.
        recipe: how to train.
        models: number of models.
        seed: public seed of coins, initial weights, batches and noise.
        per_cluster: one coin for a whole cluster (windows that share readings), and a memory of so many clusters.
        folder: where models are kept between calls (`cache`); None keeps nothing.

    Raises:
        ShadowsInvalid: a task has too few examples for the memory, or sizes do not fit.
        StorageError: the folder cannot be written.
    """
    _, first, unit = np.unique(pool.cluster, return_index=True, return_inverse=True)
    if not per_cluster:
        first = unit = np.arange(len(pool))
    coins = balanced_coins(models, len(first), purpose_seed(seed, "attacks.shadows.coins"))
    held = np.zeros_like(coins)
    if recipe.memory:
        for task in np.unique(pool.task):
            held |= kept_exactly(
                coins & (pool.task[first] == task),
                recipe.memory,
                purpose_seed(seed, f"attacks.shadows.memory.{int(task)}"),
            )
    trained, kept = coins[:, unit], held[:, unit]
    key = cache_key(
        {"trainer": trainer.label, "recipe": str(recipe), "models": models, "seed": seed, "version": 2},
        {"x": pool.x, "y": pool.y, "task": pool.task, "unit": unit},
    )
    found = cached(folder, key, lambda: {"weights": _train(trainer, pool, recipe, trained, kept, seed)})
    tasks = np.concatenate([[-1], np.unique(pool.task)]).astype(np.int64)
    return ShadowModels(trainer, pool, found["weights"], tasks, trained, kept)


def _train(
    trainer: ShadowTrainer, pool: Candidates, recipe: ContinualRecipe, trained: Bools, kept: Bools, seed: int
) -> NDArray[np.float32]:
    seeds = np.random.SeedSequence([seed, 1])
    initial, *rest = seeds.spawn(1 + 3 * len(np.unique(pool.task)))
    weights = [trainer.initial(initial.generate_state(len(trained)).astype(np.int64))]
    for number, task in enumerate(np.unique(pool.task)):
        current, memory, noise = (int(s.generate_state(1)[0]) for s in rest[3 * number : 3 * number + 3])
        batches = epochs(trained & (pool.task == task), batch=recipe.batch, steps=recipe.steps, seed=current)
        if number and recipe.replay:
            earlier = kept & (pool.task < task)
            batches = joined(batches, fixed_batches(earlier, batch=recipe.replay, steps=recipe.steps, seed=memory))
        noise_seeds = noise + np.arange(len(trained)) if recipe.rule.noise_multiplier > 0 else None
        weights.append(trainer.train(weights[-1], (pool.x, pool.y), batches, recipe.rule, noise_seeds))
    return np.stack(weights, axis=1)
