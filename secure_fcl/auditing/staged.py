"""Games in staged rounds: rounds played anew on the run's models and data, with its clipping, rates and noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attacks.games.judging import Terms
from attacks.games.play import Outcome
from attacks.gradients.extraction import stage_extraction
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.reconstruction import Reconstruction
from attacks.modules.layout import last_linear
from attacks.sums.staged import Attribution, StagedRule, stage_arrival, stage_clear_updates
from privacy import SampledGaussian
from privacy.groups import group_epsilon
from secure_fcl.auditing.world import AuditWorld, Ints, Played, accounted, audit_delta
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.streams import NO_ITEM

#: Rounds in which one client's updates are shown, other clients beside it, and most examples whose gradients a game of
#: arrival draws from: enough for intervals, little enough for seconds.
_CLEAR_ROUNDS, _OTHERS, _POOL, _FEWEST = 4, 8, 400, 20
_BATCHES, _NEW, _REPLAYED = 4, 2, 2


def _rule(world: AuditWorld, noise: bool) -> StagedRule:
    """Return one client's part of one step."""
    sigma = world.noise_of_client if noise else 0.0
    return StagedRule(clip_norm=world.strategy.dpsgd.clipping_norm, rate=world.strategy.q_current, noise=sigma)


def _noises(world: AuditWorld) -> tuple[bool, ...]:
    """Return without the noise, and with it if there is any."""
    return (False, True) if world.noise_of_client > 0 else (False,)


def play_arrival(world: AuditWorld) -> Played:
    """Return class arrival from the sum, and which client brought it, without the noise and with it."""
    scenario = world.plan.scenario
    found = _arriving_class(world)
    if found is None:
        return Played(missing=("class arrival from the sum: no slot brings a class that was not there before",))
    slot, label = found
    train = np.flatnonzero(scenario.data.train & (scenario.owner >= 0))
    seen = np.concatenate([scenario.slot_classes(before) for before in range(slot)])
    old, new = (train[np.isin(scenario.data.y[train], wanted)] for wanted in (seen, [label]))
    rng = public_generator(world.plan.config.seed, "arrival")
    data = tuple(world.examples(rng.permutation(part)[:_POOL]) for part in (old, new))
    held = max(1, round(len(train) / scenario.clients / scenario.tasks))
    brought = max(1, round(len(new) / max(1, len(np.unique(scenario.owner[new])))))
    module = world.strategy.network(world.strategy.initial())
    bias = last_linear(module).bias
    outcomes, attributions = [], []
    for noise in _noises(world):
        name = scenario.data.classes[label] if label < len(scenario.data.classes) else str(label)
        target = f"staged rounds of {scenario.clients} clients: class {name}, noise {'as ran' if noise else 'off'}"
        terms = Terms(
            target=target, seed=public_seed(world.plan.config.seed, "judge", target), delta=audit_delta(world.plan),
            control=None if noise else "without noise", about="staged",
        )  # fmt: skip
        outcome, who = stage_arrival(
            module, world.model_after(slot - 1), bias, label, (data[0], data[1]), (scenario.clients, held, brought),
            _rule(world, noise), terms,
        )  # fmt: skip
        outcomes.append(outcome)
        attributions.append(_attribution_record("as ran" if noise else "off", who))
    return Played(tuple(outcomes), (), (("attribution", attributions),))


def _attribution_record(noise: str, found: Attribution) -> dict[str, Any]:
    return {
        "noise": noise, "rounds": found.rounds, "right": found.right, "low": found.interval.low,
        "high": found.interval.high, "chance": found.chance,
    }  # fmt: skip


def _arriving_class(world: AuditWorld) -> tuple[int, int] | None:
    """Return the first slot after the first that brings a new class, and that class."""
    scenario = world.plan.scenario
    seen: set[int] = set()
    for slot in range(scenario.slots):
        fresh = [int(c) for c in scenario.slot_classes(slot) if int(c) not in seen]
        if slot > 0 and seen and fresh:
            return slot, fresh[0]
        seen |= set(fresh)
    return None


def play_clear_updates(world: AuditWorld) -> Played:
    """Return membership in one client's first task if its updates were seen in the clear: cosine and FedMIA."""
    scenario, config = world.plan.scenario, world.plan.config
    own = {k: _first_task(world, k) for k in range(scenario.clients)}
    sizes = {k: len(np.unique(scenario.units.item[index])) for k, index in own.items()}
    client = max(sizes, key=lambda k: sizes[k])
    if sizes[client] < _FEWEST:
        return Played(missing=(f"membership in one client's update: no client has {_FEWEST} items of its first task",))
    rng = public_generator(config.seed, "one client in the clear")
    items, item = np.unique(scenario.units.item[own[client]], return_inverse=True)
    truth = (rng.random(len(items)) < 0.5)[item]
    others = [k for k in rng.permutation(scenario.clients) if k != client and len(own[int(k)])][:_OTHERS]
    models = np.asarray(world.transcript["models"][:_CLEAR_ROUNDS], dtype=np.float32)
    step = world.strategy.dpsgd
    epsilon = None
    if world.plan.noise == "local":
        # With shared noise an update in the clear is outside the guarantee, and there is nothing to compare with.
        event = SampledGaussian(q=world.strategy.q_current, noise_multiplier=step.noise_multiplier)
        epsilon = group_epsilon({event: len(models)}, scenario.units.largest_item, accounted(world.plan))
    outcomes: list[Outcome] = []
    for noise in _noises(world):
        target = f"staged rounds, updates of client {client} in the clear, noise {'as ran' if noise else 'off'}"
        terms = world.terms(target, 0.5, epsilon if noise else None)
        asked = world.candidates(own[client])
        module = world.strategy.network(world.strategy.initial())
        outcomes += stage_clear_updates(
            module, models, (asked, truth), [world.examples(own[int(k)]) for k in others], _rule(world, noise),
            replace(terms, control=None if noise else "without noise", about="staged"),
        )  # fmt: skip
    return Played(tuple(outcomes))


def _first_task(world: AuditWorld, client: int) -> Ints:
    scenario = world.plan.scenario
    wanted = (scenario.owner == client) & (world.slot_of == 0) & (scenario.units.item != NO_ITEM)
    return np.flatnonzero(scenario.data.train & wanted)


def play_extraction(world: AuditWorld) -> tuple[list[Reconstruction], tuple[str, ...]]:
    """Return exemplar extraction from batches that mix new and replayed examples of one client each."""
    scenario, config = world.plan.scenario, world.plan.config
    if world.plan.memory is None or scenario.slots < 2:
        return [], ("exemplar extraction: this row replays nothing",)
    rng = public_generator(config.seed, "extraction")
    old, new = (np.flatnonzero(scenario.data.train & (world.slot_of == slot)) for slot in (0, 1))
    owners = rng.permutation(np.intersect1d(scenario.owner[old], scenario.owner[new]))[:_BATCHES]
    batches = []
    for owner in owners:
        mine, kept = new[scenario.owner[new] == owner], old[scenario.owner[old] == owner]
        if len(mine) >= _NEW and len(kept) >= _REPLAYED:
            batches.append([*rng.choice(mine, _NEW, replace=False), *rng.choice(kept, _REPLAYED, replace=False)])
    index = np.array(batches, dtype=np.int64).reshape(len(batches), _NEW + _REPLAYED)
    strangers = np.flatnonzero(scenario.data.train & ~np.isin(scenario.owner, owners))
    index = index[np.isin(scenario.data.y[index], scenario.data.y[strangers]).all(axis=1)]
    if not len(index):
        return [], ("exemplar extraction: no client has examples of the first two tasks whose classes others have too",)
    settings = InversionSettings(
        steps=config.attacks.inversion_steps, seed=public_seed(config.seed, "extraction") % 2**32
    )
    step = world.strategy.dpsgd
    module = world.strategy.network(world.strategy.initial())
    sigma = world.noise_of_client
    found = [
        stage_extraction(
            module, world.model_after(0), world.examples(index), _REPLAYED, world.examples(strangers),
            clip_norm=step.clipping_norm, noise=noise, settings=settings, seed=public_seed(config.seed, "n") % 2**32,
        )
        for noise in ((0.0, sigma) if sigma > 0 else (0.0,))
    ]  # fmt: skip
    return found, ()
