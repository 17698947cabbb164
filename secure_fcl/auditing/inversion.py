"""Gradient inversion against the run's first model: one client or the sum, without the noise or with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attacks.gradients.inversion import InversionSettings, invert
from attacks.gradients.reconstruction import Reconstruction, blind_guesses, centred_correlation, reconstruct
from attacks.gradients.worlds import build_gradient_worlds
from attacks.modules.functions import gradients_of
from evaluation.intervals import mean_interval
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.engines.simulation import clear_update_path, load_arrays
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import Scenario

Ints = NDArray[np.int64]
_TRIES = 4


def play_inversion(world: AuditWorld) -> list[Reconstruction]:
    """Return the four gradient worlds on the same targets, then the update that the run recorded, if it did.

    The targets are windows of the first task's first class, one per person; a round's gradient is that of one
    clipped example, the adversary's best case. Blind guesses come from other people. Noise as ran: one client's, whole
    or a share, on its step, and that of all clients on the sum.
    """
    plan, strategy = world.plan, world.strategy
    scenario, config = plan.scenario, plan.config
    rng = public_generator(config.seed, "inversion")
    label = scenario.task_classes[0][0]
    targets, reference = _split(scenario, label, config.attacks.targets, rng)
    if len(targets) == 0 or len(reference) == 0:
        return []
    module, weights = strategy.network(strategy.initial()), strategy.initial()["weights"]
    gradient_of = gradients_of(module, weights)
    everyone = np.flatnonzero(scenario.data.train & (scenario.task == 0))
    worlds = build_gradient_worlds(
        gradient_of, _examples(scenario, targets), _examples(scenario, everyone),
        clip_norm=strategy.dpsgd.clipping_norm, n_clients=scenario.clients,
        noise_one=world.noise_of_client, noise_sum=world.noise_of_sum, seed=public_seed(config.seed, "worlds") % 2**32,
    )  # fmt: skip
    settings = InversionSettings(steps=config.attacks.inversion_steps, seed=public_seed(config.seed, "starts") % 2**32)
    found = reconstruct(module, weights, worlds, _examples(scenario, targets), _examples(scenario, reference), settings)
    if strategy.shared:
        # What the run recorded in the clear is a visit with noise of its own, which no client of this row sent.
        return list(found)
    return [*found, *_recorded(plan, strategy, world.folder.path, settings)]


def _examples(scenario: Scenario, index: Ints) -> tuple[NDArray[np.float32], Ints]:
    return scenario.x[index], scenario.data.y[index]


def _split(scenario: Scenario, label: int, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return targets (one per client) of one class, and reference examples of the clients left over."""
    mine = np.flatnonzero(scenario.data.train & (scenario.data.y == label) & (scenario.owner >= 0))
    owners = rng.permutation(np.unique(scenario.owner[mine]))
    chosen = owners[: min(count, max(1, len(owners) // 2))]
    targets = [int(rng.choice(mine[scenario.owner[mine] == owner])) for owner in chosen]
    return np.array(targets, dtype=np.int64), mine[~np.isin(scenario.owner[mine], chosen)]


def _recorded(
    plan: RowPlan, strategy: GradientStrategy, folder: Path, settings: InversionSettings
) -> list[Reconstruction]:
    """Invert the recorded clear update as if it were one example's gradient, once per announced class and try.

    A reconstruction counts as near as its best match among the client's own windows of that class; a blind guess
    from other people is given the same choice.
    """
    path = clear_update_path(folder, plan.name)
    if not path.exists():
        return []
    scenario, client = plan.scenario, plan.config.attacks.client
    first = scenario.data.train & np.isin(scenario.task, scenario.released(client, 0))
    own = np.flatnonzero(first & ~scenario.held_out & (scenario.owner == client))
    others = np.flatnonzero(first & (scenario.owner != client))
    labels = np.unique(scenario.data.y[own])
    labels = labels[np.isin(labels, scenario.data.y[others])]
    if len(labels) == 0:
        return []
    import torch

    file = load_arrays(path)
    recorded = {"off": file["update_without_noise"], "as ran": file["update"]}
    weights = file["weights"]
    gradient_of = gradients_of(strategy.network({"weights": weights}), weights)
    asked = np.repeat(labels, _TRIES)
    blind_means, blind_typical = blind_guesses(asked, _examples(scenario, others))
    best_blind = np.maximum(_nearest(scenario, own, asked, blind_means), _nearest(scenario, own, asked, blind_typical))
    rows = []
    for noise, update in recorded.items():
        observed = torch.from_numpy(-update.astype(np.float32)).repeat(len(asked), 1)
        found = invert(gradient_of, observed, asked, scenario.data.shape, settings).x
        near = _nearest(scenario, own, asked, found)
        rows.append(
            Reconstruction(
                world=f"client {client}, recorded update",
                noise=noise,
                n=len(asked),
                correlation=mean_interval(near.tolist(), 0.95),
                blind=mean_interval(best_blind.tolist(), 0.95),
                gain=mean_interval((near - best_blind).tolist(), 0.95),
            )
        )
    return rows


def _nearest(scenario: Scenario, own: Ints, labels: Ints, guesses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return for each guess its best centred correlation with the client's own examples of the guessed label."""
    best = np.empty(len(guesses))
    for i, (label, guess) in enumerate(zip(labels, guesses, strict=True)):
        pool = scenario.x[own[scenario.data.y[own] == label]]
        best[i] = centred_correlation(np.broadcast_to(guess, pool.shape), pool).max()
    return best
