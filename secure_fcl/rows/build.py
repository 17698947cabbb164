"""Building rows: with a given noise multiplier, or with the least that keeps the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.tasks import task_name
from privacy import Accountant, Event, NonPrivate, smallest_multiplier
from secure_fcl.config import Config
from secure_fcl.config.accountants import accountant_of
from secure_fcl.config.names import entry_of
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.closed_form import sums_section, sums_strategy, told_of_noise
from secure_fcl.rows.gradient import gradient_strategy, method_of, public_of
from secure_fcl.rows.noise import SumNoise, distributed_noise, shared_noise
from secure_fcl.rows.norms import bounded
from secure_fcl.rows.persons import (
    check_persons,
    check_trained_for_persons,
    of_persons,
    require_people,
    storage_of_persons,
)
from secure_fcl.rows.row_plan import LARGEST_EPSILON, RowPlan
from secure_fcl.rows.storage import check_memory, kept_by, memory_of, refuse_channels, storage_of
from secure_fcl.rows.trees import check_tree, of_a_tree, refuse_sums, storage_of_tree, widest_node
from secure_fcl.rows.wires import training_wires
from secure_fcl.strategies import GradientStrategy, Phase, Strategy
from secure_fcl.strategies.closed_form.persons import PersonSums
from secure_fcl.strategies.entry import GradientEntry, SumsEntry
from secure_fcl.strategies.gradient.checked import check_network
from secure_fcl.streams import Scenario, absent_of, all_at_once


def build_row(config: Config, scenario: Scenario, name: str, noise_multiplier: float) -> RowPlan:
    """Return one row with the given noise multiplier (0: no noise).

    Raises:
        ConfigInvalid: a combination that does not exist.
        StorageTooSmall: the device's budget cannot hold the stream's smallest piece beside the memory.
    """
    match entry_of(name):
        case GradientEntry() as entry:
            return gradient_row(config, scenario, name, entry, noise_multiplier)
        case SumsEntry() as entry:
            return sums_row(config, scenario, name, entry, noise_multiplier)


def gradient_row(
    config: Config, scenario: Scenario, name: str, entry: GradientEntry[Any], noise_multiplier: float
) -> RowPlan:
    """Return a row that trains a network.

    Raises:
        ConfigInvalid, StorageTooSmall: as `build_row`.
    """
    method, persons, tree = method_of(config, name, entry), of_persons(config), of_a_tree(config)
    if tree:
        check_tree(config, name, method, entry.at_once)
    if persons:
        check_persons(config, scenario, name)
        check_trained_for_persons(config, name, method, entry.at_once)
    public = public_of(config, scenario, name, method)
    scenario = scenario.described(config.training.features)
    if entry.at_once:
        scenario = all_at_once(scenario)
    memory = memory_of(config, scenario) if method.memory else None
    # The storage plan needs the strategy's arrays, and the strategy the storage plan's examples per chunk.
    unbounded = gradient_strategy(config, scenario, name, method, noise_multiplier, 1, public)
    if persons:
        storage = storage_of_persons(config, scenario, kept_by(unbounded))
    elif tree:
        storage = storage_of_tree(config, scenario, unbounded)
    else:
        storage = storage_of(config, scenario, memory, unbounded)
    strategy = gradient_strategy(
        config, scenario, name, method, noise_multiplier, storage.pool_examples * scenario.most_released, public
    )
    refuse_channels(config, strategy)
    together = widest_node(scenario, storage) if tree else 1
    wires = bounded(config, name, strategy.uploads, training_wires(config, strategy, together))
    noises: dict[Phase, SumNoise] = {}
    if strategy.shared and noise_multiplier > 0.0:
        norm = strategy.numbers.unit
        noises["train"] = distributed_noise(config, scenario, wires["train"], norm, noise_multiplier)
        if "close" in wires:
            ratio = config.training.fisher_noise
            # What one example adds is squared for Fisher information, and not for MAS.
            most = strategy.uploads["close"].sensitivity_l2
            assert most is not None
            noises["close"] = distributed_noise(config, scenario, wires["close"], most, ratio * noise_multiplier)
    return RowPlan(name, config, scenario, strategy, memory, storage, noises, wires)


def sums_row(config: Config, scenario: Scenario, name: str, entry: SumsEntry[Any], noise_multiplier: float) -> RowPlan:
    """Return a row of sums.

    Raises:
        ConfigInvalid, StorageTooSmall: as `build_row`.
    """
    section = sums_section(config, name)
    if of_a_tree(config):
        refuse_sums(name)
    persons = of_persons(config)
    if persons:
        check_persons(config, scenario, name)
    storage = storage_of_persons(config, scenario) if persons else storage_of(config, scenario, None, None)
    examples = storage.pool_examples * scenario.most_released
    bare = sums_strategy(config, scenario, name, entry, examples, noise_multiplier > 0)
    sums: Strategy = PersonSums(bare) if persons else bare
    if noise_multiplier == 0.0 or section.noise == "none":
        return RowPlan(name, config, scenario, sums, None, storage, {}, bounded(config, name, sums.uploads))
    noises = {
        phase: shared_noise(config, scenario, sums, phase, ratio * noise_multiplier)
        for phase, ratio in entry.ratios(section).items()
    }
    told = told_of_noise(entry, bare, noises, scenario.clients)
    strategy: Strategy = PersonSums(told) if persons else told
    return RowPlan(name, config, scenario, strategy, None, storage, noises, bounded(config, name, sums.uploads))


def _check_own(plan: RowPlan) -> None:
    """Hold a network and a memory of the user's own to what they must be, on made-up inputs."""
    check_memory(plan.config, plan.scenario, plan.memory)
    strategy = plan.strategy
    if isinstance(strategy, GradientStrategy):
        alone = strategy.last_from is not None or strategy.method.channel is not None
        check_network(strategy.networks, split=alone)


def _check_dropouts(plan: RowPlan) -> None:
    """Hold the public draw of absent clients to what noise and secure sums are planned for."""
    share = plan.config.scenario.dropout
    for slot in range(plan.scenario.slots):
        clients = len(plan.clients_in(slot))
        away, most = absent_of(share, clients), plan.tolerated(slot)
        if away > most:
            planned = plan.config.privacy.max_dropouts
            remedy = f"set privacy.max_dropouts = {away} or lower" if away <= clients - 2 else "two must stay: lower"
            raise ConfigInvalid(
                f"scenario.dropout = {share:g} takes {away} of {clients} clients from every sum of {task_name(slot)}, "
                f"and with privacy.max_dropouts = {planned} noise and sums do without {most}; {remedy} scenario.dropout"
            )


def calibrated_row(
    config: Config, scenario: Scenario, name: str, accountant: Accountant | None = None
) -> tuple[RowPlan, float]:
    """Return a row whose noise is the least that keeps its worst cohort within its epsilon, and the multiplier.

    `accountant`: asked instead of the one that the configuration names, or of ours.

    Raises:
        privacy.errors.BudgetUnreachable: no noise reaches the epsilon.
        ConfigInvalid: DP-SGD cannot train the network, the memory breaks a law, or people are too few for the noise.
    """
    row = config.section(name)
    loudest = build_row(config, scenario, name, 0.0 if row.noise == "none" else 1.0)
    _check_own(loudest)
    _check_dropouts(loudest)
    if row.noise == "none":
        return loudest, 0.0
    if loudest.noises and row.epsilon > LARGEST_EPSILON:
        raise ConfigInvalid(
            f"{name}.epsilon = {row.epsilon:g} is beyond {LARGEST_EPSILON:g}, where it says nothing; lower it, or "
            f"train without noise: {name}.noise = 'none' and {name}.epsilon = inf"
        )
    delta = loudest.accounting_delta
    if delta <= 0.0:
        raise ConfigInvalid(
            f"privacy.delta = {config.privacy.delta:g} is used up by memory overflow and noise bounds "
            f"({config.privacy.delta - delta:.3g} at {name}.epsilon = {row.epsilon:g}); raise delta or lower epsilon"
        )

    def histories(multiplier: float) -> list[Mapping[Event, int]]:
        plan = build_row(config, scenario, name, multiplier)
        # Herding is declared non-private; its noise is that of the same row with a private memory.
        return [{e: n for e, n in h.items() if not isinstance(e, NonPrivate)} for h in plan.planned().values()]

    asked = accountant_of(config.privacy.accountant) if accountant is None else accountant
    multiplier = smallest_multiplier(histories, row.epsilon, delta, accountant=asked)
    calibrated = build_row(config, scenario, name, multiplier)
    require_people(calibrated)
    return calibrated, multiplier
