"""Shadow models of a run: networks trained as the attacked row was, on coins that the adversary flipped.

The adversary of these attacks has the data of all candidates and every public number of the run, which is the worst
case that differential privacy is about (Carlini et al. 2022, section III; Nasr et al. 2021).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates
from attacks.shadows import ModuleTrainer, Rule, ShadowModels, ShadowTrainer, trainer_for
from attacks.shadows.cache import cache_key, cached
from attacks.shadows.schedules import balanced_coins, joined, poisson_batches
from secure_fcl.engines.simulation import SIMULATION
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.strategies import GradientStrategy

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Say = Callable[[str], None]

SHADOW_FOLDER = "shadows"
"""Folder below the run's `simulation` where shadow models are kept, named by what they were made from."""

#: Sections of the configuration that shape how a shadow model is trained.
_MATTERS = {"scenario", "storage", "memory", "training", "privacy"}


@dataclass(frozen=True, eq=False)
class _Course:
    """How the shadow models go through the run's slots: which examples each trains on, and when."""

    plan: RowPlan
    strategy: GradientStrategy
    pool: Ints
    arrival: Ints
    coins: Bools
    draws: NDArray[np.float64]
    seed: int

    @property
    def rule(self) -> Rule:
        """One step of all clients together, scaled to the half of the data that a shadow model has.

        The server averages the clients' steps, so sums, noise and denominators of all clients add up. Local steps
        that drift apart within a round, clipped or shortened uploads, a method's own losses and penalties, Adam, and
        whether momentum starts afresh at every visit are not imitated.
        """
        step, clients = self.strategy.dpsgd, self.plan.scenario.clients
        noise = step.noise_multiplier * (math.sqrt(clients) if self.plan.noise == "local" else 1.0)
        share = 0.5 / (1.0 - self.plan.config.scenario.holdout)
        return Rule(
            learning_rate=step.learning_rate,
            momentum=step.momentum,
            clip_norm=step.clipping_norm,
            noise_multiplier=noise * share,
            denominator=step.denominator * clients * share,
        )

    def kept(self, slot: int) -> Bools:
        """Whether a shadow model's memory holds an example when a slot has closed, bool (S, n)."""
        if self.plan.memory is None or slot < 0:
            return np.zeros_like(self.coins)
        scenario, thresholds = self.plan.scenario, getattr(self.plan.memory, "thresholds", None)
        met = self.arrival <= slot
        if thresholds is None:
            # Without coins the best imitation is a uniform choice that fills the devices.
            full = scenario.clients * self.plan.memory.capacity / max(int(met.sum()), 1)
            return self.coins & met & (self.draws < full)
        latest = scenario.closed(slot) - 1
        rates = np.array(thresholds)[np.maximum(latest, 0)][scenario.owner[self.pool]]
        return np.asarray(self.coins & met & (self.draws < rates))

    def chunks(self, slot: int) -> Iterator[tuple[Bools, int]]:
        """Yield who is current, bool (S, n), and for how many rounds, for every chunk of a slot."""
        plan, places = self.plan, self.plan.storage.places_per_chunk
        # The run's hold-out is what the adversary asks about: the shadows' own coins decide about all of the pool.
        everyone = replace(plan.scenario, held_out=np.zeros_like(plan.scenario.held_out))
        pairs = np.argwhere(plan.scenario.release == slot).tolist()
        met = [everyone.experience(client, task) for client, task in pairs]
        numbers = [plan.chunk(round) for round in range(plan.training_rounds)]
        last = max(numbers)
        for chunk in sorted(set(numbers)):
            present = np.zeros(len(plan.scenario.data.y), dtype=np.bool_)
            for experience in met:
                present[experience.index[np.minimum(experience.place // places, last) == chunk]] = True
            yield self.coins & present[self.pool], numbers.count(chunk)

    def train(
        self, shadow_trainer: ShadowTrainer, data: tuple[NDArray[np.float32], Ints], say: Say
    ) -> NDArray[np.float32]:
        """Return checkpoints before the first slot and after each, float32 (S, slots + 1, d)."""
        models, slots, rule = len(self.coins), self.plan.scenario.slots, self.rule
        weights = np.repeat(self.strategy.initial()["weights"][None], models, axis=0)
        found = [weights]
        for slot in range(slots):
            say(f"shadow models: {models} through slot {slot + 1} of {slots}")
            for part, (current, rounds) in enumerate(self.chunks(slot)):
                steps = rounds * self.strategy.dpsgd.steps
                seeds = [public_seed(self.seed, slot, part, what) >> 1 for what in ("current", "memory", "noise")]
                batches = _batches(current, self.strategy.q_current, steps, seeds[0])
                if self.strategy.memory_rate > 0.0:
                    memory = _batches(self.kept(slot - 1), self.strategy.memory_rate, steps, seeds[1])
                    batches = joined(batches, memory)
                noise = seeds[2] + np.arange(models) if rule.noise_multiplier > 0 else None
                weights = shadow_trainer.train(weights, data, batches, rule, noise)
            found.append(weights)
        return np.stack(found, axis=1)


def _batches(members: Bools, rate: float, steps: int, seed: int) -> Ints:
    """Poisson batches with no more empty slots than the largest of them needs."""
    mean = rate * float(members.sum(axis=1).max())
    slots = min(members.shape[1], math.ceil(mean + 10.0 * math.sqrt(mean) + 20.0))
    found = poisson_batches(members, rate=rate, slots=slots, steps=steps, seed=seed)
    return found[:, :, : max(int((found >= 0).sum(axis=2).max()), 1)]


def shadow_models(
    plan: RowPlan,
    strategy: GradientStrategy,
    folder: RunFolder,
    pool: Ints,
    candidates: Candidates,
    models: int,
    say: Say = lambda text: None,
) -> ShadowModels:
    """Return `models` shadow models trained as the row was, kept in the run's simulation folder.

    They start from the run's public initial weights and take its Poisson rates, clipping, noise and thresholds of the
    memory; one coin and one retention key per item. Windows that straddle two items are left out.

    Args:
        dpsgd: of the attacked row.
        strategy: of the same row.
        folder: the run.
        pool: example numbers of the candidates, int64 (n,).
        candidates: those examples, `cluster` their items and `task` the slots they arrived in.
        models: how many, at least 4 to be of use.
        say: told of every slot that is trained, and nothing if the models are there already.

    Raises:
        StorageError: the folder cannot be written.
    """
    seed = public_seed(plan.config.seed, "shadows", plan.name)
    items, item = np.unique(candidates.cluster, return_inverse=True)
    coins = balanced_coins(models, len(items), seed)[:, item]
    draws = public_generator(seed, "retention").random((models, len(items)))[:, item]
    course = _Course(plan, strategy, pool, candidates.task, coins, draws, seed)
    shadow_trainer = trainer_for(strategy.network(strategy.initial()))
    if isinstance(shadow_trainer, ModuleTrainer):
        # The batches of all clients are large: stacking eight models took four times as long on HAPT's network.
        shadow_trainer = replace(shadow_trainer, chunk=1)
    settings = {
        "trainer": shadow_trainer.label, "rule": str(course.rule), "seed": seed, "row": plan.name, "version": 1,
        "public": json.dumps(plan.config.model_dump(mode="json", include=_MATTERS), sort_keys=True),
    }  # fmt: skip
    key = cache_key(settings, {"x": candidates.x, "y": candidates.y, "slot": candidates.task, "coins": coins})
    made = cached(
        folder.path / SIMULATION / SHADOW_FOLDER,
        key,
        lambda: {"weights": course.train(shadow_trainer, (candidates.x, candidates.y), say)},
    )
    slots = np.arange(-1, plan.scenario.slots, dtype=np.int64)
    kept = course.kept(plan.scenario.slots - 2)
    return ShadowModels(shadow_trainer, candidates, made["weights"], slots, coins, kept)
